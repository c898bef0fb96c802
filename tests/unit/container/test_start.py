"""What a container says before it touches anything; what it then does, the end-to-end tests show."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.changes import transaction
from baikalctl.container import settings_source, start
from baikalctl.errors import HostError, SettingsError
from baikalctl.host import directories
from baikalctl.rendering.model import Directory, File, FileSet, Platform
from tests.unit.pairs import GOOD, GOOD_KEY, NAME, put
from tests.unit.samples import PLATFORM, settings

if TYPE_CHECKING:
    from baikalctl.settings.model import Settings

RIGHT = {"BAIKAL_HOSTNAME": "cal.example.org", "BAIKAL_ADMIN_PASSWORD": "s"}
SERVER = {"BAIKAL_DATABASE": "pgsql", "BAIKAL_DATABASE_HOST": "db.example.org", "BAIKAL_DATABASE_PASSWORD": "p"}

DECLARED_SERVER = {"database": "pgsql", "database_host": "db.example.org", "database_password": "p"}


@pytest.fixture
def file(host: Path) -> Path:
    """Return where settings.toml is mounted."""
    assert host.is_dir()
    return Path(paths.SETTINGS_FILE)


@pytest.mark.usefixtures("host")
def test_without_a_file_the_environment_says_it_all() -> None:
    """The usual docker run."""
    assert settings_source.read_settings(RIGHT).hostname == "cal.example.org"


def test_the_environment_overrides_the_file(file: Path) -> None:
    """One file for all, and a variable for once."""
    file.write_text('hostname = "a.example.org"\nadmin_password = "s"\nhttp_port = 8080\n', encoding="utf-8")
    found = settings_source.read_settings({"BAIKAL_HOSTNAME": "b.example.org"})
    assert (found.hostname, found.http_port) == ("b.example.org", 8080)


def test_a_fault_names_what_the_reader_wrote(file: Path) -> None:
    """The setting where it stands in the file, the variable where it is one or is missing altogether."""
    file.write_text('http_port = 0\nhttps_port = 0\nusers = [{name = "a b", password = "x"}]\n', encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        settings_source.read_settings({"BAIKAL_HTTPS_PORT": "x", "BAIKAL_ADMIN_PASSWORD_FILE": "/nowhere"})
    assert [fault.setting for fault in caught.value.faults] == [
        "BAIKAL_HTTPS_PORT",
        "BAIKAL_ADMIN_PASSWORD",
        "users[0].name",
        "http_port",
        "BAIKAL_HOSTNAME",
    ]


def test_a_variable_that_a_secret_refers_to_is_no_unknown_setting(file: Path) -> None:
    """Whatever its name begins with."""
    file.write_text('users = [{name = "jo", password = {env = "BAIKAL_JO"}}]\n', encoding="utf-8")
    assert settings_source.read_settings(RIGHT | {"BAIKAL_JO": "secret"}).users[0].name == "jo"
    with pytest.raises(SettingsError, match="BAIKAL_JOE: no such setting"):
        settings_source.read_settings(RIGHT | {"BAIKAL_JO": "secret", "BAIKAL_JOE": "x"})


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"hostname = cal.example.org", "is not TOML: .*write lines such as"), (b"\xff", "is not UTF-8 text; save it")],
)
def test_a_file_that_is_none_is_said_in_one_line(file: Path, content: bytes, said: str) -> None:
    """With what to write."""
    file.write_bytes(content)
    with pytest.raises(HostError, match=said) as caught:
        settings_source.read_settings(RIGHT)
    assert "\n" not in str(caught.value)


def test_a_directory_in_the_files_place_is_explained(file: Path) -> None:
    """Docker makes one where the file to mount isn't there."""
    file.mkdir()
    with pytest.raises(HostError, match="is a directory: the file that should be mounted there doesn't exist"):
        settings_source.read_settings(RIGHT)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_said_with_the_account(file: Path) -> None:
    """Mounted files keep their owner."""
    file.touch(mode=0)
    with pytest.raises(HostError, match=f"can't be read by uid {os.geteuid()}; give that account the file"):
        settings_source.read_settings(RIGHT)


class GoesOn(Exception):  # noqa: N818 - no error
    """Raised where a start begins to touch something."""


