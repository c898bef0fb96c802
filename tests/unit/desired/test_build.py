"""What a host is told of the settings, and how it reads it again."""

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


def test_a_host_reads_what_the_deploy_wrote() -> None:
    """Nothing is lost between the two: accounts, calendars, shares, removals."""
    for changed in ({}, FILES, LETSENCRYPT | {"hostnames": ["dav.example.org"]}, RELAY, SERVER, RESTIC):
        told = desired_state(settings(users=SHARED, **changed), ("php8.2-fpm", "nginx"))
        assert DesiredState.from_json(told.to_json()) == told
    assert DesiredState.from_json(desired_state(own_postfix()).to_json()) == desired_state(own_postfix())


def test_the_same_settings_give_the_same_text() -> None:
    """Or else each run would find the file changed."""
    assert declared(users=SHARED).to_json() == declared(users=SHARED).to_json()


def test_the_verifiers_are_those_that_baikal_keeps() -> None:
    """The administrator's is a SHA-256, an account's is HTTP digest's A1, both with Baïkal's realm."""
    told = declared(users=[user("jo", password="geheim")])
    assert told.admin_hash == hashlib.sha256(f"admin:BaikalDAV:{PASSWORD}".encode()).hexdigest()
    assert told.users[0].digest == hashlib.md5(b"jo:BaikalDAV:geheim", usedforsecurity=False).hexdigest()


def test_known_passwords_have_known_verifiers() -> None:
    """Two vectors computed elsewhere, with sha256sum and md5sum, one of them with an umlaut."""
    told = declared(admin_password="geheim", users=[user("jürgen", password="schön")])
    assert told.admin_hash == "fed28112a9220118050e42bbf1b964e4f972e94bd2df5e53d3add46628bfea54"
    assert told.users[0].digest == "da7abc1a2abd3cf37c18f68ee39c79d4"


def test_a_host_is_told_no_password() -> None:
    """The file has verifiers only."""
    told = declared(users=[user("jo", password="hunter2-hunter2")], **SERVER, **RESTIC, **RELAY)
    text = told.to_json()
    for secret in (PASSWORD, json.dumps(PASSWORD), "hunter2", "relay-secret"):
        assert secret not in text
    assert "admin_password" not in text
    assert "password" not in json.dumps(told.settings)


def test_an_account_that_is_to_go_has_no_verifier() -> None:
    """There is nothing to log in with, not even the digest of an empty password."""
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
def test_the_host_knows_where_it_answers(changed: dict[str, object], scheme: str, port: int, served: str) -> None:
    """Scheme, port and what the web server reads follow from the kind of TLS."""
    told = declared(**changed)
    assert (told.scheme, told.port, told.served) == (scheme, port, served)
    assert told.read_by_nginx() == (paths.SITE, *((f"{served}.pem", f"{served}.conf") if served else ()))
    assert told.read_by_nginx("/run/baikal")[0] == f"/run/baikal{paths.SITE}"


def test_the_host_knows_whose_files_it_is_brought() -> None:
    """With tls = "files", and else none."""
    told = declared(**FILES)
    assert (told.tls_certificate, told.tls_key) == ("/c.pem", "/k.pem")
    assert (declared().tls_certificate, declared().tls_key) == ("", "")


def test_all_names_are_told_the_main_one_first() -> None:
    """A certificate must cover them all."""
    assert declared(hostnames=["dav.example.org"]).names == ("cal.example.org", "dav.example.org")


def test_the_host_knows_how_to_ask_an_authority() -> None:
    """Where, for what kind of key, with which file, and whether it is the DNS that answers for a name."""
    told = desired_state(settings(**LETSENCRYPT, acme_ca="/ca.pem", acme_key_type="rsa"), root="/run/baikal")
    assert told.asking == Acme(
        server="https://acme-v02.api.letsencrypt.org/directory",
        key_type="rsa",
        configuration=f"/run/baikal{paths.CERTBOT}",
        by_dns=False,
    )
    assert told.authority == "/ca.pem"
    for by_dns in ({"acme_dns_plugin": "rfc2136"}, {"acme_dns_hook": "/usr/local/bin/hook"}):
        asking = declared(**LETSENCRYPT, **by_dns).asking
        assert asking is not None
        assert asking.by_dns


@pytest.mark.parametrize("changed", [{}, {"tls": "off"}, {"acme_ca": "/ca.pem"}], ids=["self-signed", "no TLS", "left"])
def test_nobody_is_asked_where_that_is_not_declared(changed: dict[str, object]) -> None:
    """Whatever of an authority is still in the settings."""
    told = declared(**changed)
    assert told.asking is None
    assert told.authority == ""


def test_baikals_own_settings_are_in_baikals_words() -> None:
    """YAML booleans, capitalised kinds of log-in, and the trailing slash of base_uri."""
    told = declared(caldav=False, dav_auth="digest", base_path="/cal", timezone="UTC")
    assert told.system == {
        "timezone": "UTC",
        "cal_enabled": False,
        "card_enabled": True,
        "dav_auth_type": "Digest",
        "base_uri": "/cal/",
        "invite_from": "",
    }
    assert declared().system["base_uri"] == ""
    assert declared().system["dav_auth_type"] == "Basic"


def test_baikal_sends_invitations_only_where_mail_leaves() -> None:
    """It takes an empty sender for "no", and tells clients that nobody was told; that is so unless somebody asks."""
    assert declared().system["invite_from"] == ""
    assert declared(**RELAY).system["invite_from"] == "noreply@cal.example.org"
    assert declared(**RELAY, mail_from="cal@example.org").system["invite_from"] == "cal@example.org"


