"""How each kind of value is read, and normalised on the way."""

from __future__ import annotations

import zoneinfo
from typing import TYPE_CHECKING

import pytest

from baikalctl import kinds
from baikalctl.kinds import Choice, Flag, Networks, Number, SecretValue, Text, describe
from baikalctl.secret import Secret

if TYPE_CHECKING:
    from pathlib import Path

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
    assert kinds.hostname(written) == meant


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
        kinds.hostname(written)


@pytest.mark.parametrize("written", ["Europe/Berlin", "UTC", "America/Argentina/Buenos_Aires", "Etc/GMT+1"])
def test_a_time_zone_of_the_iana_database_is_taken(written: str) -> None:
    """Zones of one to three parts are accepted as they stand."""
    if written not in zoneinfo.available_timezones():
        pytest.skip("this machine has no time zones, or not all")
    assert kinds.timezone(written) == written


def test_a_time_zone_that_nobody_knows_is_refused() -> None:
    """A zone of the right shape must exist where this machine can tell."""
    if not zoneinfo.available_timezones():
        pytest.skip("this machine has no time zones")
    with pytest.raises(ValueError, match="Europe/Berlin"):
        kinds.timezone("Europe/Atlantis")


@pytest.mark.parametrize(
    ("written", "meant"), [("", ""), ("/", ""), ("/cal", "/cal"), ("/cal/", "/cal"), ("/a-b/c_d", "/a-b/c_d")]
)
def test_a_base_path_loses_its_trailing_slash(written: str, meant: str) -> None:
    """However the prefix is written, templates get it in one form."""
    assert Text("a path", kinds.base_path, empty=True).read(written) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [("A" * 64, "a" * 64), ("0123456789abcdef" * 4, "0123456789abcdef" * 4)],
)
def test_a_checksum_is_taken_in_lower_case(written: str, meant: str) -> None:
    """What some tools print in capitals is the same checksum."""
    assert kinds.checksum(written) == meant


@pytest.mark.parametrize("written", ["0.10.1", "0.11.1", "0.12.1", "1.0.0"])
def test_a_release_of_baikal_is_taken(written: str) -> None:
    """Releases since 0.10.1 that work are accepted."""
    assert kinds.release_version(written) == written


@pytest.mark.parametrize("written", ["/etc/ssl/cal.pem", "/srv/a_b-c+d@e/key.pem"])
def test_a_plain_absolute_path_is_taken(written: str) -> None:
    """Paths that need no quoting in any file are accepted."""
    assert kinds.host_path(written) == written


@pytest.mark.parametrize(
    "written", ["cal.pem", "/etc/ssl/my cal.pem", "/etc/../key", "/etc/ssl/a;b", '/etc/"x"', "/etc/$x", "/", "~/key"]
)
def test_a_path_that_would_need_quoting_is_refused(written: str) -> None:
    """Relative paths, and those that would end a line in a configuration file, are refused."""
    with pytest.raises(ValueError, match="should be an absolute path on the host"):
        kinds.host_path(written)


def test_the_ends_of_a_range_belong_to_it() -> None:
    """The least and the greatest number are accepted, their neighbours aren't."""
    port = Number(1, 65535)
    assert [port.read(1), port.read(65535), port.read_text(" 80 ")] == [1, 65535, 80]
    for outside in (0, 65536, -1):
        with pytest.raises(ValueError, match="a whole number from 1 to 65535"):
            port.read(outside)


def test_a_range_names_its_unit() -> None:
    """The words for a number with a unit say it."""
    assert Number(1, 5, "MiB").form == "a whole number from 1 to 5 MiB"


@pytest.mark.parametrize("word", ["true", "True", "YES", "on", "1", " true "])
def test_the_words_for_yes_in_an_environment_are_true(word: str) -> None:
    """Compose files write yes in several ways."""
    assert Flag().read_text(word) is True


