"""An old installation of Baïkal, as in the volumes of a container or unpacked by hand."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lab.clients import CARD, EVENT

SCHEMA: Final = Path(__file__).parent / "standin/Core/Resources/Db/SQLite/db.sql"
"""The tables of all versions since 0.9.5."""
OLD_SQLITE: Final = "/var/www/baikal/Specific/db/db.sqlite"
"""Path of the database in baikal.yaml of the popular image."""
PASSWORDS: Final = {"anna": "annas altes Passwort", "Bo.Berg": "hunter2"}
ADMIN_PASSWORD: Final = "the old administrator's"
EVENTS: Final = {"anna": ("Zahnarzt", "Müllabfuhr 🗑"), "Bo.Berg": ("Chess",)}
CARDS: Final = {"anna": ("Zoë Groß",), "Bo.Berg": ("Kim", "Lee")}
REALM: Final = "BaikalDAV"
COUNTS: Final = "2 accounts, 3 calendars, 3 events, 2 address books, 3 cards"
"""The counts in the output of ``baikalctl import``."""
YAML: Final = """\
system:
    configured_version: {version}
    timezone: Europe/Berlin
    card_enabled: true
    cal_enabled: true
    dav_auth_type: Digest
    admin_passwordhash: {admin}
    failed_access_message: 'user %u authentication failure for Baikal'
    auth_realm: BaikalDAV
    base_uri: ''
    invite_from: calendar@old.example.org
database:
    sqlite_file: {sqlite}
{older_or_newer}    mysql_host: ''
    mysql_dbname: ''
    mysql_username: ''
    mysql_password: ''
    encryption_key: 5d5b6ed8eb6ac7f5e0c0ab4b9a9c4a9b
"""
"""In the format of Baïkal's own dumper."""


@dataclass(frozen=True)
class OldInstallation:
    """The folder of the installation."""

    folder: Path

    @property
    def database(self) -> Path:
        """Its database."""
        return self.folder / "Specific/db/db.sqlite"

    @property
    def yaml(self) -> Path:
        """Its configuration."""
        return self.folder / "config/baikal.yaml"


def build(folder: Path, version: str = "0.9.5", sqlite: str = OLD_SQLITE) -> OldInstallation:
    """Create an installation of ``version`` in ``folder``; its yaml has ``sqlite`` as the path of the database."""
    old = OldInstallation(folder)
    old.database.parent.mkdir(parents=True)
    old.yaml.parent.mkdir()
    (folder / "Specific/INSTALL_DISABLED").touch()
    admin = hashlib.sha256(f"admin:{REALM}:{ADMIN_PASSWORD}".encode()).hexdigest()
    younger = tuple(map(int, version.split("."))) >= (0, 10, 0)
    keys = "    backend: sqlite\n    mysql_ca_cert: ''\n" if younger else "    mysql: false\n"
    old.yaml.write_text(YAML.format(version=version, admin=admin, sqlite=sqlite, older_or_newer=keys), encoding="utf-8")
    with contextlib.closing(sqlite3.connect(old.database)) as connection:
        connection.executescript(SCHEMA.read_text(encoding="utf-8"))
        for name, password in PASSWORDS.items():
            _add_account(connection, name, password)
        # Created by a client: on SQLite, sabre/dav leaves its access NULL.
        number = connection.execute("INSERT INTO calendars (components) VALUES ('VTODO')").lastrowid
        connection.execute(
            "INSERT INTO calendarinstances (calendarid, principaluri, access, displayname, uri)"
            " VALUES (?, 'principals/anna', NULL, 'Tasks', 'tasks')",
            (number,),
        )
        connection.commit()
    return old


def listing(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return names, modes, owners, times and contents below ``folder``, to detect any write."""
    seen: dict[str, tuple[object, ...]] = {}
    for path in sorted((folder, *folder.rglob("*"))):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        seen[str(path.relative_to(folder))] = (
            *(status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns),
            *(status.st_ctime_ns, content),
        )
    return seen


def _add_account(connection: sqlite3.Connection, name: str, password: str) -> None:
    run = connection.execute
    digest = hashlib.md5(f"{name}:{REALM}:{password}".encode(), usedforsecurity=False).hexdigest()
    principal = f"principals/{name}"
    run("INSERT INTO users (username, digesta1) VALUES (?, ?)", (name, digest))
    email = f"{name.lower()}@example.org"
    run("INSERT INTO principals (uri, email, displayname) VALUES (?, ?, ?)", (principal, email, name))
    calendar = run("INSERT INTO calendars (components) VALUES ('VEVENT,VTODO')").lastrowid
    run(
        "INSERT INTO calendarinstances (calendarid, principaluri, access, displayname, uri, description)"
        " VALUES (?, ?, 1, 'Default calendar', 'default', 'Default calendar')",
        (calendar, principal),
    )
    book = run(
        "INSERT INTO addressbooks (principaluri, displayname, uri) VALUES (?, 'Default Address Book', 'default')",
        (principal,),
    ).lastrowid
    for number, summary in enumerate(EVENTS[name]):
        data = EVENT.format(uid=f"{name}-{number}", summary=summary).replace("\n", "\r\n").encode()
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        run(
            "INSERT INTO calendarobjects (calendardata, uri, calendarid, lastmodified, etag, size, componenttype,"
            " firstoccurence, lastoccurence, uid) VALUES (?, ?, ?, 1700000000, ?, ?, 'VEVENT', ?, ?, ?)",
            (data, f"{number}.ics", calendar, etag, len(data), 1780304400, 1780308000, f"{name}-{number}"),
        )
    for number, full_name in enumerate(CARDS[name]):
        data = CARD.format(uid=f"{name}-card-{number}", name=full_name).encode()
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        run(
            "INSERT INTO cards (addressbookid, carddata, uri, lastmodified, etag, size)"
            " VALUES (?, ?, ?, 1700000000, ?, ?)",
            (book, data, f"{number}.vcf", etag, len(data)),
        )
