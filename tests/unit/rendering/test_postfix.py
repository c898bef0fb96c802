"""The configuration of Postfix and OpenDKIM on a machine."""

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
    """Return the parameters in main.cf."""
    lines = [line for line in files(**changed)[paths.POSTFIX].splitlines() if line and not line.startswith("#")]
    parameters = dict(line.split(" =", 1) for line in lines)
    assert len(parameters) == len(lines), "a parameter is there twice"
    return {name: value.strip() for name, value in parameters.items()}


def names(file_set: FileSet) -> list[str]:
    """Return the names of the mail services."""
    return [service.name for service in file_set.services if service.name.startswith(("open", "post"))]


def test_no_postfix_files_without_postfix() -> None:
    """Also no units."""
    without = render(machine(mail="off"), DEBIAN_13)
    assert not [file.path for file in without.files if file.path.startswith(("/etc/postfix", "/etc/opendkim"))]
    assert not names(without)
    assert paths.DKIM not in [directory.path for directory in without.directories]


def test_postfix_listens_on_no_port() -> None:
    """Only programs of this machine send mail, so no server options are set."""
    parameters = main()
    assert parameters["master_service_disable"] == "inet"
    assert parameters["inet_interfaces"] == "loopback-only"
    assert not [name for name in parameters if name.startswith("smtpd_")]


def test_postfix_does_not_use_ipv6_without_ipv6() -> None:
    """It would report an error."""
    parameters = render(machine(), dataclasses.replace(DEBIAN_13, ipv6=False))
    (text,) = (file.content.decode() for file in parameters.files if file.path == paths.POSTFIX)
    assert "inet_protocols = ipv4\n" in text


def test_mail_without_a_relay_is_delivered_directly() -> None:
    """Encrypted if the other server supports it, without login."""
    parameters = main()
    assert (parameters["relayhost"], parameters["smtp_tls_security_level"]) == ("", "may")
    assert paths.POSTFIX_LOGIN not in files()
    assert not [name for name in parameters if name.startswith("smtp_sasl")]


@pytest.mark.parametrize(
    ("tls", "nexthop", "wrapped"),
    [("starttls", "[smtp.example.net]:587", "no"), ("tls", "[smtp.example.net]:465", "yes")],
)
def test_a_relay_gets_mail_over_a_verified_connection_only(tls: str, nexthop: str, wrapped: str) -> None:
    """The certificate must be signed by a trusted CA, and have the relay's name."""
    parameters = main(**RELAY, relay_tls=tls)
    assert parameters["relayhost"] == nexthop
    assert parameters["smtp_tls_security_level"] == "secure"
    assert parameters["smtp_tls_secure_cert_match"] == "nexthop"
    assert parameters["smtp_tls_CAfile"] == "/etc/ssl/certs/ca-certificates.crt"
    assert parameters["smtp_tls_wrappermode"] == wrapped


def test_declared_ca_is_the_only_trusted_one() -> None:
    """The system's CAs aren't trusted then."""
    assert main(**RELAY, relay_ca="/etc/ssl/lab.pem")["smtp_tls_CAfile"] == "/etc/ssl/lab.pem"


def test_relay_without_tls_has_no_encryption_and_no_login() -> None:
    """Settings with a password are refused then."""
    parameters = main(relay_host="relay", relay_tls="none")
    assert (parameters["relayhost"], parameters["smtp_tls_security_level"]) == ("[relay]:25", "none")
    assert not [name for name in parameters if name.startswith("smtp_sasl")]


def test_only_root_can_read_the_login() -> None:
    """Postfix looks it up by the relay's name, and reads the text after the first colon as the password."""
    parameters = main(**RELAY)
    (login,) = (file for file in render(machine(**RELAY), DEBIAN_13).files if file.path == paths.POSTFIX_LOGIN)
    assert parameters["smtp_sasl_password_maps"] == f"texthash:{paths.POSTFIX_LOGIN}"
    assert login.content.decode().splitlines()[-1] == parameters["relayhost"] + " cal:a: \"b'#c  $x,{}\\ d="
    assert (login.mode, login.owner, login.group) == (0o600, "root", "root")
    secrets = {paths.POSTFIX_LOGIN, paths.RELAY_PASSWORD}  # the second is for baikalctl check
    assert "$x" not in "".join(text for path, text in files(**RELAY).items() if path not in secrets)


