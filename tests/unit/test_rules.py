"""Which texts each rule takes, and what it makes of them."""

from __future__ import annotations

import zoneinfo

import pytest

from baikalctl import rules
from baikalctl.kinds import Text

LONGEST_LABEL = "a" * 63


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("cal.example.org", "cal.example.org"),
        ("Cal.Example.ORG", "cal.example.org"),
        ("cal.example.org.", "cal.example.org"),
        ("calendar", "calendar"),
        ("192.0.2.7", "192.0.2.7"),
        ("1and1.example", "1and1.example"),
        ("xn--mller-kva.example", "xn--mller-kva.example"),
        ("a-b--c.example", "a-b--c.example"),
        (f"{LONGEST_LABEL}.example", f"{LONGEST_LABEL}.example"),
    ],
)
def test_a_host_name_is_taken_in_lower_case_and_without_the_root_dot(written: str, meant: str) -> None:
    """What a client may type is accepted, in one form."""
    assert rules.hostname(written) == meant


@pytest.mark.parametrize(
    "written",
    [
        f"{LONGEST_LABEL}a.example",
        ".".join([LONGEST_LABEL] * 4),
        "-cal.example.org",
        "cal-.example.org",
        "cal..example.org",
        ".example.org",
        "*.example.org",
        "cal_1.example.org",
        "cal example.org",
        " cal.example.org",
        "cal.example.org;",
        'cal"example',
        "$host",
        ".",
    ],
)
def test_what_dns_does_not_know_as_a_host_name_is_refused(written: str) -> None:
    """Labels have 1 to 63 letters, digits and inner hyphens, and a name 253 characters (RFC 1123)."""
    with pytest.raises(ValueError, match=r"letters, digits, hyphens and dots only, such as cal\.example\.org"):
        rules.hostname(written)


@pytest.mark.parametrize("written", ["Europe/Berlin", "UTC", "America/Argentina/Buenos_Aires", "Etc/GMT+1"])
def test_a_time_zone_of_the_iana_database_is_taken(written: str) -> None:
    """Zones of one to three parts are accepted as they stand."""
    if written not in zoneinfo.available_timezones():
        pytest.skip("this machine has no time zones, or not all")
    assert rules.timezone(written) == written


def test_a_time_zone_that_nobody_knows_is_refused() -> None:
    """A zone of the right shape must exist where this machine can tell."""
    if not zoneinfo.available_timezones():
        pytest.skip("this machine has no time zones")
    with pytest.raises(ValueError, match="Europe/Berlin"):
        rules.timezone("Europe/Atlantis")


@pytest.mark.parametrize(
    ("written", "meant"), [("", ""), ("/", ""), ("/cal", "/cal"), ("/cal/", "/cal"), ("/a-b/c_d", "/a-b/c_d")]
)
def test_a_base_path_loses_its_trailing_slash(written: str, meant: str) -> None:
    """However the prefix is written, templates get it in one form."""
    assert Text("a path", rules.base_path, empty=True).read(written) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [("A" * 64, "a" * 64), ("0123456789abcdef" * 4, "0123456789abcdef" * 4)],
)
def test_a_checksum_is_taken_in_lower_case(written: str, meant: str) -> None:
    """What some tools print in capitals is the same checksum."""
    assert rules.checksum(written) == meant


@pytest.mark.parametrize("written", ["0.10.1", "0.11.1", "0.12.1", "1.0.0"])
def test_a_release_of_baikal_is_taken(written: str) -> None:
    """Releases since 0.10.1 that work are accepted."""
    assert rules.release_version(written) == written


@pytest.mark.parametrize("written", ["/etc/ssl/cal.pem", "/srv/a_b-c+d@e/key.pem"])
def test_a_plain_absolute_path_is_taken(written: str) -> None:
    """Paths that need no quoting in any file are accepted."""
    assert rules.host_path(written) == written


@pytest.mark.parametrize(
    "written", ["cal.pem", "/etc/ssl/my cal.pem", "/etc/../key", "/etc/ssl/a;b", '/etc/"x"', "/etc/$x", "/", "~/key"]
)
def test_a_path_that_would_need_quoting_is_refused(written: str) -> None:
    """Relative paths, and those that would end a line in a configuration file, are refused."""
    with pytest.raises(ValueError, match="should be an absolute path on the host"):
        rules.host_path(written)