@pytest.mark.parametrize("word", ["false", "False", "no", "OFF", "0"])
def test_the_words_for_no_in_an_environment_are_false(word: str) -> None:
    """Above all, the text "false" isn't true for being text."""
    assert Flag().read_text(word) is False


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ([], ()),
        (["10.0.0.0/8"], ("10.0.0.0/8",)),
        (("192.0.2.7",), ("192.0.2.7/32",)),
        (["10.0.0.0/255.0.0.0"], ("10.0.0.0/8",)),
        (["FD00::/8", "::1"], ("fd00::/8", "::1/128")),
    ],
)
def test_networks_are_taken_in_cidr_notation(written: object, meant: tuple[str, ...]) -> None:
    """Addresses and netmasks become networks of one form."""
    assert Networks().read(written) == meant


@pytest.mark.parametrize("text", ["10.0.0.0/8,fd00::/8", "10.0.0.0/8 fd00::/8", " 10.0.0.0/8 , fd00::/8,"])
def test_networks_in_an_environment_are_separated_by_commas_or_spaces(text: str) -> None:
    """Either way of writing a list in one variable is read."""
    assert Networks().read_text(text) == ("10.0.0.0/8", "fd00::/8")


def test_no_network_in_an_environment_is_an_empty_list() -> None:
    """An empty variable means none."""
    assert Networks().read_text("") == ()


def test_an_address_with_a_zone_is_refused() -> None:
    """A zone can hold any text, and it would stand in nginx's configuration as it is."""
    with pytest.raises(ValueError, match=r"write it as 192\.0\.2\.0/24"):
        Networks().read(["fe80::1%eth0; }"])


def test_a_choice_names_its_words_in_a_sentence() -> None:
    """The words stand in errors and in the reference as people would list them."""
    assert (Choice("a").form, Choice("a", "b").form, Choice("a", "b", "c").form) == ("a", "a or b", "a, b or c")


def test_off_without_quotes_gets_a_hint() -> None:
    """YAML's off arrives as False, and whoever wrote it is told of the quotes."""
    with pytest.raises(ValueError, match='in quotes: "off"'):
        Choice("on", "off").read(False)  # noqa: FBT003 - the value itself is the case


def test_a_number_where_text_is_due_gets_a_hint_on_quoting() -> None:
    """``--data baikal_version=0.10`` arrives as 0.1, so it can't simply be turned into text."""
    with pytest.raises(ValueError, match="--data guesses types: quote it twice"):
        Text("a release", kinds.release_version).read(0.1)


@pytest.mark.parametrize("content", ["geheim", "geheim\n", "geheim\r\n"])
def test_the_newline_that_editors_add_is_no_part_of_a_secret(tmp_path: Path, content: str) -> None:
    """A secret's file may end with a newline of either kind."""
    file = tmp_path / "secret"
    file.write_bytes(content.encode())
    assert SecretValue().resolve({"file": str(file)}, {}, plain=False) == Secret("geheim")
    assert SecretValue().resolve({"env": "IT"}, {"IT": content}, plain=False) == Secret("geheim")


def test_spaces_are_a_part_of_a_secret() -> None:
    """Nothing else than a newline is trimmed."""
    assert SecretValue().resolve({"env": "IT"}, {"IT": " ge heim "}, plain=False) == Secret(" ge heim ")


def test_the_home_directory_is_found_in_the_path_of_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``~`` is what people write, and no shell is there to replace it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "secret").write_text("geheim", encoding="utf-8")
    assert SecretValue().resolve({"file": "~/secret"}, {}, plain=False) == Secret("geheim")


def test_a_secret_by_reference_is_read_from_this_process() -> None:
    """Without more ado, a reference means the environment of the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIVEN_BY_THE_TEST", "geheim")
        assert SecretValue().read({"env": "GIVEN_BY_THE_TEST"}) == Secret("geheim")


@pytest.mark.parametrize(
    ("value", "shown"),
    [("ä", '"ä"'), (True, "true"), (None, "null"), (0.1, "0.1"), ("x" * 100, '"' + "x" * 56 + "…")],
)
def test_a_value_in_an_error_is_short_and_as_it_was_written(value: object, shown: str) -> None:
    """Umlauts stay, and a long value doesn't bury the sentence."""
    assert describe(value) == shown
