"""Hostile archives: changed manifests, and tar and gzip streams that baikalctl would never write."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any, Final

from tests.lab.hostile_files import BOMB, ESCAPES, SQL_ATTACKS, VALUES, YAML

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.lab.fuzzing import Tree
    from tests.lab.hostile_files import Change


def valid(tree: Tree) -> Path:
    """Return the archive that the host has made."""
    return min(tree.backups.glob("baikal-*.tar.gz"))


def newer(tree: Tree) -> Path:
    """Return a copy of the valid archive that sorts as the newest."""
    path = tree.backups / "baikal-20991231T235959Z.tar.gz"
    path.write_bytes(valid(tree).read_bytes())
    return path


def contents(tree: Tree) -> dict[str, bytes]:
    """Return the members of the valid archive, by name, in order."""
    with tarfile.open(valid(tree)) as archive:
        return {member.name: file.read() for member in archive if (file := archive.extractfile(member))}


def tar(members: Mapping[str, bytes]) -> bytes:
    """Return a tar of plain files."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as packed:
        for name, text in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(text)
            packed.addfile(header, io.BytesIO(text))
    return plain.getvalue()


def put(tree: Tree, members: Mapping[str, bytes]) -> None:
    """Write an archive of these members as the newest."""
    newer(tree).write_bytes(gzip.compress(tar(members), mtime=0))


def _consistent(tree: Tree, changed: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the valid archive's members with ``changed`` ones, and a matching manifest."""
    members = contents(tree)
    fields = json.loads(members["manifest.json"])
    members |= changed
    for name, text in changed.items():
        fields["files"][name] = {"size": len(text), "sha256": hashlib.sha256(text).hexdigest()}
    return members | {"manifest.json": json.dumps(fields).encode()}


def _set(*keys: str, value: Any) -> Callable[[dict[str, Any]], object]:  # noqa: ANN401 - any value of JSON
    def change(fields: dict[str, Any]) -> None:
        target = fields
        for key in keys[:-1]:
            target = target[key]
        target[keys[-1]] = value

    return change


_NAMES: Final = (
    *("../x", "/etc/cron.d/x", "tls/../../x", "tls/a\nb.pem", "tls/", "tls", ".", "", "tls/" + "x" * 300, "x" * 5_000),
    *(
        "acme/renewal-hooks/pre/x",
        "tls/x.conf",
        "config/baikal.yaml/x",
        f"tls/{ESCAPES}.pem",
        "tls/\ud800.pem",
        "a" + "/a" * 500,
    ),
)
MANIFESTS: Final[dict[str, Callable[[dict[str, Any]], object]]] = {
    **{
        f"{key} is {value!r:.30}": _set(key, value=value)
        for key in ("created", "hostname", "files")
        for value in VALUES
    },
    **{f"format is {value!r:.30}": _set("format", value=value) for value in VALUES},
    **{f"{value!r:.30} accounts": _set("counts", "users", value=value) for value in VALUES},
    **{f"size is {value!r:.30}": _set("files", "database.sqlite", "size", value=value) for value in VALUES},
    **{f"checksum is {value!r:.30}": _set("files", "database.sqlite", "sha256", value=value) for value in VALUES},
    **{f"a file called {name!r:.30}": _set("files", name, value={"size": 0, "sha256": "0" * 64}) for name in _NAMES},
    "a hundred thousand files": lambda fields: fields.update(
        files={f"tls/{number}.pem": {"size": 0, "sha256": "0" * 64} for number in range(30_000)}
    ),
    "deep nesting": lambda _: b"[" * 200_000,
    "no JSON": lambda _: b"\xff\xfe",
    "a long number": lambda fields: json.dumps(fields).encode().replace(b'"format": 1', b'"format": ' + b"1" * 100_000),
}


def _header(size: bytes, kind: bytes = b"0", name: bytes = b"manifest.json") -> bytes:
    block = bytearray(512)
    block[: len(name)] = name
    block[124:136], block[156:157], block[257:265] = size.ljust(12, b"\0")[:12], kind, b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _with(name: str, text: bytes) -> Callable[[Tree], bytes]:
    return lambda tree: gzip.compress(tar(_consistent(tree, {name: text})), mtime=0)


def _database_of(change: Change) -> Callable[[Tree], bytes]:
    def made(tree: Tree) -> bytes:
        path = tree.folder / "hostile.sqlite"
        path.write_bytes(contents(tree)["database.sqlite"])
        change(path, tree)
        return gzip.compress(tar(_consistent(tree, {"database.sqlite": path.read_bytes()})), mtime=0)

    return made


ARCHIVE_ATTACKS: Final[dict[str, Callable[[Tree], bytes]]] = {
    "a negative size": lambda _: gzip.compress(_header(b"\xff" * 12) + bytes(50 << 20)),
    "an enormous size": lambda _: gzip.compress(_header(b"\x80" + b"\x7f" * 11) + bytes(50 << 20)),
    "a size in octal": lambda _: gzip.compress(_header(b"77777777777") + bytes(50 << 20)),
    "a size that isn't a number": lambda _: gzip.compress(_header(b"zzzz") + bytes(1024)),
    "a bomb": lambda tree: gzip.compress(tar(contents(tree)) + bytes(100 << 20)),
    "two streams": lambda tree: valid(tree).read_bytes() * 2,
    "something behind it": lambda tree: valid(tree).read_bytes() + b"x" * 1000,
    "half of it": lambda tree: valid(tree).read_bytes()[:2000],
    "a gzip of nothing": lambda _: gzip.compress(b""),
    "no header but a name": lambda _: b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * 1_000_000,
    "a link first": lambda _: gzip.compress(_header(b"0", b"2") + bytes(1024)),
    "a pax header first": lambda tree: gzip.compress(
        _header(b"00000000020", b"x", b"pax") + b"16 path=../../x\n".ljust(512, b"\0") + tar(contents(tree))
    ),
    "a configuration for nginx": _with("tls/selfsigned-cal.example.org.conf", b"access_log /etc/profile.d/x.sh;\n"),
    "a hook for certbot": _with("acme/renewal-hooks/pre/x", b"#!/bin/sh\ntouch /tmp/baikal-fuzz\n"),
    "settings that aren't JSON": _with("settings.json", b"[" * 100_000),
    "applied that isn't JSON": _with("state/applied.json", b'{"a": 1e999, "b": [1]}'),
    "yaml that expands": _with(YAML, f"{BOMB}system: {{configured_version: *a8}}\ndatabase: {{}}\n".encode()),
    "yaml of a database server": _with(
        YAML, b"system: {configured_version: 0.12.1}\ndatabase: {backend: pgsql, pgsql_host: '127.0.0.1;port=9'}\n"
    ),
    **{f"a database with {name}": _database_of(change) for name, change in SQL_ATTACKS.items()},
}