def test_a_host_is_told_how_its_relay_is_spoken_to_and_where_the_password_stands() -> None:
    """Not the password: that has a file of its own."""
    told = declared(**RELAY, relay_tls="tls").mail
    assert (told.mode, told.sender, told.selector) == ("relay", "noreply@cal.example.org", "")
    assert told.relay == Relay(
        host="smtp.example.net", port=465, tls="tls", ca="", user="cal", password=paths.RELAY_PASSWORD
    )
    assert "relay-secret" not in declared(**RELAY).to_json()
    assert declared(mail="relay", relay_host="smtp.example.net").mail.relay == Relay(
        host="smtp.example.net", port=587, tls="starttls", ca="", user="", password=""
    )


def test_without_mail_a_host_is_told_of_no_relay_and_no_key() -> None:
    """A machine's own Postfix signs, and may have a relay or none."""
    off, own = declared().mail, desired_state(own_postfix()).mail
    assert (off.mode, off.relay, off.selector) == ("off", None, "")
    assert (own.mode, own.relay, own.selector) == ("postfix", None, "baikal")


def test_by_default_the_data_is_in_a_file_of_which_nothing_is_to_be_said() -> None:
    """And the archives of a week, a month and a year are kept."""
    told = declared()
    assert told.database == Database(
        backend="sqlite", local=False, host="", port=0, name="", user="", password="", tls=False, ca=""
    )
    assert told.backup == Backup(
        on=True, schedule="03:15", daily=7, weekly=4, monthly=12, repository="", password="", credentials=""
    )


def test_a_host_is_told_which_server_has_its_data_and_where_the_password_stands() -> None:
    """Not the password, which has a file of its own, in a container below another root."""
    told = desired_state(settings(**SERVER, database_name="dav", database_port=6432), root="/run/baikal").database
    assert told == Database(
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
def test_a_server_of_the_machine_has_neither_port_nor_password(backend: str) -> None:
    """Its socket is where the distribution has it, and knows who asks."""
    told = desired_state(dataclasses.replace(settings(), database=backend, database_host="local")).database
    assert told == Database(
        backend=backend, local=True, host="", port=0, name="baikal", user="baikal", password="", tls=False, ca=""
    )
    assert told.reveal() == ""


def test_a_host_is_told_where_its_archives_go_besides() -> None:
    """With the files of what restic needs, not with what is in them."""
    told = desired_state(settings(**RESTIC, backup=False, backup_keep_daily=0), root="/run/baikal").backup
    assert (told.on, told.daily, told.repository) == (False, 0, "sftp:jo@nas:/srv/restic")
    assert (told.password, told.credentials) == (
        f"/run/baikal{paths.RESTIC_PASSWORD}",
        f"/run/baikal{paths.RESTIC_CREDENTIALS}",
    )


def test_the_password_of_a_server_is_read_where_it_stands(host: Path) -> None:
    """As it was declared, spaces at its ends and all; where it isn't, the remedy is said."""
    assert host.is_dir()
    told = declared(**SERVER).database
    with pytest.raises(HostError, match=r"database-password \(No such file.*\); run the deploy again, as root"):
        told.reveal()
    Path(told.password).write_text(" geheim \n", encoding="ascii")
    assert told.reveal() == " geheim "


def test_a_host_keeps_what_was_declared_without_any_secret() -> None:
    """In the words of group data, so that it can be declared again; not from where somebody deployed it."""
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


def test_what_a_host_keeps_declares_the_same_again() -> None:
    """With the passwords beside it, as whoever restores a server has them."""
    told = declared(users=SHARED, **SERVER, **RESTIC)
    given = json.loads(told.to_json())["settings"]
    passwords = {"password": {"env": "GIVEN"}}
    given["users"] = [one | (passwords if "state" not in one else {}) for one in given["users"]]
    secrets = {name: {"env": "GIVEN"} for name in ("admin_password", "database_password", "restic_password")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIVEN", PASSWORD.replace("ä", "ae"))
        again = desired_state(load.from_data(given | secrets))
    assert again.settings == told.settings


def test_the_host_reads_its_own_file(host: Path) -> None:
    """What stands in /etc/baikal is what every verb acts on."""
    assert host.is_dir()
    told = declared(users=SHARED)
    Path(paths.DECLARED).write_text(told.to_json(), encoding="utf-8")
    assert DesiredState.on_this_host() == told


def test_a_host_that_was_never_deployed_to_says_so(host: Path) -> None:
    """The sentence names the file and the remedy."""
    assert host.is_dir()
    with pytest.raises(HostError, match=r"declared\.json does not exist.*run the deploy first"):
        DesiredState.on_this_host()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"users": []}', "null"])
def test_a_file_of_another_version_says_so(host: Path, text: str) -> None:
    """Neither damage nor fields that are missing end in a stack trace."""
    assert host.is_dir()
    Path(paths.DECLARED).write_text(text, encoding="utf-8")
    with pytest.raises(HostError, match="was written by another version of baikalctl; run the deploy again"):
        DesiredState.on_this_host()


def test_a_file_with_more_than_this_version_knows_says_so(host: Path) -> None:
    """An older baikalctl doesn't act on half of what a newer deploy declared."""
    assert host.is_dir()
    fields = json.loads(declared().to_json()) | {"mail": "relay"}
    Path(paths.DECLARED).write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(HostError, match="was written by another version"):
        DesiredState.on_this_host()


def test_a_file_that_may_not_be_read_asks_for_root(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user who calls baikalctl is told of sudo."""
    assert host.is_dir()

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError

    # Root may read everything, and these tests may run as root.
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(HostError, match=r"can only be read by root; run baikalctl as root, for example with sudo"):
        DesiredState.on_this_host()
