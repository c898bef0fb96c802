"""Which texts each rule takes, and what it makes of them."""

from __future__ import annotations

import zoneinfo
from typing import TYPE_CHECKING

import pytest

from baikalctl.settings import validators
from baikalctl.settings.value_types import Text

if TYPE_CHECKING:
    from collections.abc import Callable

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
    assert validators.hostname(written) == meant


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
        validators.hostname(written)


@pytest.mark.parametrize("written", ["Europe/Berlin", "UTC", "America/Argentina/Buenos_Aires", "Etc/GMT+1"])
def test_a_time_zone_of_the_iana_database_is_taken(written: str) -> None:
    """Zones of one to three parts are accepted as they stand."""
    if written not in zoneinfo.available_timezones():
        pytest.skip("this machine has no time zones, or not all")
    assert validators.timezone(written) == written


def test_a_time_zone_that_nobody_knows_is_refused() -> None:
    """A zone of the right shape must exist where this machine can tell."""
    if not zoneinfo.available_timezones():
        pytest.skip("this machine has no time zones")
    with pytest.raises(ValueError, match="Europe/Berlin"):
        validators.timezone("Europe/Atlantis")


@pytest.mark.parametrize(
    ("written", "meant"), [("", ""), ("/", ""), ("/cal", "/cal"), ("/cal/", "/cal"), ("/a-b/c_d", "/a-b/c_d")]
)
def test_a_base_path_loses_its_trailing_slash(written: str, meant: str) -> None:
    """However the prefix is written, templates get it in one form."""
    assert Text("a path", validators.base_path, empty=True).read(written) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [("A" * 64, "a" * 64), ("0123456789abcdef" * 4, "0123456789abcdef" * 4)],
)
def test_a_checksum_is_taken_in_lower_case(written: str, meant: str) -> None:
    """What some tools print in capitals is the same checksum."""
    assert validators.checksum(written) == meant


@pytest.mark.parametrize("written", ["0.10.1", "0.11.1", "0.12.1", "1.0.0"])
def test_a_release_of_baikal_is_taken(written: str) -> None:
    """Releases since 0.10.1 that work are accepted."""
    assert validators.release_version(written) == written


@pytest.mark.parametrize("written", ["/etc/ssl/cal.pem", "/srv/a_b-c+d@e/key.pem"])
def test_a_plain_absolute_path_is_taken(written: str) -> None:
    """Paths that need no quoting in any file are accepted."""
    assert validators.host_path(written) == written


@pytest.mark.parametrize(
    "written", ["cal.pem", "/etc/ssl/my cal.pem", "/etc/../key", "/etc/ssl/a;b", '/etc/"x"', "/etc/$x", "/", "~/key"]
)
def test_a_path_that_would_need_quoting_is_refused(written: str) -> None:
    """Relative paths, and those that would end a line in a configuration file, are refused."""
    with pytest.raises(ValueError, match="should be an absolute path on the host"):
        validators.host_path(written)


@pytest.mark.parametrize(
    "written", ["jo@example.org", "Jo.Do+ca-1@mail.example.org", "_x@xn--mller-kva.de", "admin@localhost"]
)
def test_a_bare_address_is_taken(written: str) -> None:
    """In plain characters, with whatever domain somebody can write to."""
    assert validators.email_address(written) == written


@pytest.mark.parametrize(
    "written", ["jo", "@example.org", "jo@", "a@b@c", "jo@example.org,a@b", "jö@example.org", "-jo@a"]
)
def test_an_address_that_would_need_quoting_is_refused(written: str) -> None:
    """As are several, and those that need more than ASCII."""
    with pytest.raises(ValueError, match=r'write it bare, such as "jo@example\.org"'):
        validators.email_address(written)


def test_an_address_has_a_limit() -> None:
    """The same as an account's."""
    assert validators.email_address("x" * 68 + "@example.org")
    with pytest.raises(ValueError, match="write it bare"):
        validators.email_address("x" * 69 + "@example.org")


