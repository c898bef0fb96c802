"""The start of a container until it changes anything. The end-to-end tests cover the rest."""

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
    """Return the path of settings.toml."""
    assert host.is_dir()
    return Path(paths.SETTINGS_FILE)


@pytest.mark.usefixtures("host")
def test_environment_is_enough_without_a_file() -> None:
    """The usual docker run."""
    assert settings_source.read_settings(RIGHT).hostname == "cal.example.org"


def test_environment_overrides_the_file(file: Path) -> None:
    """Several containers can mount the file; a variable is for one container."""
    file.write_text('hostname = "a.example.org"\nadmin_password = "s"\nhttp_port = 8080\n', encoding="utf-8")
    loaded = settings_source.read_settings({"BAIKAL_HOSTNAME": "b.example.org"})
    assert (loaded.hostname, loaded.http_port) == ("b.example.org", 8080)


def test_fault_has_the_name_of_the_setting_or_of_the_variable(file: Path) -> None:
    """The setting if it is in the file, else the variable, also if it is missing."""
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


def test_variable_that_a_secret_refers_to_is_not_an_unknown_setting(file: Path) -> None:
    """Its name may start with BAIKAL_."""
    file.write_text('users = [{name = "jo", password = {env = "BAIKAL_JO"}}]\n', encoding="utf-8")
    assert settings_source.read_settings(RIGHT | {"BAIKAL_JO": "secret"}).users[0].name == "jo"
    with pytest.raises(SettingsError, match="BAIKAL_JOE: no such setting"):
        settings_source.read_settings(RIGHT | {"BAIKAL_JO": "secret", "BAIKAL_JOE": "x"})


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"hostname = cal.example.org", "is not TOML: .*write lines such as"), (b"\xff", "is not UTF-8 text; save it")],
)
def test_invalid_settings_toml_is_one_line(file: Path, content: bytes, message: str) -> None:
    """The line has an example."""
    file.write_bytes(content)
    with pytest.raises(HostError, match=message) as caught:
        settings_source.read_settings(RIGHT)
    assert "\n" not in str(caught.value)


def test_directory_instead_of_settings_toml_is_explained(file: Path) -> None:
    """Docker makes one if the file to mount doesn't exist."""
    file.mkdir()
    with pytest.raises(HostError, match="is a directory, because the file to mount doesn't exist"):
        settings_source.read_settings(RIGHT)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_settings_toml_is_refused_with_the_account(file: Path) -> None:
    """Mounted files keep their owner."""
    file.touch(mode=0)
    with pytest.raises(HostError, match=f"can't be read by uid {os.geteuid()}; run chown"):
        settings_source.read_settings(RIGHT)


class Reached(Exception):  # noqa: N818 - no error
    """Raised when a start begins to change something."""


