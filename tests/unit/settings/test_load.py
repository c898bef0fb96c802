"""Settings from group data, from environment variables and from settings.toml."""

from __future__ import annotations

import dataclasses
import re
import tomllib
import zoneinfo
from typing import TYPE_CHECKING

import pytest

from baikalctl.errors import Fault, SettingsError
from baikalctl.settings import load
from baikalctl.settings.environment import PREFIX
from baikalctl.settings.model import DEFINITIONS, Settings
from baikalctl.settings.secret import Secret
from tests.unit.samples import PASSWORD, settings, user
from tests.unit.settings.cases import ACCEPTED, REFUSED, REFUSED_TEXTS
from tests.unit.settings.cases.common import CREDENTIALS, HMAC_KEY, JO, OPTIONAL, SECRET, VARIABLES, Refused
from tests.unit.settings.cases.sources import ENVIRONMENT, FILE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables that the tables refer to."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("BAIKAL_ADMIN_PASSWORD", raising=False)


def _from_data(changed: Mapping[str, object], *, image: bool = False) -> Settings:
    valid: dict[str, object] = {"hostname": "cal.example.org", "admin_password": {"env": "GIVEN"}}
    return load.from_data(valid | dict(changed), image=image)


def _from_env(changed: Mapping[str, str], file: Mapping[str, object] | None = None) -> Settings:
    valid = {"BAIKAL_HOSTNAME": "cal.example.org", "BAIKAL_ADMIN_PASSWORD": PASSWORD, "PATH": "/bin"}
    return load.from_environment(valid | dict(changed), file)


def _assert_one_line(faults: tuple[Fault, ...], line: str) -> None:
    (fault,) = faults
    assert str(fault) == line
    assert len(line.splitlines()) == 1
    assert SECRET not in line


@pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: refused.line[:80])
def test_mistake_in_group_data_is_one_line_with_a_remedy(refused: Refused) -> None:
    """The line has the setting, its value (never a secret), the problem and the remedy."""
    with pytest.raises(SettingsError) as caught:
        _from_data(refused.data)
    _assert_one_line(caught.value.faults, refused.line)


@pytest.mark.parametrize("refused", ENVIRONMENT, ids=lambda refused: refused.line[:80])
def test_mistake_in_environment_variable_is_one_line_with_a_remedy(refused: Refused) -> None:
    """The line has the setting or the variable, its value (never a secret), the problem and the remedy."""
    with pytest.raises(SettingsError) as caught:
        _from_env({name: str(text) for name, text in refused.data.items()})
    _assert_one_line(caught.value.faults, refused.line)


@pytest.mark.parametrize("refused", FILE, ids=lambda refused: refused.line[:80])
def test_mistake_in_settings_toml_is_one_line_with_a_remedy(refused: Refused) -> None:
    """A container's settings.toml is validated like group data."""
    with pytest.raises(SettingsError) as caught:
        load.from_environment({}, {"hostname": "cal.example.org", "admin_password": PASSWORD} | dict(refused.data))
    _assert_one_line(caught.value.faults, refused.line)


def _read(setting: str, text: str) -> object:
    value = DEFINITIONS[setting].read(text, {}, plain=True)
    return value.reveal() if isinstance(value, Secret) else value


def _skip_without_zone(setting: str, text: str) -> None:
    if setting == "timezone" and text not in zoneinfo.available_timezones():
        pytest.skip("this machine has no time zones, or not all")


@pytest.mark.parametrize(
    ("setting", "text", "normalised"),
    [(setting, text, normalised) for setting, texts in ACCEPTED.items() for text, normalised in texts.items()],
)
def test_valid_text_is_accepted_in_its_normalised_form(setting: str, text: str, normalised: str) -> None:
    """Most texts aren't changed; host names, for example, are converted to lower case."""
    _skip_without_zone(setting, text)
    assert _read(setting, text) == normalised


