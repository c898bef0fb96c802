"""What Postfix and OpenDKIM are told on a machine."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.rendering.machine import render
from baikalctl.settings.secret import Secret
from tests.unit.samples import PLATFORM, settings

if TYPE_CHECKING:
    from baikalctl.rendering.model import FileSet
    from baikalctl.settings.model import Settings

RELAY: dict[str, object] = {
    "relay_host": "smtp.example.net",
    "relay_user": "cal",
    "relay_password": Secret("a: \"b'#c  $x,{}\\ d="),
}
DEBIAN_13 = dataclasses.replace(PLATFORM, php="8.4", postfix=(3, 10, 13))
DEBIAN_12 = dataclasses.replace(PLATFORM, postfix=(3, 7, 11))


def machine(**changed: object) -> Settings:
    """Return the settings of a machine with Postfix; a container can't have it."""
    return dataclasses.replace(settings(), **{"mail": "postfix"} | changed)  # type: ignore[arg-type]


def files(**changed: object) -> dict[str, str]:
    """Return the text of every file by path."""
    return {file.path: file.content.decode() for file in render(machine(**changed), DEBIAN_13).files}


def main(**changed: object) -> dict[str, str]:
    """Return what main.cf says, by parameter."""
    lines = [line for line in files(**changed)[paths.POSTFIX].splitlines() if line and not line.startswith("#")]
    told = dict(line.split(" =", 1) for line in lines)
    assert len(told) == len(lines), "something is said twice"
    return {name: value.strip() for name, value in told.items()}


def names(file_set: FileSet) -> list[str]:
    """Return the names of the services that are no web server's."""
    return [service.name for service in file_set.services if service.name.startswith(("open", "post"))]


def test_without_postfix_there_is_nothing_of_it() -> None:
    """Whoever has no mail server gets none of its files."""
    without = render(machine(mail="off"), DEBIAN_13)
    assert not [file.path for file in without.files if file.path.startswith(("/etc/postfix", "/etc/opendkim"))]
    assert not names(without)
    assert paths.DKIM not in [directory.path for directory in without.directories]


def test_postfix_listens_on_no_port() -> None:
    """Mail is taken from this machine's own programs alone, so nothing of a server for others is set."""
    told = main()
    assert told["master_service_disable"] == "inet"
    assert told["inet_interfaces"] == "loopback-only"
    assert not [name for name in told if name.startswith("smtpd_")]


def test_a_machine_without_ipv6_hears_nothing_of_it() -> None:
    """Postfix would complain about an address that it can't have."""
    told = render(machine(), dataclasses.replace(DEBIAN_13, ipv6=False))
    (text,) = (file.content.decode() for file in told.files if file.path == paths.POSTFIX)
    assert "inet_protocols = ipv4\n" in text


def test_without_a_relay_mail_goes_straight_to_its_recipients() -> None:
    """Encrypted where the other server can, and with no login."""
    told = main()
    assert (told["relayhost"], told["smtp_tls_security_level"]) == ("", "may")
    assert paths.POSTFIX_LOGIN not in files()
    assert not [name for name in told if name.startswith("smtp_sasl")]


@pytest.mark.parametrize(
    ("tls", "nexthop", "wrapped"),
    [("starttls", "[smtp.example.net]:587", "no"), ("tls", "[smtp.example.net]:465", "yes")],
)
def test_a_relay_gets_mail_over_a_verified_connection_only(tls: str, nexthop: str, wrapped: str) -> None:
    """The certificate must be of somebody the system knows, and have the relay's name."""
    told = main(**RELAY, relay_tls=tls)
    assert told["relayhost"] == nexthop
    assert told["smtp_tls_security_level"] == "secure"
    assert told["smtp_tls_secure_cert_match"] == "nexthop"
    assert told["smtp_tls_CAfile"] == "/etc/ssl/certs/ca-certificates.crt"
    assert told["smtp_tls_wrappermode"] == wrapped


def test_a_ca_of_ones_own_is_the_only_one_that_is_believed() -> None:
    """Whoever names it doesn't mean the system's as well."""
    assert main(**RELAY, relay_ca="/etc/ssl/lab.pem")["smtp_tls_CAfile"] == "/etc/ssl/lab.pem"


def test_in_the_clear_nothing_is_encrypted_and_nobody_logs_in() -> None:
    """As declared; a password is refused together with that."""
    told = main(relay_host="relay", relay_tls="none")
    assert (told["relayhost"], told["smtp_tls_security_level"]) == ("[relay]:25", "none")
    assert not [name for name in told if name.startswith("smtp_sasl")]