@pytest.mark.parametrize("written", ["cal@example.org", "No-Reply+1@Cal.Example.ORG", "j.d@7.xn--mller-kva.de"])
def test_mail_comes_from_an_address_with_a_full_domain(written: str) -> None:
    """As it is written."""
    assert validators.sender(written) == written


@pytest.mark.parametrize(
    "written",
    [
        *("root@localhost", "jo@192.0.2.7", "jo@example..org", "jo@example.org.", "jo@a.-x.org", "jo@a.b-"),
        *(f"jo@{LONGEST_LABEL}a.org", "jo.@example.org", "j..o@example.org"),
    ],
)
def test_an_address_that_other_mail_servers_refuse_is_no_sender(written: str) -> None:
    """They want a domain that has an answer in the DNS, and a part before it that needs no quoting (RFC 5321)."""
    with pytest.raises(ValueError, match=r'no full domain, or a dot too many; write it as "noreply@example\.org"'):
        validators.sender(written)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("SMTP.Example.org.", "smtp.example.org"), ("postfix", "postfix"), ("192.0.2.7", "192.0.2.7")],
)
def test_a_relay_is_named_as_a_host_is(written: str, meant: str) -> None:
    """A container's neighbour may have one label."""
    assert validators.relay_host(written) == meant


@pytest.mark.parametrize("written", ["smtp.example.org:587", "[smtp.example.org]:587", "2001:db8::1", ":25"])
def test_a_relays_port_is_a_setting_of_its_own(written: str) -> None:
    """The remedy names it, and not the web server's."""
    with pytest.raises(ValueError, match=r"has a port; give the bare name, .* and the port as relay_port"):
        validators.relay_host(written)


@pytest.mark.parametrize("written", ["jo", "jo@example.org", "AKIA0=+/", "jo#\"'\\$(x)`{},;!~"])
def test_a_login_name_is_taken(written: str) -> None:
    """Whatever it looks like at a provider."""
    assert validators.login(written) == written


@pytest.mark.parametrize("written", ["jo doe", " jo", "jo ", "jo:x", "jö", "jo\x7f", "jo\n", "jo\x85", "jo\xa0"])
def test_a_login_name_that_no_mail_server_can_be_told_is_refused(written: str) -> None:
    """Postfix has name and password in one line, between them a colon."""
    with pytest.raises(ValueError, match="is no login name: ASCII without spaces and colons only"):
        validators.login(written)


PRINTABLE = "".join(map(chr, range(33, 127)))


@pytest.mark.parametrize("written", ["x", PRINTABLE, f"{PRINTABLE} {PRINTABLE}"])
def test_a_password_of_printable_ascii_is_taken(written: str) -> None:
    """All of it, and spaces within."""
    assert validators.printable(written) == written


@pytest.mark.parametrize("written", ["hünter2", "hunter2\x7f", "hun\x85ter2", "hunter2\n", "hunter2 ", " hunter2", " "])
def test_a_password_that_no_mail_server_can_be_told_is_refused_and_not_repeated(written: str) -> None:
    """It would log in with another."""
    with pytest.raises(ValueError, match="choose another password at the relay") as caught:
        validators.printable(written)
    assert "unter2" not in str(caught.value)


@pytest.mark.parametrize(
    "written",
    [
        "/srv/restic",
        "sftp:jo@nas.example.org:/srv/restic",
        "sftp://jo@nas.example.org:2222//srv/restic",
        "rest:https://backup.example.org:8000/baikal/",
        "s3:s3.eu-central-1.amazonaws.com/bucket/path",
        "s3:https://minio.lan:9000/baikal",
        "b2:bucket:path",
        "rclone:remote:baikal",
    ],
)
def test_a_repository_of_restic_is_taken(written: str) -> None:
    """With a port, a user, a path."""
    assert validators.repository(written) == written


