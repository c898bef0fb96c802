"""Input of all contenders: the same settings; for the peers, files rendered by our own ``render``."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from baikalctl import paths
from baikalctl.baikal import accounts, config
from baikalctl.database import sync_triggers
from baikalctl.database.sqlite import INDEXES
from baikalctl.desired.build import desired_state
from baikalctl.rendering import nginx, php
from baikalctl.rendering.machine import render
from baikalctl.rendering.model import Platform
from baikalctl.rendering.templates import HOME
from baikalctl.settings import load
from tasks.machine import MachineFact
from tests.lab.http_request import HOSTNAME, PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from baikalctl.desired.state import DesiredUser
    from tests.lab.machine import Machine
    from tests.lab.release import Release


USER = "jo"
ARCHIVE = "baikal.zip"
SCHEMA = "baikal/Core/Resources/Db/SQLite/db.sql"
NAMES = {
    "/etc/nginx/conf.d/baikal.conf": "site.conf",
    "/etc/php/{php}/fpm/pool.d/baikal.conf": "pool.conf",
    "/etc/php/{php}/fpm/conf.d/99-baikal.ini": "baikal.ini",
    "/usr/local/lib/baikalctl/prepend.php": "prepend.php",
    "/usr/local/lib/baikalctl/away.php": "away.php",
    "/usr/local/lib/baikalctl/sessions.php": "sessions.php",
    "/etc/systemd/system/php{php}-fpm.service.d/baikal.conf": "php-fpm.service.conf",
    "/etc/systemd/system/baikal-certificate.timer": "baikal-certificate.timer",
    "/etc/systemd/system/baikal-certificate.service": "baikal-certificate.service",
    "/etc/systemd/system/baikal-backup.timer": "baikal-backup.timer",
    "/etc/systemd/system/baikal-backup.service": "baikal-backup.service",
}
"""Names of the files that the peers install unchanged."""
SCRIPTS = ("shell/provision.sh", "certificate.sh", "backup.sh")
COMMANDS = {
    f"{paths.COMMAND} certificate --quiet": f"/usr/local/sbin/baikal-certificate {HOSTNAME}",
    f"{paths.COMMAND} backup --quiet": "/usr/local/sbin/baikal-backup",
}
"""Commands of timers: ours, and their replacements in the peers."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A wanted state: the settings for our inventory, and the folder of files for the peers."""

    data: dict[str, object]
    folder: Path
    version: str
    php: str
    units: tuple[str, ...]
    """Services that must run, now and after a reboot."""

    @property
    def archive(self) -> Path:
        """The release's zip, among the other files."""
        return self.folder / ARCHIVE


def wanted(folder: Path, release: Release, platform: Platform, **changes: object) -> Wanted:
    """Write all files of the peers for the settings with ``changes`` into the new ``folder``."""
    folder.mkdir()
    password = folder.with_name("password")
    password.touch(mode=0o600)
    password.write_text(PASSWORD)
    reference = {"file": str(password)}
    data: dict[str, object] = {
        "hostname": HOSTNAME,
        "baikal_version": release.version,
        "baikal_archive": str(release.path),
        "baikal_sha256": release.sha256,
        "admin_password": reference,
        "users": [{"name": USER, "display_name": "Jo Möller", "email": "jo@example.org", "password": reference}],
        **changes,
    }
    settings = load.from_data(data)
    declared = desired_state(settings)
    rendered = render(settings, platform)
    contents = {file.path: file.content.decode() for file in rendered.files}
    for path, name in NAMES.items():
        content = contents[path.format(php=platform.php)]
        for ours, theirs in COMMANDS.items():
            content = content.replace(ours, theirs)
        (folder / name).write_text(content, encoding="utf-8")
    database = config.database_section(declared.database, "")
    merged = config.merge({}, declared.system, database, declared.version)
    merged["system"]["admin_passwordhash"] = declared.admin_hash
    (folder / "baikal.yaml").write_text(yaml.safe_dump(merged, sort_keys=False, allow_unicode=True), encoding="utf-8")
    with zipfile.ZipFile(release.path) as archive:
        schema = archive.read(SCHEMA).decode()
    (folder / "database.sql").write_text("\n".join([schema, *_tuning(), *_rows(declared.users[0])]), encoding="utf-8")
    (folder / ARCHIVE).symlink_to(release.path)
    for script in SCRIPTS:
        shutil.copy(HOME / "bench/peers" / script, folder)
    units = tuple(service.unit for service in rendered.services)
    return Wanted(data=data, folder=folder, version=release.version, php=platform.php, units=units)


def platform_of(machine: Machine) -> Platform:
    """Return the platform of a machine that has the distribution's packages; our files depend on it."""
    fact = MachineFact()
    value = fact.process(machine.run(fact.command()).splitlines())
    return Platform(
        php=php.version(value.installed["php-fpm"]),
        nginx=nginx.version(value.installed["nginx"]),
        cores=value.cores,
        memory_mb=value.memory_mb,
        ipv6=value.ipv6,
    )


def _tuning() -> Iterator[str]:
    for name, columns in INDEXES.items():
        yield f"CREATE INDEX {name} ON {columns};"
    for statement in sync_triggers.SQLITE.values():
        yield f"{statement};"
    yield "PRAGMA journal_mode = WAL;"
    yield "ANALYZE;"


def _rows(user: DesiredUser) -> Iterator[str]:
    """Yield the SQL for an account with its first calendar and address book."""
    calendar, book = user.calendars[0], user.address_books[0]
    uri = accounts.principal(user.name)
    yield _insert("users", username=user.name, digesta1=user.digest)
    yield _insert("principals", uri=uri, email=user.email, displayname=user.display_name)
    yield _insert("calendars", synctoken=1, components=accounts.COMPONENTS)
    yield _insert(
        "calendarinstances",
        calendarid=1,
        principaluri=uri,
        access=accounts.OWNER,
        displayname=calendar.display_name,
        uri=calendar.name,
        description=calendar.description,
        calendarcolor=calendar.color,
        calendarorder=0,
        transparent=0,
        share_invitestatus=accounts.ACCEPTED,
    )
    yield _insert(
        "addressbooks",
        principaluri=uri,
        displayname=book.display_name,
        uri=book.name,
        description=book.description,
        synctoken=1,
    )


def _insert(table: str, **values: object) -> str:
    shown = ", ".join(_literal(value) for value in values.values())
    return f"INSERT INTO {table} ({', '.join(values)}) VALUES ({shown});"  # noqa: S608 - a file's line, and our own words


def _literal(value: object) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else json.dumps(value)
