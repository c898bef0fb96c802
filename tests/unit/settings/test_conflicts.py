"""Combinations of settings: names and certificates, database servers, mail.

Further contradictions are in the tables (cases).
"""

from __future__ import annotations

import pytest

from baikalctl.errors import SettingsError
from baikalctl.settings import load
from tests.unit.samples import settings

OWN = "https://ca.lan:14000/dir"


def letsencrypt(**changed: object) -> tuple[str, ...]:
    """Return the names of the certificate; raises :class:`SettingsError` if the CA would issue none."""
    return settings(tls="letsencrypt", acme_email="jo@example.org", **changed).names


@pytest.mark.parametrize(
    ("server", "directory"),
    [
        ("letsencrypt", "https://acme-v02.api.letsencrypt.org/directory"),
        ("staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
        (OWN, OWN),
    ],
)
def test_acme_server_is_a_known_name_or_a_directory(server: str, directory: str) -> None:
    """Let's Encrypt has short names; other CAs need their address."""
    assert settings(acme_server=server).acme_directory == directory


@pytest.mark.parametrize(
    "name", ["cal.example.org", "example.com", "xn--mller-kva.de", "local.example.net", "a.arpa", "testing.home.org"]
)
def test_public_names_are_accepted_with_lets_encrypt(name: str) -> None:
    """Also the names that documentation uses."""
    assert letsencrypt(hostname=name) == (name,)
    assert letsencrypt(hostname="cal.example.org", hostnames=[f"b.{name}"]) == ("cal.example.org", f"b.{name}")


LOCAL = (
    *("calendar", "localhost", "cal.localhost", "cal.local", "cal.corp.internal", "cal.lan", "cal.home", "cal.test"),
    *("cal.example", "cal.invalid", "cal.home.arpa", "home.arpa", "cal.7"),
)


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("server", ["letsencrypt", "staging", "https://acme-v02.api.letsencrypt.org/directory"])
def test_local_names_are_refused_with_lets_encrypt(name: str, server: str) -> None:
    """The error comes before the CA is contacted, for the main name and for additional names."""
    remedy = "set tls to selfsigned or files, or acme_server to your own CA"
    with pytest.raises(SettingsError, match=rf'^hostname = "{name}": is not a name of the public DNS.*{remedy}$'):
        letsencrypt(hostname=name, acme_server=server)
    with pytest.raises(SettingsError, match=rf'^hostnames\[1\] = "{name}": is not a name of the public DNS.*{remedy}$'):
        letsencrypt(hostnames=["b.example.org", name], acme_server=server)


@pytest.mark.parametrize("name", LOCAL)
def test_local_names_are_accepted_with_another_ca(name: str) -> None:
    """The CA can have its own DNS."""
    assert letsencrypt(hostname=name, acme_server=OWN) == (name,)


@pytest.mark.parametrize("server", ["letsencrypt", "staging", OWN])
def test_ip_addresses_are_refused_with_every_ca(server: str) -> None:
    """Certbot requests certificates for names only."""
    with pytest.raises(SettingsError, match=r'^hostname = "192\.0\.2\.7": is an IP address.*selfsigned or files$'):
        letsencrypt(hostname="192.0.2.7", acme_server=server)
    with pytest.raises(SettingsError, match=r'^hostnames\[0\] = "192\.0\.2\.7": is an IP address'):
        letsencrypt(hostnames=["192.0.2.7"], acme_server=server)


def test_every_name_without_a_certificate_is_reported() -> None:
    """All of them."""
    with pytest.raises(SettingsError) as caught:
        letsencrypt(hostname="cal.lan", hostnames=["192.0.2.7", "cal.example.org", "cal"])
    assert [fault.setting for fault in caught.value.faults] == ["hostname", "hostnames[0]", "hostnames[2]"]


def test_dns_hook_or_plugin_is_accepted() -> None:
    """Some plugins need no credentials file, and a hook never does."""
    assert letsencrypt(acme_dns_plugin="route53")
    assert letsencrypt(acme_dns_hook="/usr/local/bin/dns")
    assert letsencrypt(acme_dns_plugin="rfc2136", acme_dns_credentials="a = b\nc = d", acme_dns_propagation_s=900)


def test_credentials_are_refused_for_a_plugin_that_does_not_read_them() -> None:
    """The error has the way in which route53 is configured."""
    with pytest.raises(
        SettingsError, match=r"^acme_dns_credentials: is not used by route53; configure .*\(a role, or "
    ):
        letsencrypt(acme_dns_plugin="route53", acme_dns_credentials="a = b")


@pytest.mark.parametrize(
    "database",
    [
        {"database": "mysql", "database_host": "local"},
        {"database": "pgsql", "database_host": "local", "database_name": "dav", "baikal_version": "0.10.1"},
        {"database": "mysql", "database_host": "local", "baikal_version": "0.10.1"},
        {"database": "mysql", "database_host": "db", "database_password": {"env": "GIVEN"}},
        {"database": "pgsql", "database_host": "db", "database_password": {"env": "GIVEN"}, "baikal_version": "0.10.1"},
        {
            "database": "mysql",
            "database_host": "10.0.0.7",
            "database_password": {"env": "GIVEN"},
            "database_tls": "off",
            "baikal_version": "0.10.1",
        },
        {
            "database": "pgsql",
            "database_host": "db.example.org",
            "database_port": 6432,
            "database_user": "dav@project",
            "database_password": {"env": "GIVEN"},
            "database_ca": "/ca.pem",
        },
    ],
)
def test_database_server_of_a_machine_is_accepted(monkeypatch: pytest.MonkeyPatch, database: dict[str, object]) -> None:
    """On the same machine or another one, with TLS or on a trusted network."""
    monkeypatch.setenv("GIVEN", "hunter2")
    made = load.from_data({"hostname": "cal.example.org", "admin_password": {"env": "GIVEN"}} | database)
    assert (made.database, made.database_host) == (database["database"], database["database_host"])
    assert made.local_server == (database["database_host"] == "local")


def test_each_database_setting_without_effect_is_reported() -> None:
    """All of them, and never the password."""
    server = {
        "database_host": "db",
        "database_port": 1,
        "database_name": "dav",
        "database_user": "jo",
        "database_tls": "off",
        "database_ca": "/ca.pem",
    }
    with pytest.raises(SettingsError) as caught:
        settings(database_password="hunter2", **server)
    assert {fault.setting for fault in caught.value.faults} == {"database_password", *server}
    assert "hunter2" not in str(caught.value)


def test_retention_and_restic_are_accepted_without_scheduled_backups() -> None:
    """Backups by hand use them."""
    made = settings(backup=False, backup_keep_daily=1, restic_repository="/srv/restic", restic_password="s")
    assert (made.backup, made.backup_keep_daily, made.restic_repository) == (False, 1, "/srv/restic")


LOGIN = {"relay_user": "jo", "relay_password": {"env": "GIVEN"}}


@pytest.mark.parametrize(
    "mail",
    [
        {"mail": "postfix"},
        {"mail": "postfix", "mail_from": "cal@example.org", "dkim_selector": ""},
        {"mail": "postfix", "relay_host": "smtp.example.org", "relay_tls": "tls", "dkim_selector": "cal", **LOGIN},
        {"mail": "postfix", "relay_host": "192.0.2.7", "relay_tls": "none", "relay_port": 2525},
        {"mail": "relay", "relay_host": "smtp.example.org"},
        {"mail": "relay", "relay_host": "localhost", "relay_tls": "none", "relay_port": 1025},
        {
            "mail": "relay",
            "relay_host": "smtp.example.org",
            "relay_ca": "/ca.pem",
            "mail_from": "jo@a.example",
            **LOGIN,
        },
    ],
)
def test_mail_settings_of_a_machine_are_accepted(monkeypatch: pytest.MonkeyPatch, mail: dict[str, object]) -> None:
    """Direct delivery, or a relay with or without login and TLS."""
    monkeypatch.setenv("GIVEN", "hunter2")
    made = load.from_data({"hostname": "cal.example.org", "admin_password": {"env": "GIVEN"}} | mail)
    assert (made.mail, made.relay_host) == (mail["mail"], mail.get("relay_host", ""))


@pytest.mark.parametrize("name", ["calendar", "localhost", "192.0.2.7", "10"])
def test_host_name_that_is_not_a_full_domain_needs_a_sender(name: str) -> None:
    """Other mail servers would refuse mail from it."""
    with pytest.raises(SettingsError, match=r"^mail_from: is missing; hostname is not a full domain"):
        settings(mail="relay", relay_host="smtp", hostname=name)
    assert settings(mail="relay", relay_host="smtp", hostname=name, mail_from="cal@example.org").hostname == name
    assert settings(mail="off", hostname=name).mail == "off"


def test_each_mail_setting_without_effect_is_reported() -> None:
    """All of them, and never the password."""
    relay = {"relay_host": "smtp", "relay_port": 1, "relay_tls": "tls", "relay_user": "jo", "relay_ca": "/ca.pem"}
    with pytest.raises(SettingsError) as caught:
        settings(mail_from="cal@example.org", dkim_selector="cal", relay_password="hunter2", **relay)
    assert {fault.setting for fault in caught.value.faults} == {"mail_from", "dkim_selector", "relay_password", *relay}
    assert "hunter2" not in str(caught.value)


def test_all_missing_relay_settings_are_reported_together() -> None:
    """The host name, and the password."""
    with pytest.raises(SettingsError) as caught:
        settings(mail="relay", relay_user="jo", relay_tls="none", relay_ca="/ca.pem")
    assert [fault.setting for fault in caught.value.faults] == ["relay_host", "relay_password", "relay_ca"]