def test_the_login_is_exact_and_roots_alone() -> None:
    """Postfix looks it up by what it calls the relay, and takes what follows the first colon as the password."""
    told = main(**RELAY)
    (login,) = (file for file in render(machine(**RELAY), DEBIAN_13).files if file.path == paths.POSTFIX_LOGIN)
    assert told["smtp_sasl_password_maps"] == f"texthash:{paths.POSTFIX_LOGIN}"
    assert login.content.decode().splitlines()[-1] == told["relayhost"] + " cal:a: \"b'#c  $x,{}\\ d="
    assert (login.mode, login.owner, login.group) == (0o600, "root", "root")
    theirs = {paths.POSTFIX_LOGIN, paths.RELAY_PASSWORD}  # the second is the doctor's
    assert "$x" not in "".join(text for path, text in files(**RELAY).items() if path not in theirs)


def test_what_comes_back_to_nobody_is_kept_by_root() -> None:
    """Mail to the address that we have made up stays here; mail to one that somebody has declared goes there."""
    assert "noreply@cal.example.org root@localhost\n" in files()[paths.POSTFIX_ALIASES]
    assert "@" not in files(mail_from="ops@example.org")[paths.POSTFIX_ALIASES]
    assert main()["luser_relay"] == "root"
    assert main()["local_recipient_maps"] == ""


def test_mail_to_others_at_the_servers_own_name_is_not_kept_here() -> None:
    """The name may be a whole domain with mailboxes elsewhere."""
    assert main()["mydestination"] == "localhost"


def test_mail_is_signed_or_waits() -> None:
    """What the signer would have signed never leaves without."""
    told, signer = main(mail_from="Cal@Example.org"), files(mail_from="Cal@Example.org")[paths.OPENDKIM]
    assert told["non_smtpd_milters"] == "inet:127.0.0.1:8891"
    assert told["milter_default_action"] == "tempfail"
    assert "Domain example.org\nSelector baikal\nKeyFile /var/lib/baikal/dkim/baikal.example.org.pem\n" in signer
    assert "Socket inet:8891@127.0.0.1\n" in signer


def test_without_a_selector_nothing_is_signed() -> None:
    """And nothing waits for a signer that isn't there."""
    assert not [name for name in main(dkim_selector="") if "milter" in name]
    assert paths.OPENDKIM not in files(dkim_selector="")
    assert names(render(machine(dkim_selector=""), DEBIAN_13)) == ["postfix"]


def test_the_signer_reads_its_keys_and_makes_none() -> None:
    """Nobody else even finds out which there are."""
    (keys,) = (place for place in render(machine(), DEBIAN_13).directories if place.path == paths.DKIM)
    assert (keys.mode, keys.owner, keys.group) == (0o750, "root", "opendkim")


def test_the_units_are_those_of_the_distribution() -> None:
    """Up to Debian 12, postfix.service says that it runs whether or not Postfix does."""
    assert names(render(machine(), DEBIAN_12)) == ["opendkim", "postfix", "postfix@-"]
    assert names(render(machine(), DEBIAN_13)) == ["opendkim", "postfix"]


def test_each_service_rereads_what_is_its_own() -> None:
    """A new key or password has the one reloaded that uses it."""
    services = {service.name: service for service in render(machine(**RELAY), DEBIAN_12).services}
    assert services["opendkim"].reads == (paths.OPENDKIM, "/var/lib/baikal/dkim/baikal.cal.example.org.pem")
    everything = (paths.POSTFIX, paths.POSTFIX_ALIASES, paths.POSTFIX_LOGIN)
    assert services["postfix"].reads == services["postfix@-"].reads == everything


def test_mail_waits_for_a_week_and_is_tried_every_quarter_of_an_hour_at_least() -> None:
    """So a relay that is down for a weekend loses nothing, and a wrong password is ours to mend meanwhile."""
    told = main(**RELAY)
    assert (told["minimal_backoff_time"], told["maximal_backoff_time"], told["queue_run_delay"]) == (
        "60s",
        "15m",
        "60s",
    )
    assert told["maximal_queue_lifetime"] == told["bounce_queue_lifetime"] == "7d"
    assert told["smtp_sasl_auth_soft_bounce"] == "yes"


def test_nothing_leaves_in_a_name_that_only_this_machine_knows() -> None:
    """What cron or a report of a failure calls itself becomes the declared sender."""
    assert main()["smtp_generic_maps"] == "inline:{ { @localhost = noreply@cal.example.org } }"
    assert main(mail_from="ops@example.org")["smtp_generic_maps"] == "inline:{ { @localhost = ops@example.org } }"


def test_a_relay_may_have_its_name_from_the_hosts_file() -> None:
    """The DNS is asked first; for the recipients' own servers it is the only one to ask."""
    assert main(**RELAY)["smtp_host_lookup"] == "dns, native"
    assert "smtp_host_lookup" not in main()