@pytest.mark.parametrize(
    "written", ["rest:https://jo:hunter2@nas/", "rest:http://:hunter2@nas/", "s3:https://key:hun@ter2@s3.lan/x"]
)
def test_a_password_in_a_repositorys_address_is_refused_and_not_repeated(written: str) -> None:
    """Settings that are no secrets are shown, committed and stored in archives."""
    with pytest.raises(ValueError, match="as a line RESTIC_REPOSITORY=…") as caught:
        validators.repository(written)
    assert "hunter2" not in str(caught.value)
    assert "hun@ter2" not in str(caught.value)


@pytest.mark.parametrize(
    "written", ["restic", "", "../restic", "https://nas/restic", "sftp:", "/srv/my restic", "s3: x"]
)
def test_what_restic_would_take_for_something_else_is_no_repository(written: str) -> None:
    """A relative path depends on who asks, and an unknown scheme would be one."""
    with pytest.raises(ValueError, match="is no repository of restic: an absolute path, or an address"):
        validators.repository(written)


@pytest.mark.parametrize("written", ["00:00", "03:15", "23:59", "hourly"])
def test_a_schedule_is_a_time_of_day_or_hourly(written: str) -> None:
    """As systemd and people write it."""
    assert validators.schedule(written) == written


@pytest.mark.parametrize("written", ["3:15", "24:00", "12:60", "03:15:00", "daily", "Hourly", "03.15", "0３:15"])
def test_what_no_clock_shows_is_no_schedule(written: str) -> None:
    """It is said how it is written."""
    with pytest.raises(ValueError, match='write it as "03:15", or "hourly"'):
        validators.schedule(written)


@pytest.mark.parametrize("written", ["A=b", "A=b\nC_1=d=e f\n", "A=b\n\nC=d"])
def test_lines_of_an_environment_are_taken(written: str) -> None:
    """Values are as they stand, and may have anything."""
    assert validators.environment(written) == written


@pytest.mark.parametrize(
    "written", ["A=x\nhunter2", "A=x\n1A=hunter2", "A=x\nexport A=hunter2", "A=x\n=hunter2", "A=x\nA="]
)
def test_a_line_that_is_no_variable_is_numbered_and_not_repeated(written: str) -> None:
    """It may be half of a secret."""
    with pytest.raises(ValueError, match=r"not NAME=value, the 2\. one") as caught:
        validators.environment(written)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("written", ["x", " x ", PRINTABLE])
def test_a_databases_password_is_taken_as_it_is(written: str) -> None:
    """Spaces at its ends are part of it."""
    assert validators.database_password(written) == written


@pytest.mark.parametrize("written", ["hünter2", "hunter2\x7f", "hun\x85ter2"])
def test_a_databases_password_outside_ascii_is_refused_and_not_repeated(written: str) -> None:
    """PHP would send it in other bytes than Python."""
    with pytest.raises(ValueError, match="choose another password at the database server") as caught:
        validators.database_password(written)
    assert "ter2" not in str(caught.value)


@pytest.mark.parametrize("written", ["baikal", "s1-2026", "7", LONGEST_LABEL])
def test_a_dkim_selector_is_taken(written: str) -> None:
    """One label."""
    assert validators.selector(written) == written


@pytest.mark.parametrize("written", ["Baikal", "a.b", "a_b", "-a", "a-", "ä", f"{LONGEST_LABEL}a", "a b"])
def test_what_is_no_label_is_no_dkim_selector(written: str) -> None:
    """It becomes part of a name in the DNS, and of a file's."""
    with pytest.raises(ValueError, match="lower-case letters, digits and inner hyphens only, such as baikal"):
        validators.selector(written)


@pytest.mark.parametrize(
    "written",
    [
        *("letsencrypt", "staging", "https://ca.example.org", "https://ca.lan:14000/dir", "https://192.0.2.7/acme/a_b"),
        *("https://[2001:db8::1]:9000/acme/acme/directory", "https://ca.example.org/a?b=c&d=%20"),
    ],
)
def test_an_acme_server_is_a_known_name_or_an_address(written: str) -> None:
    """As the CA's documentation shows it."""
    assert validators.acme_server(written) == written