def test_mail_that_returns_to_the_default_sender_is_kept_by_root() -> None:
    """A declared sender gets its mail."""
    assert "noreply@cal.example.org root@localhost\n" in files()[paths.POSTFIX_ALIASES]
    assert "@" not in files(mail_from="ops@example.org")[paths.POSTFIX_ALIASES]
    assert main()["luser_relay"] == "root"
    assert main()["local_recipient_maps"] == ""


def test_mail_to_other_addresses_at_the_host_name_is_sent() -> None:
    """The host name may be a domain with mailboxes on another server."""
    assert main()["mydestination"] == "localhost"


def test_mail_stays_queued_while_it_cannot_be_signed() -> None:
    """It is never sent without a signature."""
    parameters, signer = main(mail_from="Cal@Example.org"), files(mail_from="Cal@Example.org")[paths.OPENDKIM]
    assert parameters["non_smtpd_milters"] == "inet:127.0.0.1:8891"
    assert parameters["milter_default_action"] == "tempfail"
    assert "Domain example.org\nSelector baikal\nKeyFile /var/lib/baikal/dkim/baikal.example.org.pem\n" in signer
    assert "Socket inet:8891@127.0.0.1\n" in signer


def test_mail_is_not_signed_without_a_selector() -> None:
    """And Postfix doesn't wait for the signer."""
    assert not [name for name in main(dkim_selector="") if "milter" in name]
    assert paths.OPENDKIM not in files(dkim_selector="")
    assert names(render(machine(dkim_selector=""), DEBIAN_13)) == ["postfix"]


def test_signer_can_read_its_keys_and_not_write_them() -> None:
    """Other accounts can't list them."""
    (keys,) = (directory for directory in render(machine(), DEBIAN_13).directories if directory.path == paths.DKIM)
    assert (keys.mode, keys.owner, keys.group) == (0o750, "root", "opendkim")


def test_units_are_those_of_the_postfix_version() -> None:
    """Up to Debian 12, postfix.service is active also if Postfix doesn't run."""
    assert names(render(machine(), DEBIAN_12)) == ["opendkim", "postfix", "postfix@-"]
    assert names(render(machine(), DEBIAN_13)) == ["opendkim", "postfix"]


def test_service_is_reloaded_when_its_files_change() -> None:
    """A new key or password reloads only its service."""
    services = {service.name: service for service in render(machine(**RELAY), DEBIAN_12).services}
    assert services["opendkim"].reads == (paths.OPENDKIM, "/var/lib/baikal/dkim/baikal.cal.example.org.pem")
    everything = (paths.POSTFIX, paths.POSTFIX_ALIASES, paths.POSTFIX_LOGIN)
    assert services["postfix"].reads == services["postfix@-"].reads == everything


def test_mail_is_tried_every_quarter_of_an_hour_for_a_week() -> None:
    """A relay can be down for a weekend, and an operator has time to fix a wrong password."""
    parameters = main(**RELAY)
    assert (parameters["minimal_backoff_time"], parameters["maximal_backoff_time"], parameters["queue_run_delay"]) == (
        "60s",
        "15m",
        "60s",
    )
    assert parameters["maximal_queue_lifetime"] == parameters["bounce_queue_lifetime"] == "7d"
    assert parameters["smtp_sasl_auth_soft_bounce"] == "yes"


def test_mail_of_local_accounts_has_the_declared_sender() -> None:
    """Mail of cron and error reports too."""
    assert main()["smtp_generic_maps"] == "inline:{ { @localhost = noreply@cal.example.org } }"
    assert main(mail_from="ops@example.org")["smtp_generic_maps"] == "inline:{ { @localhost = ops@example.org } }"


def test_name_of_the_relay_may_be_in_etc_hosts() -> None:
    """The DNS is asked first. Recipients' servers are found in the DNS only."""
    assert main(**RELAY)["smtp_host_lookup"] == "dns, native"
    assert "smtp_host_lookup" not in main()