@pytest.mark.parametrize(
    ("setting", "words", "text"), [(setting, words, text) for setting, words, *texts in REFUSED_TEXTS for text in texts]
)
def test_invalid_text_is_refused_and_secrets_are_not_repeated(setting: str, words: str, text: str) -> None:
    """The problem has the words of the table, and never the text of a secret."""
    _skip_without_zone(setting, "Europe/Berlin")
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        _read(setting, text)
    for secret in ("hunter2", "hun@ter2", "ter2"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize("text", [f'[{{"name":"jo","password":"{SECRET}"}}', f'{{"jo":"{SECRET}"', f"jo:{SECRET}"])
def test_accounts_that_are_not_json_are_not_repeated_in_the_error(text: str) -> None:
    """Text that can't be parsed may contain passwords anywhere, so none of it is printed."""
    with pytest.raises(SettingsError) as caught:
        _from_env({"BAIKAL_USERS": text})
    assert [fault.setting for fault in caught.value.faults] == ["users"]
    assert SECRET not in str(caught.value)


def test_all_faults_are_reported_together() -> None:
    """An operator can fix all of them before the next run."""
    wrong = {
        "hostnam": "x",
        "http_port": 0,
        "tls": "files",
        "admin_password": SECRET,
        "caldav": "no",
        "users": [JO | {"email": "x", "calendars": [{"name": "/", "color": "red"}]}],
    }
    with pytest.raises(SettingsError) as caught:
        _from_data(wrong)
    assert {fault.setting for fault in caught.value.faults} == {
        *("hostnam", "http_port", "tls_certificate", "tls_key", "admin_password", "caldav"),
        *("users[0].email", "users[0].calendars[0].name", "users[0].calendars[0].color"),
    }
    assert len(str(caught.value).splitlines()) == len(caught.value.faults) == 9


def test_all_faults_of_a_container_are_reported_together() -> None:
    """Faults of variables, of the file, and contradictions are in one list."""
    with pytest.raises(SettingsError) as caught:
        load.from_environment({"BAIKAL_HTTP_PORT": "x", "BAIKAL_NO": "x"}, {"timezone": "", "baikal_archive": "/b.zip"})
    assert {fault.setting for fault in caught.value.faults} == {
        *("http_port", "BAIKAL_NO", "timezone", "baikal_archive", "hostname", "admin_password"),
    }


def test_host_name_and_password_are_the_only_required_settings() -> None:
    """All other settings have defaults."""
    made = _from_data({})
    assert (made.hostname, made.tls, made.http_port, made.https_port) == ("cal.example.org", "selfsigned", 80, 443)
    assert made.admin_password == Secret(SECRET)
    assert made.users == ()


def test_admin_password_is_read_from_its_variable_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Group data needs no line for it."""
    monkeypatch.setenv("BAIKAL_ADMIN_PASSWORD", PASSWORD)
    assert load.from_data({"hostname": "cal.example.org"}).admin_password == Secret(PASSWORD)


def test_missing_variable_of_admin_password_is_named() -> None:
    """The remedy names what to export."""
    with pytest.raises(SettingsError, match="BAIKAL_ADMIN_PASSWORD, which is not set; export it and run again"):
        load.from_data({"hostname": "cal.example.org"})


def test_password_is_read_from_a_file_on_this_machine(tmp_path: Path) -> None:
    """The other kind of reference."""
    (tmp_path / "password").write_text(f"{PASSWORD}\n", encoding="utf-8")
    made = _from_data({"admin_password": {"file": str(tmp_path / "password")}})
    assert made.admin_password == Secret(PASSWORD)


def test_password_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """A key in binary form is no password."""
    (tmp_path / "password").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"which cannot be read \(not UTF-8 text\)"):
        _from_data({"admin_password": {"file": str(tmp_path / "password")}})


def test_image_needs_neither_host_name_nor_passwords() -> None:
    """Its containers have them."""
    made = load.from_data({"users": [JO | {"password": {"env": "NOT_SET_ANYWHERE"}}]}, image=True)
    assert (made.hostname, made.admin_password, made.users) == ("", None, ())


def test_image_needs_no_settings_for_the_ca() -> None:
    """Its containers have the names and the e-mail address."""
    shared = {
        "tls": "letsencrypt",
        "acme_eab_key_id": "kid",
        "acme_eab_hmac_key": {"env": "NOT_SET_ANYWHERE"},
        "acme_dns_plugin": "rfc2136",
        "acme_dns_credentials": {"file": "/not/there"},
    }
    made = load.from_data(shared, image=True)
    assert (made.tls, made.names, made.acme_email, made.acme_eab_hmac_key) == ("letsencrypt", (), "", None)
    assert load.from_data({"tls": "letsencrypt", "hostname": "cal.local"}, image=True).names == ("cal.local",)


def test_image_needs_no_relay() -> None:
    """Its containers have the relay and the sender."""
    assert load.from_data({"mail": "relay"}, image=True).mail == "relay"
    password = {"env": "NOT_SET_ANYWHERE"}
    shared = {"hostname": "calendar", "mail": "relay", "relay_user": "jo", "relay_password": password}
    made = load.from_data(shared | {"relay_tls": "none"}, image=True)
    assert (made.relay_host, made.relay_user, made.relay_password, made.mail_from) == ("", "jo", None, "")


def test_image_needs_no_database_server_and_no_restic_password() -> None:
    """Its containers have them."""
    assert load.from_data({"database": "mysql"}, image=True).database == "mysql"
    password = {"env": "NOT_SET_ANYWHERE"}
    shared = {"restic_repository": "/srv/restic", "restic_password": password, "database_password": password}
    made = load.from_data(shared | {"database": "pgsql", "database_host": "db"}, image=True)
    assert (made.restic_repository, made.restic_password, made.database_password) == ("/srv/restic", None, None)


def test_image_with_a_local_database_server_is_refused() -> None:
    """The error comes before the image is built."""
    with pytest.raises(
        SettingsError,
        match=r'^database_host = "local": is for machines only.*set BAIKAL_DATABASE_HOST to another container or host$',
    ):
        load.from_data({"database": "pgsql", "database_host": "local"}, image=True)


@pytest.mark.parametrize("more", [{}, {"hostname": "calendar", "relay_ca": "/ca.pem", "dkim_selector": ""}])
def test_image_with_postfix_is_refused(more: dict[str, object]) -> None:
    """The error comes before the image is built: one line, with the alternative."""
    with pytest.raises(
        SettingsError,
        match=r'^mail = "postfix": is for machines only.*BAIKAL_RELAY_HOST to a Postfix in another',
    ):
        load.from_data({"mail": "postfix"} | more, image=True)


def test_image_with_a_mail_setting_without_effect_is_refused() -> None:
    """As for a machine."""
    with pytest.raises(SettingsError, match=r'^relay_host = "smtp": has no effect with mail = "off"'):
        load.from_data({"relay_host": "smtp"}, image=True)


def test_image_with_invalid_settings_is_refused() -> None:
    """The settings that an image has are validated."""
    with pytest.raises(SettingsError) as caught:
        load.from_data({"http_port": 0, "baikal_version": "0.9.5"}, image=True)
    assert [fault.setting for fault in caught.value.faults] == ["http_port", "baikal_version"] or [
        fault.setting for fault in caught.value.faults
    ] == ["baikal_version", "http_port"]


def test_settings_for_the_ca_are_accepted_with_every_tls() -> None:
    """Group data can have them for all hosts, although one host uses another certificate."""
    for tls in ("selfsigned", "off"):
        made = _from_data({"tls": tls, "acme_email": "jo@example.org", "acme_server": "staging", "acme_ca": "/ca.pem"})
        assert (made.tls, made.acme_email) == (tls, "jo@example.org")
    assert _from_data({"hostname": "192.0.2.7", "acme_email": "jo@example.org"}).hostname == "192.0.2.7"


def test_equal_ports_are_accepted_without_tls() -> None:
    """The HTTPS port isn't used."""
    assert _from_data({"tls": "off", "http_port": 443}).http_port == 443


def test_unknown_release_is_accepted_with_its_archive() -> None:
    """A local zip is enough; an address needs the checksum too."""
    zipped = _from_data({"baikal_version": "0.13.7", "baikal_archive": "~/b.zip"})
    addressed = _from_data(
        {"baikal_version": "0.13.7", "baikal_archive": "https://example.org/b.zip", "baikal_sha256": "A" * 64}
    )
    assert zipped.baikal_version == addressed.baikal_version == "0.13.7"
    assert addressed.baikal_sha256 == "a" * 64


def test_every_environment_variable_is_read() -> None:
    """Environment variables are enough to set all settings of a container."""
    variables = {
        "BAIKAL_HOSTNAME": "Kalender.example.org",
        "BAIKAL_HOSTNAMES": "dav.example.org, Cal.example.org.",
        "BAIKAL_TIMEZONE": "UTC",
        "BAIKAL_ADMIN_PASSWORD": PASSWORD,
        "BAIKAL_DAV_AUTH": "digest",
        "BAIKAL_CALDAV": "no",
        "BAIKAL_CARDDAV": "yes",
        "BAIKAL_USERS": f'[{{"name": "jo", "password": "{SECRET}"}}]',
        "BAIKAL_DATABASE": "pgsql",
        "BAIKAL_DATABASE_HOST": "DB.example.org.",
        "BAIKAL_DATABASE_PORT": "6432",
        "BAIKAL_DATABASE_NAME": "dav",
        "BAIKAL_DATABASE_USER": "postgres.project",
        "BAIKAL_DATABASE_PASSWORD": f" {SECRET} ",
        "BAIKAL_DATABASE_TLS": "verify",
        "BAIKAL_DATABASE_CA": "/db.pem",
        "BAIKAL_HTTP_PORT": "8080",
        "BAIKAL_HTTPS_PORT": "8443",
        "BAIKAL_BASE_PATH": "/cal/",
        "BAIKAL_TRUSTED_PROXIES": "10.0.0.0/8, fd00::/8",
        "BAIKAL_ADMIN_ALLOW": "192.0.2.7",
        "BAIKAL_UPLOAD_LIMIT_MB": "10",
        "BAIKAL_REQUEST_TIMEOUT_S": "60",
        "BAIKAL_TLS": "files",
        "BAIKAL_TLS_CERTIFICATE": "/c.pem",
        "BAIKAL_TLS_KEY": "/k.pem",
        "BAIKAL_ACME_EMAIL": "jo@example.org",
        "BAIKAL_ACME_SERVER": "https://ca.example.org:9000/acme/directory",
        "BAIKAL_ACME_CA": "/ca.pem",
        "BAIKAL_ACME_KEY_TYPE": "rsa",
        "BAIKAL_ACME_EAB_KEY_ID": "kid-1",
        "BAIKAL_ACME_EAB_HMAC_KEY": HMAC_KEY,
        "BAIKAL_ACME_DNS_PLUGIN": "rfc2136",
        "BAIKAL_ACME_DNS_CREDENTIALS": CREDENTIALS,
        "BAIKAL_ACME_DNS_PROPAGATION_S": "60",
        "BAIKAL_ACME_DNS_HOOK": "",
        "BAIKAL_MAIL": "relay",
        "BAIKAL_MAIL_FROM": "cal@example.org",
        "BAIKAL_RELAY_HOST": "SMTP.example.org.",
        "BAIKAL_RELAY_PORT": "2525",
        "BAIKAL_RELAY_TLS": "tls",
        "BAIKAL_RELAY_USER": "jo@example.org",
        "BAIKAL_RELAY_PASSWORD": SECRET,
        "BAIKAL_RELAY_CA": "/relay.pem",
        "BAIKAL_DKIM_SELECTOR": "baikal",
        "BAIKAL_BACKUP": "yes",
        "BAIKAL_BACKUP_SCHEDULE": "hourly",
        "BAIKAL_BACKUP_KEEP_DAILY": "0",
        "BAIKAL_BACKUP_KEEP_WEEKLY": "1",
        "BAIKAL_BACKUP_KEEP_MONTHLY": "24",
        "BAIKAL_RESTIC_REPOSITORY": "sftp://jo@nas:2222//srv/restic",
        "BAIKAL_RESTIC_PASSWORD": SECRET,
        "BAIKAL_RESTIC_CREDENTIALS": f"AWS_ACCESS_KEY_ID=x\nAWS_SECRET_ACCESS_KEY={SECRET}",
    }
    assert set(variables) == {PREFIX + name.upper() for name, item in DEFINITIONS.items() if not item.machine_only}
    made = load.from_environment(variables)
    assert made.hostname == "kalender.example.org"
    assert made.hostnames == ("dav.example.org", "cal.example.org")
    assert (made.acme_email, made.acme_server) == ("jo@example.org", "https://ca.example.org:9000/acme/directory")
    assert (made.acme_ca, made.acme_key_type, made.acme_eab_key_id) == ("/ca.pem", "rsa", "kid-1")
    assert (made.acme_dns_plugin, made.acme_dns_propagation_s, made.acme_dns_hook) == ("rfc2136", 60, "")
    assert (made.acme_eab_hmac_key, made.acme_dns_credentials) == (Secret(HMAC_KEY), Secret(CREDENTIALS))
    assert (made.mail, made.mail_from, made.dkim_selector) == ("relay", "cal@example.org", "baikal")
    assert (made.relay_host, made.relay_port, made.relay_tls) == ("smtp.example.org", 2525, "tls")
    assert (made.relay_user, made.relay_password) == ("jo@example.org", Secret(SECRET))
    assert made.relay_ca == "/relay.pem"
    assert (made.database, made.database_host, made.database_port) == ("pgsql", "db.example.org", 6432)
    assert (made.database_name, made.database_user) == ("dav", "postgres.project")
    assert made.database_password == Secret(f" {SECRET} ")
    assert (made.database_tls, made.database_ca) == ("verify", "/db.pem")
    assert (made.backup, made.backup_schedule) == (True, "hourly")
    assert (made.backup_keep_daily, made.backup_keep_weekly, made.backup_keep_monthly) == (0, 1, 24)
    assert (made.restic_repository, made.restic_password) == ("sftp://jo@nas:2222//srv/restic", Secret(SECRET))
    assert made.restic_credentials == Secret(f"AWS_ACCESS_KEY_ID=x\nAWS_SECRET_ACCESS_KEY={SECRET}")
    assert (made.caldav, made.carddav, made.dav_auth) == (False, True, "digest")
    assert (made.http_port, made.https_port, made.base_path) == (8080, 8443, "/cal")
    assert (made.trusted_proxies, made.admin_allow) == (("10.0.0.0/8", "fd00::/8"), ("192.0.2.7/32",))
    assert (made.upload_limit_mb, made.request_timeout_s) == (10, 60)
    assert (made.tls, made.tls_certificate, made.tls_key) == ("files", "/c.pem", "/k.pem")
    assert made.admin_password == Secret(PASSWORD)
    assert made.users[0].password == Secret(SECRET)


def test_secret_is_read_from_the_file_that_a_variable_names(tmp_path: Path) -> None:
    """Secrets of Docker and Kubernetes are files; a variable that ends in _FILE names one."""
    (tmp_path / "password").write_text(f"{PASSWORD}\n", encoding="utf-8")
    made = load.from_environment(
        {"BAIKAL_HOSTNAME": "cal.example.org", "BAIKAL_ADMIN_PASSWORD_FILE": str(tmp_path / "password")}
    )
    assert made.admin_password == Secret(PASSWORD)


def test_optional_secrets_are_none_by_default() -> None:
    """Neither a machine nor a container needs them."""
    for made in (_from_data({}), _from_data(dict.fromkeys(OPTIONAL)), _from_env({})):
        assert [getattr(made, name) for name in OPTIONAL] == [None] * len(OPTIONAL)


def test_optional_secrets_are_read_from_references_in_group_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a variable or a file of this machine; a plugin's file may have several lines."""
    monkeypatch.setenv("EAB", f"{HMAC_KEY}\n")
    (tmp_path / "dns.ini").write_text(f"{CREDENTIALS}\n", encoding="utf-8")
    made = _from_data(
        {
            "acme_eab_key_id": "kid",
            "acme_eab_hmac_key": {"env": "EAB"},
            "acme_dns_plugin": "rfc2136",
            "acme_dns_credentials": {"file": str(tmp_path / "dns.ini")},
        }
    )
    assert (made.acme_eab_hmac_key, made.acme_dns_credentials) == (Secret(HMAC_KEY), Secret(CREDENTIALS))


def test_optional_secrets_of_a_container_are_read_from_files(tmp_path: Path) -> None:
    """Like the admin password."""
    (tmp_path / "eab").write_text(f"{HMAC_KEY}\n", encoding="utf-8")
    (tmp_path / "dns.ini").write_text(f"{CREDENTIALS}\n", encoding="utf-8")
    made = _from_env(
        {
            "BAIKAL_ACME_EAB_KEY_ID": "kid",
            "BAIKAL_ACME_EAB_HMAC_KEY_FILE": str(tmp_path / "eab"),
            "BAIKAL_ACME_DNS_PLUGIN": "rfc2136",
            "BAIKAL_ACME_DNS_CREDENTIALS_FILE": str(tmp_path / "dns.ini"),
        }
    )
    assert (made.acme_eab_hmac_key, made.acme_dns_credentials) == (Secret(HMAC_KEY), Secret(CREDENTIALS))


def test_missing_secret_file_is_named() -> None:
    """The error has the path."""
    with pytest.raises(SettingsError, match="the file /not/there, which cannot be read"):
        load.from_environment({"BAIKAL_HOSTNAME": "cal.example.org", "BAIKAL_ADMIN_PASSWORD_FILE": "/not/there"})


def test_container_without_admin_password_is_refused() -> None:
    """The default, a reference, is for machines only."""
    with pytest.raises(SettingsError, match=r"^admin_password: is missing; set it$"):
        load.from_environment({"BAIKAL_HOSTNAME": "cal.example.org"})


def test_environment_overrides_settings_toml() -> None:
    """A variable is for one container; several containers can mount the same file."""
    assert _from_env({"BAIKAL_TIMEZONE": "UTC"}, {"timezone": "Europe/Berlin", "http_port": 8080}).timezone == "UTC"


def test_plain_secrets_are_accepted_in_settings_toml() -> None:
    """The file itself must be secret."""
    text = """
        hostname = "cal.example.org"
        admin_password = "Wer reitet so spät"
        [[users]]
        name = "jo"
        password = "hunter2-hunter2"
        [[users.calendars]]
        name = "work"
        color = "#ff0000"
    """
    made = load.from_environment({}, tomllib.loads(text))
    assert made.admin_password == Secret(PASSWORD)
    assert made.users[0].password == Secret(SECRET)
    assert made.users[0].calendars[0].color == "#FF0000"


def test_references_are_accepted_in_settings_toml() -> None:
    """A file in a repository can refer to variables or mounted files."""
    made = load.from_environment(
        {"SOMEWHERE": PASSWORD}, {"hostname": "cal.example.org", "admin_password": {"env": "SOMEWHERE"}}
    )
    assert made.admin_password == Secret(PASSWORD)


def test_variables_of_other_programs_are_ignored() -> None:
    """Settings start with BAIKAL_, but Baïkal's own path variables do too."""
    assert _from_env({"PATH": "/bin", "HOSTNAME": "x_y", "BAIKAL_PATH_CONFIG": "/x/"}).hostname == "cal.example.org"


def test_names_are_the_host_name_and_the_additional_names() -> None:
    """In this order: the certificate has the name of the first one. An image has none."""
    assert _from_data({"hostnames": ["dav.example.org", "a.example.org"]}).names == (
        *("cal.example.org", "dav.example.org", "a.example.org"),
    )
    assert _from_data({}).names == ("cal.example.org",)
    assert Settings().names == ()


def test_validated_settings_are_immutable() -> None:
    """They are frozen and hashable."""
    made = settings(users=[user()])
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.hostname = "other.example.org"  # type: ignore[misc]
    assert isinstance(hash(made), int)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_every_setting_has_a_description_and_a_valid_default(name: str) -> None:
    """The description ends with a full stop."""
    definition = DEFINITIONS[name]
    assert definition.meaning.endswith(".")
    if not definition.secret and name != "users":
        assert definition.kind.read(definition.raw_default) == getattr(Settings(), name)


def test_list_of_secrets_is_complete() -> None:
    """A new secret needs tests."""
    assert [name for name, definition in DEFINITIONS.items() if definition.secret] == ["admin_password", *OPTIONAL]


def test_variables_that_kubernetes_sets_for_a_service_baikal_are_ignored() -> None:
    """Every container of the namespace has them (Kubernetes, Service, environment variables)."""
    kubernetes = {
        "BAIKAL_SERVICE_HOST": "10.0.0.11",
        "BAIKAL_SERVICE_PORT": "443",
        "BAIKAL_SERVICE_PORT_HTTPS": "443",
        "BAIKAL_PORT": "tcp://10.0.0.11:443",
        "BAIKAL_PORT_443_TCP": "tcp://10.0.0.11:443",
        "BAIKAL_PORT_443_TCP_PROTO": "tcp",
        "BAIKAL_PORT_443_TCP_PORT": "443",
        "BAIKAL_PORT_443_TCP_ADDR": "10.0.0.11",
        "BAIKAL_DB_SERVICE_HOST": "10.0.0.12",
        "BAIKAL_DB_PORT": "tcp://10.0.0.12:5432",
    }
    valid = {"BAIKAL_HOSTNAME": "cal.example.org", "BAIKAL_ADMIN_PASSWORD": "s"}
    assert load.from_environment(valid | kubernetes) == load.from_environment(valid)
    with pytest.raises(SettingsError, match="BAIKAL_HTPS_PORT: no such setting"):
        load.from_environment(valid | {"BAIKAL_HTPS_PORT": "8443"})
