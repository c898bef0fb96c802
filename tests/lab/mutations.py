"""Hostile data for a host: known attacks, and random changes of what is valid."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.lab.fuzzing import MAIL as MAIL_ACCOUNT
from tests.lab.fuzzing import RELAY, Tree
from tests.lab.hostile_archives import ARCHIVE_ATTACKS, MANIFESTS, contents, newer, put, tar
from tests.lab.hostile_files import (
    DATABASE,
    FILES,
    JOURNALS,
    MESSAGES,
    SQL_ATTACKS,
    VALUES,
    YAML,
    YAML_ATTACKS,
    super_journal,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    Change = Callable[[Path, Tree], object]

LIVE: Final = (
    ("health",),
    ("check",),
    ("check", "--thorough"),
    ("apply", "--plan"),
    ("apply",),
    ("backup",),
    ("restore", "latest"),
)
"""Commands that read the host's data."""
IMPORT: Final = (("import", "{old}", "--replace"),)
ARCHIVES: Final = (("backup", "list"), ("backup", "verify", "latest"), ("restore", "latest"))
FOLDER: Final = (("restore", "{folder}"), ("backup", "verify", "{folder}"))
MAIL: Final = (("mail", "queue"), ("mail", "drop"), ("mail", "retry"))
TOKENS: Final = (
    *(
        b"\0",
        b"\xff" * 8,
        b"\n",
        b"\r\n",
        b"'",
        b'"',
        b"{",
        b"[",
        b"]",
        b": ",
        b"- ",
        b"&a ",
        b"*a",
        b"!!python/name:os.x",
    ),
    *(
        b"\x1b[2J",
        b"../" * 8,
        b"/etc/passwd",
        b"%s%n",
        b"1e999",
        b".nan",
        b"-1",
        b"9" * 40,
        b"\xed\xa0\x80",
        b"\xd9\xd5\x05\xf9",
    ),
    *(struct.pack(">q", each) for each in (0, 1, -1, 2**31, 2**62)),
)


@dataclass(frozen=True)
class Case:
    """Hostile data, and the commands that read it."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    prepare: Callable[[Tree], object]
    """Writes the data on a healthy host."""


def attacks() -> list[Case]:
    """Return every known attack."""
    cases = []
    for kind, path, changes in (("yaml", YAML, YAML_ATTACKS | FILES), ("sqlite", DATABASE, SQL_ATTACKS | FILES)):
        for name, change in changes.items():
            cases += [
                Case(f"{kind}: {name}", LIVE, _on_host(change, path, old=False)),
                Case(f"old {kind}: {name}", IMPORT, _on_host(change, path, old=True)),
            ]
    for suffix in ("-journal", "-wal", "-shm"):
        for name, change in (JOURNALS | FILES).items():
            for old in (False, True):
                commands = IMPORT if old else LIVE
                prepare = _on_host(change, DATABASE + suffix, old=old)
                cases.append(Case(f"{'old ' if old else ''}{suffix}: {name}", commands, prepare))
    cases += [Case(f"manifest: {name}", ARCHIVES, _manifest(fields)) for name, fields in MANIFESTS.items()]
    cases += [Case(f"archive: {name}", ARCHIVES, _archive(change)) for name, change in ARCHIVE_ATTACKS.items()]
    cases += [Case(f"folder: {name}", FOLDER, _folder(change)) for name, change in FILES.items()]
    for name, change in (MESSAGES | FILES).items():
        for folder in ("queue", "failed", "kept"):
            cases.append(Case(f"{folder}: {name}", MAIL, _message(change, folder)))
    return cases


def at_random(random: Random) -> Case:
    """Return random hostile data, with one command."""
    kinds: dict[str, tuple[tuple[tuple[str, ...], ...], Callable[[Tree], object]]] = {
        "yaml": (LIVE, lambda tree: _mutate(tree.data / YAML, random)),
        "old yaml": (IMPORT, lambda tree: _mutate(tree.old / YAML, random)),
        "sqlite": (LIVE, lambda tree: _mutate(tree.data / DATABASE, random)),
        "old sqlite": (IMPORT, lambda tree: _mutate(tree.old / DATABASE, random)),
        "journal": ((*LIVE, *IMPORT), lambda tree: _random_journal(tree, random)),
        "manifest": (ARCHIVES, lambda tree: _random_manifest(tree, random)),
        "tar": (ARCHIVES, lambda tree: _random_tar(tree, random)),
        "gzip": (ARCHIVES, lambda tree: _mutate(newer(tree), random)),
        "folder": (FOLDER, lambda tree: _mutate(random.choice(_files(unpacked(tree))), random)),
        "mail": (MAIL, lambda tree: _random_mail(tree, random)),
    }
    name = random.choice(list(kinds))
    commands, prepare = kinds[name]
    return Case(f"random {name}", (random.choice(commands),), prepare)


def mutated(text: bytes, random: Random) -> bytes:
    """Return ``text`` with some random changes."""
    changed = bytearray(text or b"\0")
    for _ in range(random.choice((1, 1, 2, 4, 16, 64))):
        position = random.randrange(len(changed) + 1)
        length = min(random.choice((1, 2, 4, 8, 16, 100, 4096)), len(changed) - position)
        match random.randrange(7):
            case 0:
                changed[position : position + 1] = bytes([random.randrange(256)])
            case 1:
                changed[position : position + length] = random.randbytes(length)
            case 2:
                del changed[position : position + length]
            case 3:
                changed[position:position] = changed[position : position + length] * random.choice((1, 2, 50))
            case 4:
                token = random.choice(TOKENS)
                changed[position : position + len(token)] = token
            case 5:
                changed[position:position] = random.choice(TOKENS)
            case 6:
                del changed[position + length :]
    return bytes(changed)


def unpacked(tree: Tree) -> Path:
    """Unpack the valid archive to a folder of PHP's account, as if others could write to it; return the folder."""
    folder = tree.path("srv/folder")
    for name, text in contents(tree).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text)
    return tree.own(folder)