@pytest.fixture
def contained(host: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the environment of an image with a release, whose start stops before the volume."""
    Path(paths.CURRENT).symlink_to("0.12.1")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(start, "refuse_low_port", lambda *_: None)

    def stop(*_: object, **__: object) -> None:
        raise Reached

    monkeypatch.setattr(directories, "refuse_unwritable", stop)
    monkeypatch.setattr(start, "privileged", lambda: True)
    named = {"BAIKAL_TLS_CERTIFICATE": f"{host}/cal.pem", "BAIKAL_TLS_KEY": f"{host}/cal.key"}
    return RIGHT | named | {"BAIKAL_TLS": "files"}


def test_start_with_all_files_prints_nothing(
    contained: dict[str, str], host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And continues."""
    (host / "cal.pem").write_bytes(GOOD)
    (host / "cal.key").write_bytes(GOOD_KEY)
    with pytest.raises(Reached):
        start.start(contained)
    assert capsys.readouterr().out == ""


def as_one_account(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let PHP and the container have the same account, as with ``--user``, and use certificate files."""
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
def test_password_that_php_can_read_is_reported_with_a_remedy(  # noqa: PLR0913, PLR0917 - fixtures, and a case
    contained: dict[str, str],
    host: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    environ: dict[str, str],
    exposed: str,
    instead: str,
) -> None:
    """With --user, PHP runs as the account of health checks, which have the container's environment."""
    as_one_account(host, monkeypatch)
    with pytest.raises(Reached):
        start.start(contained | environ)
    assert capsys.readouterr().out == (
        "baikalctl: PHP runs as the same account as health checks and docker exec, so it can read "
        f"{exposed} in their environment; set {instead} instead\n"
    )


def test_passwords_in_files_are_not_reported(
    contained: dict[str, str], host: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor accounts whose passwords are in files."""
    as_one_account(host, monkeypatch)
    (host / "admin").write_text("s\n", encoding="ascii")
    del contained["BAIKAL_ADMIN_PASSWORD"]
    users = f'[{{"name": "jo", "password": {{"file": "{host}/admin"}}}}]'
    environ = {"BAIKAL_ADMIN_PASSWORD_FILE": f"{host}/admin", "BAIKAL_USERS": users}
    with pytest.raises(Reached):
        start.start(contained | environ)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("missing", ["cal.pem", "cal.key"])
def test_copied_certificate_is_used_if_its_file_is_missing(
    contained: dict[str, str], host: Path, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    """For example if a disk isn't mounted after a boot. The log has the reason."""
    (host / "cal.pem").write_bytes(GOOD)
    (host / "cal.key").write_bytes(GOOD_KEY)
    (host / missing).unlink()
    put(Path(f"{paths.TLS}/files-{NAME}.pem"), GOOD)
    with pytest.raises(Reached):
        start.start(contained)
    assert capsys.readouterr().out == (
        f"baikalctl: {host / missing} does not exist; mount it; until that is fixed, the certificate in the "
        "volume is used\n"
    )


@pytest.mark.parametrize("other", ["", "selfsigned-cal.example.org", "files-dav.example.org"])
def test_missing_file_without_a_copied_certificate_is_refused(
    contained: dict[str, str], host: Path, capsys: pytest.CaptureFixture[str], other: str
) -> None:
    """A certificate of another setting or name isn't used instead."""
    if other:
        put(Path(f"{paths.TLS}/{other}.pem"), GOOD)
    with pytest.raises(HostError, match=rf"^{host}/cal\.pem does not exist; mount it$"):
        start.start(contained)
    assert capsys.readouterr().out == ""


def test_release_without_tls_for_its_database_is_refused(contained: dict[str, str]) -> None:
    """Only the image has the version of its release."""
    server = {"BAIKAL_DATABASE": "mysql", "BAIKAL_DATABASE_HOST": "db", "BAIKAL_DATABASE_PASSWORD": "s"}
    Path(paths.CURRENT).unlink()
    Path(paths.CURRENT).symlink_to("0.10.1")
    assert contained
    with pytest.raises(
        SettingsError, match=r'database_tls = "verify": is not possible, because Baïkal 0\.10\.1 doesn.t support TLS'
    ):
        start.start(RIGHT | server)
    with pytest.raises(Reached):
        start.start(RIGHT | server | {"BAIKAL_DATABASE_TLS": "off"})


def test_missing_ca_of_the_database_is_refused(contained: dict[str, str], host: Path) -> None:
    """PHP would only report that it can't connect."""
    server = {"BAIKAL_DATABASE": "pgsql", "BAIKAL_DATABASE_HOST": "db", "BAIKAL_DATABASE_PASSWORD": "s"}
    assert contained
    with pytest.raises(HostError, match=r"ca\.pem does not exist; mount it$"):
        start.start(RIGHT | server | {"BAIKAL_DATABASE_CA": f"{host}/ca.pem"})


def test_missing_ca_of_the_acme_server_is_only_reported(
    contained: dict[str, str], host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is needed for the next certificate, not for this one."""
    acme = {"BAIKAL_TLS": "letsencrypt", "BAIKAL_ACME_EMAIL": "ops@example.org", "BAIKAL_ACME_CA": f"{host}/ca.pem"}
    environ = RIGHT | acme
    assert contained
    with pytest.raises(HostError, match=r"ca\.pem does not exist; mount it$"):
        start.start(environ)
    put(Path(f"{paths.TLS}/letsencrypt-{NAME}.pem"), GOOD)
    with pytest.raises(Reached):
        start.start(environ)
    assert capsys.readouterr().out.startswith(
        f"baikalctl: {host}/ca.pem does not exist; mount it; until that is fixed, "
    )


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"BAIKAL_PORT": "tcp://10.0.0.1:443", "BAIKAL_PATH_CONFIG": "/x"}, False),
        ({"BAIKAL_DATABASE": "pgsql"}, True),
    ],
)
def test_one_off_container_may_have_no_settings(environ: dict[str, str], expected: bool) -> None:  # noqa: FBT001 - a case
    """What others say in such variables is no setting, and a mounted file is one."""
    assert settings_source.has_settings(environ) is expected
    Path(paths.SETTINGS_FILE).touch()
    assert settings_source.has_settings(environ)


@pytest.fixture
def one_off(host: Path, monkeypatch: pytest.MonkeyPatch, me: dict[str, str]) -> Path:
    """Variables of other programs aren't settings; a mounted file has settings."""
    Path(paths.CURRENT).symlink_to("0.12.1")

    def rendered(settings: Settings, _: Platform, realm: str) -> FileSet:
        folders = (f"{paths.RUN}/etc", paths.SPOOL)
        owner, group = me["owner"], me["group"]
        content = f"{settings.database_host} {settings.baikal_version} {realm}"
        return FileSet(
            directories=tuple(Directory(path=folder, owner=owner, group=group) for folder in folders),
            files=(File(path=f"{folders[0]}/content", content=content.encode(), mode=0o600, owner=owner, group=group),),
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
def test_one_off_container_has_the_files_of_a_start_and_changes_no_data(one_off: Path, yaml: str, realm: str) -> None:
    """Also if baikal.yaml is broken, because a restore may replace it."""
    if yaml:
        Path(paths.BAIKAL_YAML).write_text(yaml, encoding="utf-8")
    before = sorted(Path(paths.DATA).rglob("*"))
    start.prepare_one_off(RIGHT | SERVER | {"BAIKAL_DATABASE_TLS": "off"})
    assert sorted(Path(paths.DATA).rglob("*")) == before
    assert not (one_off / "left").exists()
    assert (one_off / "etc/content").read_text(encoding="utf-8") == f"db.example.org 0.12.1 {realm}"


@pytest.mark.usefixtures("one_off")
def test_one_off_container_is_refused_like_a_start(tmp_path: Path) -> None:
    """With all faults of the settings, or because of a missing file."""
    with pytest.raises(SettingsError, match="BAIKAL_HOSTNAME"):
        start.prepare_one_off({"BAIKAL_DATABASE": "pgsql"})
    missing = {"BAIKAL_DATABASE_CA": str(tmp_path / "none.pem")}
    with pytest.raises(HostError, match=r"none\.pem does not exist; mount it"):
        start.prepare_one_off(RIGHT | SERVER | missing)


def test_rollback_waits_while_the_database_server_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until then clients get 503. A rollback that fails in a file isn't tried again."""

    def recover(_: object) -> None:
        message = "the upgrade can't be rolled back"
        raise HostError(message)

    monkeypatch.setattr(transaction, "recover", recover)
    start._recover(settings(**DECLARED_SERVER))
    assert capsys.readouterr().out == "baikalctl: the upgrade can't be rolled back\n"
    with pytest.raises(HostError, match="can't be rolled back"):
        start._recover(settings())
