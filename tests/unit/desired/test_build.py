"""The desired state: built from settings, written as declared.json, and read again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from baikalctl import paths
from baikalctl.desired.build import desired_state
from baikalctl.desired.state import Acme, Backup, Database, DesiredState, Relay
from baikalctl.errors import HostError
from baikalctl.settings import load
from baikalctl.settings.model import DEFINITIONS
from tests.unit.samples import LETSENCRYPT, PASSWORD, RELAY, declared, own_postfix, settings, user

SHARED = [
    user(
        "jo",
        display_name="Jö",
        email="jo@example.org",
        calendars=[{"name": "work", "color": "#ff0000", "share": [{"with": "ann", "access": "write"}]}],
        address_books=[{"name": "friends", "description": "Freunde"}],
    ),
    user("ann"),
    {"name": "gone", "state": "absent"},
]
SERVER: dict[str, object] = {
    "database": "pgsql",
    "database_host": "db.example.org",
    "database_password": "hunter2-hunter2",
}
RESTIC: dict[str, object] = {
    "restic_repository": "sftp:jo@nas:/srv/restic",
    "restic_password": "hunter2-hunter2",
    "restic_credentials": "A=hunter2\nB=hunter2",
}
FILES: dict[str, object] = {"tls": "files", "tls_certificate": "/c.pem", "tls_key": "/k.pem"}


def test_host_reads_the_state_that_the_deploy_wrote() -> None:
    """No field is lost: accounts, calendars, shares, removals."""
    for changed in ({}, FILES, LETSENCRYPT | {"hostnames": ["dav.example.org"]}, RELAY, SERVER, RESTIC):
        state = desired_state(settings(users=SHARED, **changed), ("php8.2-fpm", "nginx"))
        assert DesiredState.from_json(state.to_json()) == state
    assert DesiredState.from_json(desired_state(own_postfix()).to_json()) == desired_state(own_postfix())


def test_same_settings_give_the_same_text() -> None:
    """Otherwise each run would change the file."""
    assert declared(users=SHARED).to_json() == declared(users=SHARED).to_json()


def test_hashes_are_those_of_baikal() -> None:
    """A SHA-256 for the admin, HTTP digest's A1 for an account, both with Baïkal's realm."""
    state = declared(users=[user("jo", password="geheim")])
    assert state.admin_hash == hashlib.sha256(f"admin:BaikalDAV:{PASSWORD}".encode()).hexdigest()
    assert state.users[0].digest == hashlib.md5(b"jo:BaikalDAV:geheim", usedforsecurity=False).hexdigest()


def test_known_passwords_have_known_hashes() -> None:
    """Two vectors computed with sha256sum and md5sum, one with an umlaut."""
    state = declared(admin_password="geheim", users=[user("jürgen", password="schön")])
    assert state.admin_hash == "fed28112a9220118050e42bbf1b964e4f972e94bd2df5e53d3add46628bfea54"
    assert state.users[0].digest == "da7abc1a2abd3cf37c18f68ee39c79d4"


def test_state_has_no_password() -> None:
    """Only hashes."""
    state = declared(users=[user("jo", password="hunter2-hunter2")], **SERVER, **RESTIC, **RELAY)
    text = state.to_json()
    for secret in (PASSWORD, json.dumps(PASSWORD), "hunter2", "relay-secret"):
        assert secret not in text
    assert "admin_password" not in text
    assert "password" not in json.dumps(state.settings)


def test_absent_account_has_no_hash() -> None:
    """Not even the digest of an empty password, so no login is possible."""
    assert declared(users=[{"name": "gone", "state": "absent"}]).users[0].digest == ""


@pytest.mark.parametrize(
    ("changed", "scheme", "port", "served"),
    [
        ({}, "https", 443, f"{paths.TLS}/selfsigned-cal.example.org"),
        ({"https_port": 8443}, "https", 8443, f"{paths.TLS}/selfsigned-cal.example.org"),
        ({"tls": "off", "http_port": 8080}, "http", 8080, ""),
        (FILES, "https", 443, f"{paths.TLS}/files-cal.example.org"),
        (LETSENCRYPT, "https", 443, f"{paths.TLS}/letsencrypt-cal.example.org"),
    ],
    ids=["self-signed", "another port", "no TLS", "files", "Let's Encrypt"],
)
def test_state_has_scheme_port_and_certificate_of_the_tls_setting(
    changed: dict[str, object], scheme: str, port: int, served: str
) -> None:
    """Scheme, port and what the web server reads follow from the kind of TLS."""
    state = declared(**changed)
    assert (state.scheme, state.port, state.served) == (scheme, port, served)
    assert state.read_by_nginx() == (paths.SITE, *((f"{served}.pem", f"{served}.conf") if served else ()))
    assert state.read_by_nginx("/run/baikal")[0] == f"/run/baikal{paths.SITE}"


def test_state_has_the_certificate_files() -> None:
    """Only with tls = "files"."""
    state = declared(**FILES)
    assert (state.tls_certificate, state.tls_key) == ("/c.pem", "/k.pem")
    assert (declared().tls_certificate, declared().tls_key) == ("", "")


def test_state_has_all_names_with_the_main_one_first() -> None:
    """The certificate must include all of them."""
    assert declared(hostnames=["dav.example.org"]).names == ("cal.example.org", "dav.example.org")


def test_state_has_the_acme_settings() -> None:
    """Server, type of key, configuration file, and whether the DNS is used."""
    state = desired_state(settings(**LETSENCRYPT, acme_ca="/ca.pem", acme_key_type="rsa"), root="/run/baikal")
    assert state.asking == Acme(
        server="https://acme-v02.api.letsencrypt.org/directory",
        key_type="rsa",
        configuration=f"/run/baikal{paths.CERTBOT}",
        by_dns=False,
    )
    assert state.authority == "/ca.pem"
    for by_dns in ({"acme_dns_plugin": "rfc2136"}, {"acme_dns_hook": "/usr/local/bin/hook"}):
        asking = declared(**LETSENCRYPT, **by_dns).asking
        assert asking is not None
        assert asking.by_dns


@pytest.mark.parametrize("changed", [{}, {"tls": "off"}, {"acme_ca": "/ca.pem"}], ids=["self-signed", "no TLS", "left"])
def test_state_has_no_acme_settings_without_letsencrypt(changed: dict[str, object]) -> None:
    """Although the settings have them."""
    state = declared(**changed)
    assert state.asking is None
    assert state.authority == ""


def test_settings_of_baikal_have_baikals_form() -> None:
    """YAML booleans, capitalised authentication type, and the trailing slash of base_uri."""
    state = declared(caldav=False, dav_auth="digest", base_path="/cal", timezone="UTC")
    assert state.system == {
        "timezone": "UTC",
        "cal_enabled": False,
        "card_enabled": True,
        "dav_auth_type": "Digest",
        "base_uri": "/cal/",
        "invite_from": "",
    }
    assert declared().system["base_uri"] == ""
    assert declared().system["dav_auth_type"] == "Basic"


def test_baikal_has_no_sender_with_mail_off() -> None:
    """Baïkal sends no invitations without a sender, and reports that to clients. Mail is off by default."""
    assert declared().system["invite_from"] == ""
    assert declared(**RELAY).system["invite_from"] == "noreply@cal.example.org"
    assert declared(**RELAY, mail_from="cal@example.org").system["invite_from"] == "cal@example.org"


def test_state_has_the_relay_and_the_path_of_its_password() -> None:
    """The password is in a separate file."""
    state = declared(**RELAY, relay_tls="tls").mail
    assert (state.mode, state.sender, state.selector) == ("relay", "noreply@cal.example.org", "")
    assert state.relay == Relay(
        host="smtp.example.net", port=465, tls="tls", ca="", user="cal", password=paths.RELAY_PASSWORD
    )
    assert "relay-secret" not in declared(**RELAY).to_json()
    assert declared(mail="relay", relay_host="smtp.example.net").mail.relay == Relay(
        host="smtp.example.net", port=587, tls="starttls", ca="", user="", password=""
    )


def test_state_has_no_relay_and_no_dkim_key_with_mail_off() -> None:
    """Postfix on a machine signs, and may have a relay."""
    off, own = declared().mail, desired_state(own_postfix()).mail
    assert (off.mode, off.relay, off.selector) == ("off", None, "")
    assert (own.mode, own.relay, own.selector) == ("postfix", None, "baikal")


def test_default_database_is_sqlite() -> None:
    """Archives of a week, a month and a year are kept."""
    state = declared()
    assert state.database == Database(
        backend="sqlite", local=False, host="", port=0, name="", user="", password="", tls=False, ca=""
    )
    assert state.backup == Backup(
        on=True, schedule="03:15", daily=7, weekly=4, monthly=12, repository="", password="", credentials=""
    )


def test_state_has_the_database_server_and_the_path_of_its_password() -> None:
    """The password is in a separate file, in a container below another root."""
    state = desired_state(settings(**SERVER, database_name="dav", database_port=6432), root="/run/baikal").database
    assert state == Database(
        backend="pgsql",
        local=False,
        host="db.example.org",
        port=6432,
        name="dav",
        user="baikal",
        password=f"/run/baikal{paths.DATABASE_PASSWORD}",
        tls=True,
        ca=paths.AUTHORITIES,
    )
    mysql = declared(**SERVER | {"database": "mysql", "database_ca": "/ca.pem"}).database
    assert (mysql.port, mysql.ca) == (3306, "/ca.pem")
    clear = declared(**SERVER, database_tls="off").database
    assert (clear.tls, clear.ca) == (False, "")


@pytest.mark.parametrize("backend", ["mysql", "pgsql"])
def test_local_database_server_has_neither_port_nor_password(backend: str) -> None:
    """Its Unix socket identifies the client."""
    state = desired_state(dataclasses.replace(settings(), database=backend, database_host="local")).database
    assert state == Database(
        backend=backend, local=True, host="", port=0, name="baikal", user="baikal", password="", tls=False, ca=""
    )
    assert state.reveal() == ""


def test_state_has_the_restic_repository() -> None:
    """With the paths of its secrets, not with the secrets."""
    state = desired_state(settings(**RESTIC, backup=False, backup_keep_daily=0), root="/run/baikal").backup
    assert (state.on, state.daily, state.repository) == (False, 0, "sftp:jo@nas:/srv/restic")
    assert (state.password, state.credentials) == (
        f"/run/baikal{paths.RESTIC_PASSWORD}",
        f"/run/baikal{paths.RESTIC_CREDENTIALS}",
    )


def test_database_password_is_read_from_its_file(host: Path) -> None:
    """With spaces at its ends. The error for a missing file has the remedy."""
    assert host.is_dir()
    state = declared(**SERVER).database
    with pytest.raises(HostError, match=r"database-password \(No such file.*\); run the deploy again, as root"):
        state.reveal()
    Path(state.password).write_text(" geheim \n", encoding="ascii")
    assert state.reveal() == " geheim "


def test_state_has_the_settings_without_secrets() -> None:
    """In the form of group data, so that they can be declared again. Settings for the deploy only are left out."""
    mirror = "https://jo:hunter2@mirror.example.org/b.zip"
    kept = desired_state(
        dataclasses.replace(settings(users=SHARED, hostnames=["dav.example.org"]), baikal_archive=mirror)
    )
    named = kept.settings
    assert set(named) == {name for name, item in DEFINITIONS.items() if not item.secret and not item.machine_only}
    assert (named["hostname"], named["hostnames"], named["caldav"]) == ("cal.example.org", ["dav.example.org"], True)
    assert "mirror.example.org" not in kept.to_json()
    assert named["users"] == [
        {
            "name": "jo",
            "display_name": "Jö",
            "email": "jo@example.org",
            "calendars": [{"name": "work", "color": "#FF0000", "share": [{"with": "ann", "access": "write"}]}],
            "address_books": [{"name": "friends", "description": "Freunde"}],
        },
        {"name": "ann", "calendars": [{"name": "default"}], "address_books": [{"name": "default"}]},
        {"name": "gone", "state": "absent"},
    ]


def test_settings_of_a_state_give_the_same_state() -> None:
    """Together with the passwords, as after a restore."""
    state = declared(users=SHARED, **SERVER, **RESTIC)
    kept = json.loads(state.to_json())["settings"]
    passwords = {"password": {"env": "GIVEN"}}
    kept["users"] = [one | (passwords if "state" not in one else {}) for one in kept["users"]]
    secrets = {name: {"env": "GIVEN"} for name in ("admin_password", "database_password", "restic_password")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIVEN", PASSWORD.replace("ä", "ae"))
        again = desired_state(load.from_data(kept | secrets))
    assert again.settings == state.settings


def test_host_reads_declared_json(host: Path) -> None:
    """The file in /etc/baikal."""
    assert host.is_dir()
    state = declared(users=SHARED)
    Path(paths.DECLARED).write_text(state.to_json(), encoding="utf-8")
    assert DesiredState.on_this_host() == state


def test_host_without_a_deploy_is_refused(host: Path) -> None:
    """The error has the path and the remedy."""
    assert host.is_dir()
    with pytest.raises(HostError, match=r"declared\.json does not exist.*run the deploy first"):
        DesiredState.on_this_host()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"users": []}', "null"])
def test_file_of_another_version_is_refused(host: Path, text: str) -> None:
    """A damaged file or missing fields don't end in a stack trace."""
    assert host.is_dir()
    Path(paths.DECLARED).write_text(text, encoding="utf-8")
    with pytest.raises(HostError, match="was written by another version of baikalctl; run the deploy again"):
        DesiredState.on_this_host()


def test_file_of_a_newer_version_is_refused(host: Path) -> None:
    """An older baikalctl must not ignore settings of a newer deploy."""
    assert host.is_dir()
    fields = json.loads(declared().to_json()) | {"mail": "relay"}
    Path(paths.DECLARED).write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(HostError, match="was written by another version"):
        DesiredState.on_this_host()


def test_unreadable_file_is_refused_with_sudo_as_remedy(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For an ordinary user who runs baikalctl."""
    assert host.is_dir()

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError

    # Root may read everything, and these tests may run as root.
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(HostError, match=r"can only be read by root; run baikalctl as root, for example with sudo"):
        DesiredState.on_this_host()