def _on_host(change: Change, name: str, *, old: bool) -> Callable[[Tree], object]:
    def prepare(tree: Tree) -> None:
        path = (tree.old if old else tree.data) / name
        change(path, tree)
        tree.own(path.parent)

    return prepare


def _manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[Tree], object]:
    def prepare(tree: Tree) -> None:
        members = contents(tree)
        fields = json.loads(members["manifest.json"])
        result = change(fields)
        text = result if isinstance(result, bytes) else json.dumps(fields).encode("utf-8", "surrogatepass")
        put(tree, members | {"manifest.json": text})

    return prepare


def _archive(change: Callable[[Tree], bytes]) -> Callable[[Tree], object]:
    return lambda tree: newer(tree).write_bytes(change(tree))


def _folder(change: Change) -> Callable[[Tree], object]:
    def prepare(tree: Tree) -> None:
        folder = unpacked(tree)
        change(folder / YAML, tree)
        tree.own(folder)

    return prepare


def _message(change: Change, folder: str) -> Callable[[Tree], object]:
    def prepare(tree: Tree) -> None:
        _mailing(tree)
        directory = tree.data / "mail/kept" if folder == "kept" else tree.spool / folder
        path = directory / ("1700000009.9.0.eml" if folder == "kept" else "1700000009.9")
        change(path, tree)
        tree.own(directory, "" if folder == "kept" else MAIL_ACCOUNT)

    return prepare


def _mailing(tree: Tree) -> None:
    tree.declare(**RELAY)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _mutate(path: Path, random: Random) -> None:
    path.write_bytes(mutated(path.read_bytes(), random))


def _random_journal(tree: Tree, random: Random) -> None:
    path = random.choice((tree.data, tree.old)) / DATABASE
    path = path.with_name(path.name + random.choice(("-journal", "-wal", "-shm")))
    super_journal(path, tree)
    if random.random() < 0.9:
        _mutate(path, random)
    tree.own(path)


def _random_manifest(tree: Tree, random: Random) -> None:
    members = contents(tree)
    fields = json.loads(members["manifest.json"])
    for _ in range(random.choice((1, 1, 2, 5))):
        target: Any = fields
        key: Any = random.choice(sorted(target))
        while isinstance(target[key], dict) and target[key] and random.random() < 0.7:
            target = target[key]
            key = random.choice(sorted(target))
        match random.randrange(4):
            case 0:
                target[key] = random.choice(VALUES)
            case 1:
                target[str(random.choice(VALUES))] = target[key]
            case 2:
                target[key] = {"a": target[key], "b": [target[key]]}
            case 3 if len(target) > 1:
                del target[key]
    text = json.dumps(fields).encode("utf-8", "surrogatepass")
    put(tree, members | {"manifest.json": mutated(text, random) if random.random() < 0.3 else text})


def _random_tar(tree: Tree, random: Random) -> None:
    text = bytearray(tar(contents(tree)))
    blocks = [start for start in range(0, len(text), 512) if text[start + 257 : start + 262] == b"ustar"]
    for _ in range(random.choice((1, 2, 4))):
        start = random.choice(blocks)
        offset, length = random.choice(((0, 100), (100, 8), (124, 12), (156, 1), (157, 100), (257, 8), (345, 155)))
        value = random.choice(
            (*TOKENS, bytes([0x80]) + b"\xff" * 11, bytes([0xFF]) * 12, b"77777777777\0", b"1", b"2", b"L", b"x")
        )
        text[start + offset : start + offset + length] = value[:length].ljust(length, b"\0")
        if random.random() < 0.8:  # with a valid checksum, more of it is parsed
            text[start + 148 : start + 156] = b" " * 8
            text[start + 148 : start + 156] = b"%06o\0 " % sum(text[start : start + 512])
    plain = bytes(text) if random.random() < 0.7 else mutated(bytes(text), random)
    newer(tree).write_bytes(gzip.compress(plain, mtime=0))


def _random_mail(tree: Tree, random: Random) -> None:
    _mailing(tree)
    path = random.choice([path for folder in (tree.spool, tree.data / "mail/kept") for path in _files(folder)])
    _mutate(path, random)
    if random.random() < 0.3:
        name = mutated(os.fsencode(path.name), random).replace(b"/", b"").replace(b"\0", b"")[:100] or b"x"
        with contextlib.suppress(OSError):  # such as "..", or an existing name
            path.rename(path.parent / os.fsdecode(name))