@pytest.mark.parametrize(
    "written",
    [
        *("LetsEncrypt", "ca.example.org", "ftp://ca.example.org/", "https://", "https:///directory", "//ca/"),
        *("https://jo:secret@ca.example.org/", "https://ca.example.org/ x", "https://ca.example.org/#x", "HTTPS://ca"),
        *("https://ca.example.org:port/", "https://käl.example/", 'https://ca"/', "https://ca:0/", "https://ca:65536/"),
    ],
)
def test_what_is_no_acme_server_is_refused(written: str) -> None:
    """With what is one."""
    with pytest.raises(ValueError, match="letsencrypt, staging, or the address of a directory"):
        validators.acme_server(written)


def test_an_acme_server_without_encryption_is_refused() -> None:
    """RFC 8555, section 6.1, has HTTPS only."""
    with pytest.raises(ValueError, match="give its https:// address"):
        validators.acme_server("http://ca.example.org/directory")


@pytest.mark.parametrize("written", ["aHVudGVyMg", "aHVudGVyMg==", "-_8", "AAAA"])
def test_a_key_in_base64url_is_taken(written: str) -> None:
    """Padded or not."""
    assert validators.base64url(written) == written


@pytest.mark.parametrize("written", ["hunter2+", "hunter2/", "hunter2 hunter2", "hunte", "====", "hunter=2", "hünter2"])
def test_a_key_in_another_alphabet_is_refused_and_not_repeated(written: str) -> None:
    """Python would drop what it doesn't know and ask the CA with another key."""
    with pytest.raises(ValueError, match="is not base64url") as caught:
        validators.base64url(written)
    assert written not in str(caught.value)


@pytest.mark.parametrize("written", ["V2VudGVyMg", "kid-1_~.:/+=@", "12345"])
def test_an_id_of_a_key_is_taken(written: str) -> None:
    """Whatever it looks like at a CA."""
    assert validators.key_id(written) == written


@pytest.mark.parametrize("written", ["rfc2136", "cloudflare", "route53"])
def test_a_plugin_of_certbot_is_taken(written: str) -> None:
    """By the name that its package has after dns-."""
    assert validators.dns_plugin(written) == written


BREAKS = (
    " ",
    "\n",
    "\r",
    "\t",
    "\x7f",
    "\x85",
    "\u2028",
    "\xa0",
    '"',
    "'",
    "#",
    ";",
    "[x]",
    "\\",
    "`",
    "$(x)",
    "{x}",
    ",",
)


@pytest.mark.parametrize("text", BREAKS, ids=ascii)
@pytest.mark.parametrize(
    ("rule", "right"),
    [
        (validators.email_address, "jo@example.org"),
        (validators.key_id, "kid"),
        (validators.dns_plugin, "rfc2136"),
        (validators.host_path, "/usr/local/bin/dns"),
        (validators.sender, "cal@example.org"),
        (validators.relay_host, "smtp.example.org"),
        (validators.selector, "baikal"),
        (validators.database_host, "db.example.org"),
        (validators.database_name, "baikal"),
        (validators.database_user, "baikal"),
    ],
)
def test_nothing_breaks_out_of_a_line_of_a_configuration_file(
    rule: Callable[[str], str], right: str, text: str
) -> None:
    """Wherever it stands: what ends a line, begins a comment, a list or a quotation, or means something to a shell."""
    for broken in (text + right, right[:2] + text + right[2:], right + text):
        with pytest.raises(ValueError, match=r"letters|plugin of certbot"):
            rule(broken)


@pytest.mark.parametrize("text", [part for part in BREAKS if part not in ("[x]", ",")], ids=ascii)
def test_nothing_breaks_out_of_a_line_with_an_acme_servers_address(text: str) -> None:
    """An IPv6 address has brackets, and a path may have a comma; neither means anything within an address."""
    right = "https://ca.example.org/dir"
    for broken in (text + right, right[:10] + text + right[10:], right + text):
        with pytest.raises(ValueError, match="is no ACME server"):
            validators.acme_server(broken)
