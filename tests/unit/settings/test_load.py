"""Settings: what is right is taken, and each thing that is wrong is said in one line."""

from __future__ import annotations

import dataclasses
import tomllib
from typing import TYPE_CHECKING

import pytest

from baikalctl.errors import Fault, SettingsError
from baikalctl.settings import load
from baikalctl.settings.environment import PREFIX
from baikalctl.settings.model import DEFINITIONS, Settings
from baikalctl.settings.secret import Secret
from tests.unit.samples import PASSWORD, settings, user
from tests.unit.wrong_settings import (
    CREDENTIALS,
    HMAC_KEY,
    JO,
    OPTIONAL,
    SECRET,
    VARIABLES,
    WRONG_DATA,
    WRONG_ENVIRONMENT,
    WRONG_FILE,
    Wrong,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


SHORTEST_REMEDY = 15
"""No sentence with a remedy in it is shorter."""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the variables that the tables refer to."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("BAIKAL_ADMIN_PASSWORD", raising=False)


def _from_data(given: Mapping[str, object], *, image: bool = False) -> Settings:
    right: dict[str, object] = {"hostname": "cal.example.org", "admin_password": {"env": "GIVEN"}}
    return load.from_data(right | dict(given), image=image)


def _from_env(given: Mapping[str, str], file: Mapping[str, object] | None = None) -> Settings:
    right = {"BAIKAL_HOSTNAME": "cal.example.org", "BAIKAL_ADMIN_PASSWORD": PASSWORD, "PATH": "/bin"}
    return load.from_environment(right | dict(given), file)


def _assert_says(faults: tuple[Fault, ...], wrong: Wrong) -> None:
    (fault,) = faults
    assert (fault.setting, fault.value) == (wrong.setting, wrong.value)
    assert wrong.words in fault.problem
    assert len(fault.problem) > SHORTEST_REMEDY
    assert len(str(fault).splitlines()) == 1
    assert SECRET not in str(fault)


@pytest.mark.parametrize("wrong", WRONG_DATA.values(), ids=WRONG_DATA)
def test_a_wrong_setting_in_group_data_is_one_line_with_a_remedy(wrong: Wrong) -> None:
    """Each fault is said once: where, which value (never a secret's), and what to do."""
    with pytest.raises(SettingsError) as caught:
        _from_data(wrong.given)
    _assert_says(caught.value.faults, wrong)


@pytest.mark.parametrize("wrong", WRONG_ENVIRONMENT.values(), ids=WRONG_ENVIRONMENT)
def test_a_wrong_variable_of_a_container_is_one_line_with_a_remedy(wrong: Wrong) -> None:
    """Each fault is said once: where, which value (never a secret's), and what to do."""
    with pytest.raises(SettingsError) as caught:
        _from_env({name: str(text) for name, text in wrong.given.items()})
    _assert_says(caught.value.faults, wrong)


@pytest.mark.parametrize("wrong", WRONG_FILE.values(), ids=WRONG_FILE)
def test_a_wrong_line_of_a_settings_file_is_one_line_with_a_remedy(wrong: Wrong) -> None:
    """A container's settings.toml is read as strictly as everything else."""
    with pytest.raises(SettingsError) as caught:
        load.from_environment({}, {"hostname": "cal.example.org", "admin_password": PASSWORD} | dict(wrong.given))
    _assert_says(caught.value.faults, wrong)


@pytest.mark.parametrize("text", [f'[{{"name":"jo","password":"{SECRET}"}}', f'{{"jo":"{SECRET}"', f"jo:{SECRET}"])
def test_accounts_that_are_no_json_are_not_repeated(text: str) -> None:
    """What can't be read may hold passwords anywhere, so none of it is shown."""
    with pytest.raises(SettingsError) as caught:
        _from_env({"BAIKAL_USERS": text})
    assert [fault.setting for fault in caught.value.faults] == ["users"]
    assert SECRET not in str(caught.value)


def test_every_fault_is_said_at_once() -> None:
    """Somebody with six wrong settings corrects them all before the next run, not one a run."""
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


def test_every_fault_of_a_container_is_said_at_once() -> None:
    """Variables, file and contradictions are in one list."""
    with pytest.raises(SettingsError) as caught:
        load.from_environment({"BAIKAL_HTTP_PORT": "x", "BAIKAL_NO": "x"}, {"timezone": "", "baikal_archive": "/b.zip"})
    assert {fault.setting for fault in caught.value.faults} == {
        *("http_port", "BAIKAL_NO", "timezone", "baikal_archive", "hostname", "admin_password"),
    }


def test_the_defaults_need_only_a_name_and_a_password() -> None:
    """With these two, everything else has a value that works."""
    made = _from_data({})
    assert (made.hostname, made.tls, made.http_port, made.https_port) == ("cal.example.org", "selfsigned", 80, 443)
    assert made.admin_password == Secret(SECRET)
    assert made.users == ()


def test_the_administrators_password_comes_from_its_own_variable_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to write down where the password is."""
    monkeypatch.setenv("BAIKAL_ADMIN_PASSWORD", PASSWORD)
    assert load.from_data({"hostname": "cal.example.org"}).admin_password == Secret(PASSWORD)


def test_without_the_variable_of_the_administrators_password_its_name_is_said() -> None:
    """The remedy names what to export."""
    with pytest.raises(SettingsError, match="BAIKAL_ADMIN_PASSWORD, which is not set; export it and run again"):
        load.from_data({"hostname": "cal.example.org"})


def test_a_password_comes_from_a_file_on_this_machine(tmp_path: Path) -> None:
    """The other kind of reference."""
    (tmp_path / "password").write_text(f"{PASSWORD}\n", encoding="utf-8")
    made = _from_data({"admin_password": {"file": str(tmp_path / "password")}})
    assert made.admin_password == Secret(PASSWORD)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    """A key in binary form is no password."""
    (tmp_path / "password").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"which cannot be read \(not UTF-8 text\)"):
        _from_data({"admin_password": {"file": str(tmp_path / "password")}})


def test_an_image_needs_neither_a_name_nor_passwords() -> None:
    """What is baked is nobody's server yet."""
    made = load.from_data({"users": [JO | {"password": {"env": "NOT_SET_ANYWHERE"}}]}, image=True)
    assert (made.hostname, made.admin_password, made.users) == ("", None, ())


def test_an_image_needs_nothing_for_the_ca() -> None:
    """Which names it will have, and who answers for them, is said when it starts."""
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


def test_an_image_needs_nothing_for_its_relay() -> None:
    """Through which one its containers send, and in whose name, is said when they start."""
    assert load.from_data({"mail": "relay"}, image=True).mail == "relay"
    password = {"env": "NOT_SET_ANYWHERE"}
    shared = {"hostname": "calendar", "mail": "relay", "relay_user": "jo", "relay_password": password}
    made = load.from_data(shared | {"relay_tls": "none"}, image=True)
    assert (made.relay_host, made.relay_user, made.relay_password, made.mail_from) == ("", "jo", None, "")


def test_an_image_needs_nothing_for_database_and_backup() -> None:
    """Which server its containers use, and which repository, is said when they start."""
    assert load.from_data({"database": "mysql"}, image=True).database == "mysql"
    password = {"env": "NOT_SET_ANYWHERE"}
    shared = {"restic_repository": "/srv/restic", "restic_password": password, "database_password": password}
    made = load.from_data(shared | {"database": "pgsql", "database_host": "db"}, image=True)
    assert (made.restic_repository, made.restic_password, made.database_password) == ("/srv/restic", None, None)


def test_an_image_is_told_that_its_containers_have_no_database_server() -> None:
    """Before it is made."""
    with pytest.raises(SettingsError, match=r'^database_host = "local": is for machines.*in BAIKAL_DATABASE_HOST$'):
        load.from_data({"database": "pgsql", "database_host": "local"}, image=True)


@pytest.mark.parametrize("more", [{}, {"hostname": "calendar", "relay_ca": "/ca.pem", "dkim_selector": ""}])
def test_an_image_is_told_that_its_containers_have_no_mail_server(more: dict[str, object]) -> None:
    """Before it is made, in one line, and with what to do instead."""
    with pytest.raises(SettingsError, match=r'^mail = "postfix": is for machines.*in BAIKAL_RELAY_HOST$'):
        load.from_data({"mail": "postfix"} | more, image=True)


def test_an_image_is_told_of_mail_settings_without_effect() -> None:
    """As everything else is."""
    with pytest.raises(SettingsError, match=r'^relay_host = "smtp": has no effect with mail = "off"'):
        load.from_data({"relay_host": "smtp"}, image=True)


def test_an_image_is_told_of_its_other_faults() -> None:
    """That much is missing doesn't make the rest right."""
    with pytest.raises(SettingsError) as caught:
        load.from_data({"http_port": 0, "baikal_version": "0.9.5"}, image=True)
    assert [fault.setting for fault in caught.value.faults] == ["http_port", "baikal_version"] or [
        fault.setting for fault in caught.value.faults
    ] == ["baikal_version", "http_port"]


def test_what_is_for_the_ca_may_stand_beside_any_tls() -> None:
    """Group data says it for all, and one host differs."""
    for tls in ("selfsigned", "off"):
        made = _from_data({"tls": tls, "acme_email": "jo@example.org", "acme_server": "staging", "acme_ca": "/ca.pem"})
        assert (made.tls, made.acme_email) == (tls, "jo@example.org")
    assert _from_data({"hostname": "192.0.2.7", "acme_email": "jo@example.org"}).hostname == "192.0.2.7"


def test_one_port_is_enough_without_tls() -> None:
    """The other one isn't used then."""
    assert _from_data({"tls": "off", "http_port": 443}).http_port == 443


def test_an_archive_makes_any_release_known() -> None:
    """Newer releases than ours are installed from a zip or, with its checksum, an address."""
    zipped = _from_data({"baikal_version": "0.13.7", "baikal_archive": "~/b.zip"})
    addressed = _from_data(
        {"baikal_version": "0.13.7", "baikal_archive": "https://example.org/b.zip", "baikal_sha256": "A" * 64}
    )
    assert zipped.baikal_version == addressed.baikal_version == "0.13.7"
    assert addressed.baikal_sha256 == "a" * 64


def test_every_variable_of_a_container_is_read() -> None:
    """Each setting that a container has can be given by the environment alone."""
    given = {
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
    assert set(given) == {PREFIX + name.upper() for name, item in DEFINITIONS.items() if not item.machine_only}
    made = load.from_environment(given)
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


def test_a_secret_of_a_container_comes_from_a_mounted_file(tmp_path: Path) -> None:
    """Docker's and Kubernetes' secrets are files that a variable ending in _FILE names."""
    (tmp_path / "password").write_text(f"{PASSWORD}\n", encoding="utf-8")
    made = load.from_environment(
        {"BAIKAL_HOSTNAME": "cal.example.org", "BAIKAL_ADMIN_PASSWORD_FILE": str(tmp_path / "password")}
    )
    assert made.admin_password == Secret(PASSWORD)


def test_optional_secrets_are_none_unless_they_are_given() -> None:
    """Neither a machine nor a container needs them."""
    for made in (_from_data({}), _from_data(dict.fromkeys(OPTIONAL)), _from_env({})):
        assert [getattr(made, name) for name in OPTIONAL] == [None] * len(OPTIONAL)


def test_optional_secrets_come_by_reference_from_group_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a variable or a file of this machine; the inner lines of a plugin's file stay."""
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


def test_optional_secrets_of_a_container_come_from_mounted_files(tmp_path: Path) -> None:
    """As the administrator's password does."""
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


def test_a_mounted_secret_that_is_not_there_is_named() -> None:
    """The path is in the sentence, because that is what to mend."""
    with pytest.raises(SettingsError, match="the file /not/there, which cannot be read"):
        load.from_environment({"BAIKAL_HOSTNAME": "cal.example.org", "BAIKAL_ADMIN_PASSWORD_FILE": "/not/there"})


def test_a_container_without_the_administrators_password_is_told_so() -> None:
    """The default, a reference to a machine's variable, isn't its own."""
    with pytest.raises(SettingsError, match=r"^admin_password: is missing; set it$"):
        load.from_environment({"BAIKAL_HOSTNAME": "cal.example.org"})


def test_the_environment_overrides_the_file() -> None:
    """A variable is for this one container, the file for all that mount it."""
    assert _from_env({"BAIKAL_TIMEZONE": "UTC"}, {"timezone": "Europe/Berlin", "http_port": 8080}).timezone == "UTC"


def test_secrets_may_stand_plain_in_a_containers_file() -> None:
    """The mounted settings.toml is a secret file itself."""
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


def test_references_work_in_a_containers_file_too() -> None:
    """Whoever keeps the file in a repository refers to variables or mounted files from it."""
    made = load.from_environment(
        {"SOMEWHERE": PASSWORD}, {"hostname": "cal.example.org", "admin_password": {"env": "SOMEWHERE"}}
    )
    assert made.admin_password == Secret(PASSWORD)


def test_other_programs_variables_are_left_alone() -> None:
    """Only what starts with our prefix is ours; Baïkal's own path variables start with it too."""
    assert _from_env({"PATH": "/bin", "HOSTNAME": "x_y", "BAIKAL_PATH_CONFIG": "/x/"}).hostname == "cal.example.org"


def test_all_names_are_the_main_one_and_the_further_ones() -> None:
    """In this order, so that a certificate is called after the main one; an image has none."""
    assert _from_data({"hostnames": ["dav.example.org", "a.example.org"]}).names == (
        *("cal.example.org", "dav.example.org", "a.example.org"),
    )
    assert _from_data({}).names == ("cal.example.org",)
    assert Settings().names == ()


def test_settings_cannot_be_changed_afterwards() -> None:
    """What was validated stays as it is, and can be handed to anybody."""
    made = settings(users=[user()])
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.hostname = "other.example.org"  # type: ignore[misc]
    assert isinstance(hash(made), int)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_every_setting_has_a_sentence_and_a_right_default(name: str) -> None:
    """Its meaning ends with a full stop, and its default passes its own validation."""
    definition = DEFINITIONS[name]
    assert definition.meaning.endswith(".")
    if not definition.secret and name != "users":
        assert definition.kind.read(definition.raw_default) == getattr(Settings(), name)


def test_these_settings_are_secrets_by_themselves() -> None:
    """Whoever adds a secret adds it to these tests as well."""
    assert [name for name, definition in DEFINITIONS.items() if definition.secret] == ["admin_password", *OPTIONAL]


def test_what_kubernetes_says_of_a_service_called_baikal_is_nobodys_fault() -> None:
    """It puts such variables into every container of the namespace (Kubernetes, Service, environment variables)."""
    theirs = {
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
    right = {"BAIKAL_HOSTNAME": "cal.example.org", "BAIKAL_ADMIN_PASSWORD": "s"}
    assert load.from_environment(right | theirs) == load.from_environment(right)
    with pytest.raises(SettingsError, match="BAIKAL_HTPS_PORT: no such setting"):
        load.from_environment(right | {"BAIKAL_HTPS_PORT": "8443"})
