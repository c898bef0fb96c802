"""Archives for tests: valid content, and archives that a test has made or changed."""

from __future__ import annotations

import contextlib
import gzip
import io
import sqlite3
import tarfile
from typing import TYPE_CHECKING

from baikalctl.backup import archive, extract, manifest, verify_database
from baikalctl.backup.manifest import Manifest
from baikalctl.changes import members as archive_members
from baikalctl.host import directories
from baikalctl.host.tempdir import temporary_directory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CREATED = manifest.parse_time("20261125T031500Z")
KEY = "-----BEGIN PRIVATE KEY-----\n"
DATABASE = archive_members.DATABASE


def content(folder: Path, empty: bytes, *, events: int = 3, label: str = "") -> Manifest:
    """Write the files of an archive to ``folder``; return their manifest."""
    (folder / DATABASE).write_bytes(empty)
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as connection:
        connection.execute("INSERT INTO users (username, digesta1) VALUES ('jörg', 'x')")
        for number in range(events):
            row = (f"BEGIN:VEVENT Übung {number}", f"{number}.ics", 1, 0, "e", 9)
            connection.execute(
                "INSERT INTO calendarobjects (calendardata, uri, calendarid, lastmodified, etag, size)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                row,
            )
        connection.commit()
    for name, text in {
        "config/baikal.yaml": "system:\n  configured_version: 0.12.1\n",
        "settings.json": "{}\n",
        "state/applied.json": "{}\n",
        "tls/selfsigned-cal.example.org.pem": KEY,
        f"acme/accounts/acme-v02.api.letsencrypt.org/directory/{'0123456789abcdef' * 2}/private_key.json": KEY,
        "dkim/mail.example.org.pem": KEY,
    }.items():
        (folder / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return described(folder, label=label)


def described(folder: Path, *, label: str = "", counts: Mapping[str, int] | None = None) -> Manifest:
    """Return the manifest of the files in ``folder``."""
    files = {str(path.relative_to(folder)): archive.describe(path) for path in folder.rglob("*") if path.is_file()}
    return Manifest(
        created=CREATED,
        label=label,
        hostname="cal.example.org",
        baikal="0.12.1",
        php="8.2",
        backend="sqlite",
        counts=verify_database.count(folder / DATABASE) if counts is None else counts,
        files=files,
    )


def verified(path: Path) -> Manifest:
    """Return the manifest of a valid archive; raise HostError for any other."""
    with temporary_directory(directories.backups()) as folder:
        return extract.unpack(path, folder)


def unpacked(path: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Return the members of an archive, read as any tar program does."""
    with tarfile.open(path) as tar:
        return [(member, file.read() if (file := tar.extractfile(member)) else b"") for member in tar]


def repacked(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], more: bytes = b"") -> Path:
    """Replace the archive by one of ``members``, with ``more`` after them; return its path."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for member, text in members:
            tar.addfile(member, io.BytesIO(text))
    path.write_bytes(gzip.compress(plain.getvalue() + more))
    return path


def member(
    name: str, text: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    """Return a member of a tar."""
    header = tarfile.TarInfo(name)
    header.size, header.type, header.linkname = len(text), kind, link
    return header, text
