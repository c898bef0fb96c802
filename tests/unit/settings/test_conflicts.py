"""Which names a CA gives a certificate for and where one asks for it, and in which ways mail can leave.

What else contradicts itself is among the wrong settings of test_settings.py.
"""

from __future__ import annotations

import pytest

from baikalctl.errors import SettingsError
from baikalctl.settings import load
from tests.unit.samples import settings

OWN = "https://ca.lan:14000/dir"


def letsencrypt(**changed: object) -> tuple[str, ...]:
    """Return the names that a certificate is asked for; raises :class:`SettingsError` where there would be none."""
    return settings(tls="letsencrypt", acme_email="jo@example.org", **changed).names


@pytest.mark.parametrize(
    ("server", "directory"),
    [
        ("letsencrypt", "https://acme-v02.api.letsencrypt.org/directory"),
        ("staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
        (OWN, OWN),
    ],
)
def test_a_ca_is_asked_at_its_directory(server: str, directory: str) -> None:
    """Let's Encrypt has names of its own, any other CA is given by its address."""
    assert settings(acme_server=server).acme_directory == directory


@pytest.mark.parametrize(
    "name", ["cal.example.org", "example.com", "xn--mller-kva.de", "local.example.net", "a.arpa", "testing.home.org"]
)
def test_names_of_the_public_dns_are_taken_to_lets_encrypt(name: str) -> None:
    """Those that documentation uses are among them."""
    assert letsencrypt(hostname=name) == (name,)
    assert letsencrypt(hostname="cal.example.org", hostnames=[f"b.{name}"]) == ("cal.example.org", f"b.{name}")


LOCAL = (
    *("calendar", "localhost", "cal.localhost", "cal.local", "cal.corp.internal", "cal.lan", "cal.home", "cal.test"),
    *("cal.example", "cal.invalid", "cal.home.arpa", "home.arpa", "cal.7"),
)


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("server", ["letsencrypt", "staging", "https://acme-v02.api.letsencrypt.org/directory"])
def test_names_that_the_public_dns_does_not_have_get_nothing_from_lets_encrypt(name: str, server: str) -> None:
    """It is said before the CA is asked, with what to do; for further names as for the main one."""
    remedy = "set tls to selfsigned or files, or acme_server to a CA of your own"
    with pytest.raises(SettingsError, match=rf'^hostname = "{name}": is no name of the public DNS.*{remedy}$'):
        letsencrypt(hostname=name, acme_server=server)
    with pytest.raises(SettingsError, match=rf'^hostnames\[1\] = "{name}": is no name of the public DNS.*{remedy}$'):
        letsencrypt(hostnames=["b.example.org", name], acme_server=server)


@pytest.mark.parametrize("name", LOCAL)
def test_a_ca_of_ones_own_may_know_any_name(name: str) -> None:
    """What is behind its DNS is its own business."""
    assert letsencrypt(hostname=name, acme_server=OWN) == (name,)


@pytest.mark.parametrize("server", ["letsencrypt", "staging", OWN])
def test_an_ip_address_gets_no_certificate_from_any_ca(server: str) -> None:
    """Certbot asks for names only."""
    with pytest.raises(SettingsError, match=r'^hostname = "192\.0\.2\.7": is an IP address.*selfsigned or files$'):
        letsencrypt(hostname="192.0.2.7", acme_server=server)
    with pytest.raises(SettingsError, match=r'^hostnames\[0\] = "192\.0\.2\.7": is an IP address'):
        letsencrypt(hostnames=["192.0.2.7"], acme_server=server)


def test_every_name_without_a_certificate_is_said() -> None:
    """Not only the first one."""
    with pytest.raises(SettingsError) as caught:
        letsencrypt(hostname="cal.lan", hostnames=["192.0.2.7", "cal.example.org", "cal"])
    assert [fault.setting for fault in caught.value.faults] == ["hostname", "hostnames[0]", "hostnames[2]"]


def test_a_hook_or_a_plugin_is_enough() -> None:
    """Some plugins have no credentials of their own, and a hook knows where it has them."""
    assert letsencrypt(acme_dns_plugin="route53")
    assert letsencrypt(acme_dns_hook="/usr/local/bin/dns")
    assert letsencrypt(acme_dns_plugin="rfc2136", acme_dns_credentials="a = b\nc = d", acme_dns_propagation_s=900)


def test_a_plugin_without_credentials_of_its_own_is_given_none() -> None:
    """It would read none, and ask who knows whom; what it does take is said."""
    with pytest.raises(
        SettingsError, match=r"^acme_dns_credentials: is nothing that route53 takes; give .*\(a role, or "
    ):
        letsencrypt(acme_dns_plugin="route53", acme_dns_credentials="a = b")


@pytest.mark.parametrize(
    "given",
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
def test_a_machine_has_its_data_in_each_of_these_servers(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, object]
) -> None:
    """Its own or somebody else's, with TLS or on a network of one's own."""
    monkeypatch.setenv("GIVEN", "hunter2")
    made = load.from_data({"hostname": "cal.example.org", "admin_password": {"env": "GIVEN"}} | given)
    assert (made.database, made.database_host) == (given["database"], given["database_host"])
    assert made.local_server == (given["database_host"] == "local")


def test_each_database_setting_without_effect_is_said() -> None:
    """Not only the first one, and never the password."""
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


def test_backups_by_hand_alone_may_be_thinned_out_and_go_to_a_repository() -> None:
    """What is off is the clock."""
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
def test_mail_of_a_machine_leaves_in_each_of_these_ways(
    monkeypatch: pytest.MonkeyPatch, mail: dict[str, object]
) -> None:
    """Directly or through a relay, which may want a login, or be a neighbour that needs no TLS."""
    monkeypatch.setenv("GIVEN", "hunter2")
    made = load.from_data({"hostname": "cal.example.org", "admin_password": {"env": "GIVEN"}} | mail)
    assert (made.mail, made.relay_host) == (mail["mail"], mail.get("relay_host", ""))


@pytest.mark.parametrize("name", ["calendar", "localhost", "192.0.2.7", "10"])
def test_a_name_that_mail_cannot_come_from_needs_a_sender(name: str) -> None:
    """Other mail servers would refuse it; with an address of a domain that has a dot, any name will do."""
    with pytest.raises(SettingsError, match=r"^mail_from: is missing; hostname is no full domain"):
        settings(mail="relay", relay_host="smtp", hostname=name)
    assert settings(mail="relay", relay_host="smtp", hostname=name, mail_from="cal@example.org").hostname == name
    assert settings(mail="off", hostname=name).mail == "off"


def test_each_mail_setting_without_effect_is_said() -> None:
    """Not only the first one, and never the password."""
    relay = {"relay_host": "smtp", "relay_port": 1, "relay_tls": "tls", "relay_user": "jo", "relay_ca": "/ca.pem"}
    with pytest.raises(SettingsError) as caught:
        settings(mail_from="cal@example.org", dkim_selector="cal", relay_password="hunter2", **relay)
    assert {fault.setting for fault in caught.value.faults} == {"mail_from", "dkim_selector", "relay_password", *relay}
    assert "hunter2" not in str(caught.value)


def test_what_a_relay_lacks_is_said_at_once() -> None:
    """Its name, and the other half of the login."""
    with pytest.raises(SettingsError) as caught:
        settings(mail="relay", relay_user="jo", relay_tls="none", relay_ca="/ca.pem")
    assert [fault.setting for fault in caught.value.faults] == ["relay_host", "relay_password", "relay_ca"]