@pytest.fixture
def contained(host: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Have an image with a release, of which a start gets no further than to its volume; return its environment."""
    Path(paths.CURRENT).symlink_to("0.12.1")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(start, "refuse_low_port", lambda *_: None)

    def goes_on(*_: object, **__: object) -> None:
        raise GoesOn

    monkeypatch.setattr(directories, "refuse_unwritable", goes_on)
    monkeypatch.setattr(start, "privileged", lambda: True)
    named = {"BAIKAL_TLS_CERTIFICATE": f"{host}/cal.pem", "BAIKAL_TLS_KEY": f"{host}/cal.key"}
    return RIGHT | named | {"BAIKAL_TLS": "files"}


def test_a_start_with_all_its_files_says_nothing_of_them(
    contained: dict[str, str], host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It goes on."""
    (host / "cal.pem").write_bytes(GOOD)
    (host / "cal.key").write_bytes(GOOD_KEY)
    with pytest.raises(GoesOn):
        start.start(contained)
    assert capsys.readouterr().out == ""


def as_one_account(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let PHP and the container have the same account, as with ``--user``, and a certificate of one's own."""
    monkeypatch.setattr(start, "privileged", lambda: False)
    monkeypatch.setattr(directories, "make", directories.refuse_unwritable)
    monkeypatch.setattr(directories, "refuse_unwritable", lambda *_, **__: None)
    (host / "cal.pem").write_bytes(GOOD)
    (host / "cal.key").write_bytes(GOOD_KEY)


@pytest.mark.parametrize(
    ("environ", "exposed", "instead"),
    [
        ({}, "BAIKAL_ADMIN_PASSWORD", "BAIKAL_ADMIN_PASSWORD_FILE"),
        (
            {"BAIKAL_USERS": '[{"name": "jo", "password" : "x"}]'},
            "BAIKAL_ADMIN_PASSWORD, BAIKAL_USERS",
            'BAIKAL_ADMIN_PASSWORD_FILE, {"file": "…"} for each password in BAIKAL_USERS',
        ),
    ],
)
def test_a_password_that_php_could_read_is_named_with_what_to_set_instead(  # noqa: PLR0913, PLR0917 - fixtures, and a case
    contained: dict[str, str],
    host: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    environ: dict[str, str],
    exposed: str,
    instead: str,
) -> None:
    """As with --user: PHP is the account whose health checks have the container's environment."""
    as_one_account(host, monkeypatch)
    with pytest.raises(GoesOn):
        start.start(contained | environ)
    assert capsys.readouterr().out == (
        "baikalctl: PHP has the same account as health checks and docker exec here, so it can read "
        f"{exposed} in their environment; set {instead} instead\n"
    )


def test_passwords_in_files_are_not_spoken_of(
    contained: dict[str, str], host: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor accounts whose passwords are."""
    as_one_account(host, monkeypatch)
    (host / "admin").write_text("s\n", encoding="ascii")
    del contained["BAIKAL_ADMIN_PASSWORD"]
    users = f'[{{"name": "jo", "password": {{"file": "{host}/admin"}}}}]'
    environ = {"BAIKAL_ADMIN_PASSWORD_FILE": f"{host}/admin", "BAIKAL_USERS": users}
    with pytest.raises(GoesOn):
        start.start(contained | environ)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("missing", ["cal.pem", "cal.key"])
def test_where_a_file_is_missing_what_was_copied_goes_on_serving(
    contained: dict[str, str], host: Path, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    """As where a disk isn't mounted after a boot: calendars are still there, and the log tells."""
    (host / "cal.pem").write_bytes(GOOD)
    (host / "cal.key").write_bytes(GOOD_KEY)
    (host / missing).unlink()
    put(Path(f"{paths.TLS}/files-{NAME}.pem"), GOOD)
    with pytest.raises(GoesOn):
        start.start(contained)
    assert capsys.readouterr().out == (
        f"baikalctl: {host / missing} is not there; mount it; until that is fixed, the certificate that is in the "
        "volume goes on serving\n"
    )


@pytest.mark.parametrize("other", ["", "selfsigned-cal.example.org", "files-dav.example.org"])
def test_where_a_file_is_missing_and_nothing_was_copied_nothing_is_touched(
    contained: dict[str, str], host: Path, capsys: pytest.CaptureFixture[str], other: str
) -> None:
    """What served with another setting or for another name is no stopgap for somebody's own."""
    if other:
        put(Path(f"{paths.TLS}/{other}.pem"), GOOD)
    with pytest.raises(HostError, match=rf"^{host}/cal\.pem is not there; mount it$"):
        start.start(contained)
    assert capsys.readouterr().out == ""


def test_a_release_that_cannot_have_tls_with_its_database_touches_nothing(contained: dict[str, str]) -> None:
    """Only the image says which release it is of."""
    server = {"BAIKAL_DATABASE": "mysql", "BAIKAL_DATABASE_HOST": "db", "BAIKAL_DATABASE_PASSWORD": "s"}
    Path(paths.CURRENT).unlink()
    Path(paths.CURRENT).symlink_to("0.10.1")
    assert contained
    with pytest.raises(SettingsError, match=r'database_tls = "verify": can.t be, as Baïkal 0\.10\.1 speaks no TLS'):
        start.start(RIGHT | server)
    with pytest.raises(GoesOn):
        start.start(RIGHT | server | {"BAIKAL_DATABASE_TLS": "off"})


def test_a_missing_root_of_the_databases_authority_touches_nothing(contained: dict[str, str], host: Path) -> None:
    """PHP would only say that it can't connect."""
    server = {"BAIKAL_DATABASE": "pgsql", "BAIKAL_DATABASE_HOST": "db", "BAIKAL_DATABASE_PASSWORD": "s"}
    assert contained
    with pytest.raises(HostError, match=r"ca\.pem is not there; mount it$"):
        start.start(RIGHT | server | {"BAIKAL_DATABASE_CA": f"{host}/ca.pem"})


def test_a_missing_root_of_ones_own_authority_ends_no_service(
    contained: dict[str, str], host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is needed for the next certificate, not for this one."""
    acme = {"BAIKAL_TLS": "letsencrypt", "BAIKAL_ACME_EMAIL": "ops@example.org", "BAIKAL_ACME_CA": f"{host}/ca.pem"}
    environ = RIGHT | acme
    assert contained
    with pytest.raises(HostError, match=r"ca\.pem is not there; mount it$"):
        start.start(environ)
    put(Path(f"{paths.TLS}/letsencrypt-{NAME}.pem"), GOOD)
    with pytest.raises(GoesOn):
        start.start(environ)
    assert capsys.readouterr().out.startswith(f"baikalctl: {host}/ca.pem is not there; mount it; until that is fixed, ")


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, False),
        ({"BAIKAL_PORT": "tcp://10.0.0.1:443", "BAIKAL_PATH_CONFIG": "/x"}, False),
        ({"BAIKAL_DATABASE": "pgsql"}, True),
    ],
)
def test_a_container_for_one_errand_may_be_told_nothing(environ: dict[str, str], told: bool) -> None:  # noqa: FBT001 - a case
    """What others say in such variables is no setting, and a mounted file is one."""
    assert settings_source.has_settings(environ) is told
    Path(paths.SETTINGS_FILE).touch()
    assert settings_source.has_settings(environ)


@pytest.fixture
def errand(host: Path, monkeypatch: pytest.MonkeyPatch, me: dict[str, str]) -> Path:
    """Have an image that does one thing; return its place for what needn't survive, with something of before in it."""
    Path(paths.CURRENT).symlink_to("0.12.1")

    def rendered(settings: Settings, _: Platform, realm: str) -> FileSet:
        folders = (f"{paths.RUN}/etc", paths.SPOOL)
        owner, group = me["owner"], me["group"]
        told = f"{settings.database_host} {settings.baikal_version} {realm}"
        return FileSet(
            directories=tuple(Directory(path=folder, owner=owner, group=group) for folder in folders),
            files=(File(path=f"{folders[0]}/told", content=told.encode(), mode=0o600, owner=owner, group=group),),
        )

    monkeypatch.setattr(start, "platform", lambda: PLATFORM)
    monkeypatch.setattr(start, "render_contained", rendered)
    run = host / "run/baikal"
    run.mkdir(parents=True, exist_ok=True)
    (run / "left").touch()
    return run


@pytest.mark.parametrize(
    ("yaml", "realm"), [("", "BaikalDAV"), ("system: {auth_realm: Other}", "Other"), ("system: [", "BaikalDAV")]
)
def test_an_errand_knows_what_a_start_would_and_touches_no_data(errand: Path, yaml: str, realm: str) -> None:
    """Also where a baikal.yaml that is broken is what is to be restored."""
    if yaml:
        Path(paths.BAIKAL_YAML).write_text(yaml, encoding="utf-8")
    before = sorted(Path(paths.DATA).rglob("*"))
    start.prepare_one_off(RIGHT | SERVER | {"BAIKAL_DATABASE_TLS": "off"})
    assert sorted(Path(paths.DATA).rglob("*")) == before
    assert not (errand / "left").exists()
    assert (errand / "etc/told").read_text(encoding="utf-8") == f"db.example.org 0.12.1 {realm}"


@pytest.mark.usefixtures("errand")
def test_an_errand_is_refused_as_a_start_would_be(tmp_path: Path) -> None:
    """With every fault of the settings, and where a file is missing."""
    with pytest.raises(SettingsError, match="BAIKAL_HOSTNAME"):
        start.prepare_one_off({"BAIKAL_DATABASE": "pgsql"})
    missing = {"BAIKAL_DATABASE_CA": str(tmp_path / "none.pem")}
    with pytest.raises(HostError, match=r"none\.pem is not there; mount it"):
        start.prepare_one_off(RIGHT | SERVER | missing)


def test_what_can_not_be_taken_back_while_a_server_is_away_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until then clients are told to come again; what is in a file can't become better by waiting."""

    def recover(_: object) -> None:
        message = "the upgrade can't be rolled back"
        raise HostError(message)

    monkeypatch.setattr(transaction, "recover", recover)
    start._recover(settings(**DECLARED_SERVER))
    assert capsys.readouterr().out == "baikalctl: the upgrade can't be rolled back\n"
    with pytest.raises(HostError, match="can't be rolled back"):
        start._recover(settings())
