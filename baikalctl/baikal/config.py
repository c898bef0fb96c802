"""Read and merge Baïkal's own ``baikal.yaml``.

Baïkal rewrites the file when the administrator saves a settings page, so it can't be a template: only declared keys are
set, all others stay unchanged.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from baikalctl import paths
from baikalctl.desired.state import REALM, Database
from baikalctl.errors import HostError
from baikalctl.host.atomic_write import replacing
from baikalctl.host.boundary import confined
from baikalctl.host.safe_copy import open_untrusted
from baikalctl.settings import known_releases

if TYPE_CHECKING:
    from collections.abc import Mapping


FAILED_ACCESS = "user %u authentication failure for Baikal"
"""Baïkal logs failed logins only if this key exists."""

MYSQL_SOCKET, PGSQL_SOCKET = "localhost", "/var/run/postgresql"
"""The hosts for which PHP uses the Unix socket of a server on the same machine."""
NOT_ASKED_FOR = "the socket knows who asks"
"""A placeholder for the password: Baïkal refuses to run without one for MySQL (Flake/Framework.php, initDbMysql), and the
server doesn't need one."""

LARGEST = 1 << 20
"""Maximum bytes of a baikal.yaml; Baïkal's own has some 1,500."""
DEEPEST = 10
LONGEST, LONGEST_BARE = 64 << 10, 400
"""Maximum characters of a value with and without quotation marks."""
TYPED = ("auth_realm", "admin_passwordhash", "base_uri", "cal_enabled", "card_enabled", "invite_from", "timezone")
"""The keys of the section ``system`` that we read; in ``database`` we read all."""

Configuration = dict[str, dict[str, Any]]


def read() -> Configuration:
    """Return the sections of baikal.yaml, or none if it doesn't exist; raises :class:`HostError` if it is invalid."""
    try:
        return understood(Path(paths.BAIKAL_YAML))
    except FileNotFoundError:
        return {}


def understood(path: Path) -> Configuration:
    """Return the sections of the baikal.yaml at ``path``; raises :class:`HostError` if it is invalid."""
    with open_untrusted(path, largest=LARGEST) as stream:
        return confined(lambda: parsed(stream.read(LARGEST + 1), str(path)), keep=(stream.fileno(),))


def parsed(content: bytes, what: str) -> Configuration:
    """Return the sections of a baikal.yaml; ``what`` names it in errors.

    To be called within the boundary. Raises :class:`HostError` for content that Baïkal doesn't write, such as aliases,
    which may expand to any size.
    """
    sections: Any = None
    try:
        problem = _refused(content)
        if not problem:
            sections = yaml.load(content.decode(), Loader=_LOADER)  # noqa: S506 - a safe one
            problem = _mistyped(sections)
    except (yaml.YAMLError, ValueError) as error:
        problem = (str(error).splitlines() or ["it is not YAML"])[0][:100]
    if problem:
        message = f"{what} can't be parsed: {problem}; restore it from a backup, or fix it by hand"
        raise HostError(message)
    return dict(sections)


def _mistyped(sections: object) -> str:
    """Return the first value that has another type than in Baïkal's own file, for a message, or nothing."""
    if not isinstance(sections, dict) or not all(isinstance(section, dict) for section in sections.values()):
        return "it has no sections"
    for name, section in sections.items():
        for key, value in section.items():
            plain = value is None or isinstance(value, str | int | float)
            known = name == "database" or (name == "system" and key in TYPED)
            if not isinstance(name, str) or not isinstance(key, str) or not (plain if known else _plain(value)):
                return f"{name}.{key} is not text, a number or a truth value"[:100]
    version = sections.get("system", {}).get("configured_version") or ""
    if not isinstance(version, str) or not (version == "" or known_releases.numbers(version)):
        return "system.configured_version is not a version"
    return ""


def _plain(value: object) -> bool:
    """Tell whether the value of an unknown key has only types of JSON."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(_plain, value))
    return value is None or isinstance(value, str | int | float)


def _refused(content: bytes) -> str:
    """Return the reason to refuse the text before it is parsed, or nothing."""
    if len(content) > LARGEST:
        return f"it is larger than {LARGEST} bytes"
    depth = 0
    for event in yaml.parse(content.decode(), Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent):
            return "it has an alias (*)"
        # The parser tries to read values without quotation marks as numbers: for a long one, that takes a minute.
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > (LONGEST if event.style else LONGEST_BARE):
            return "it has a very long value"
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            return "it is nested too deeply"
    return ""


SILENCE = ("tcp_user_timeout=5000", "keepalives_idle=5", "keepalives_interval=3", "keepalives_count=2")
"""With these options, PostgreSQL's library gives up after some ten seconds if the server has vanished or doesn't answer.
There is no other way to lower PDO's limit of 30 seconds, and after the connection is made, PDO has no limit."""


def database_section(database: Database, password: str) -> dict[str, object]:
    """Return the section ``database`` of baikal.yaml for the declared ``database``.

    Port and TLS are options in the host's value, because Baïkal copies it unchanged into PDO's data source name
    (Flake/Core/Database/Mysql.php and Pgsql.php).
    """
    kind = database.backend
    # Older releases use the second key.
    which = {"backend": kind, "mysql": kind == "mysql"}
    if kind == "sqlite":
        return {**which, "sqlite_file": paths.SQLITE}
    if kind == "mysql" and database.local:
        password = NOT_ASKED_FOR
    login = {f"{kind}_dbname": database.name, f"{kind}_username": database.user, f"{kind}_password": password}
    authority: dict[str, object] = {"mysql_ca_cert": database.ca} if kind == "mysql" else {}
    return {**which, f"{kind}_host": _host(database), **login, **authority}


def _host(database: Database) -> str:
    """Return the value of the key for the host."""
    if database.local:
        return MYSQL_SOCKET if database.backend == "mysql" else PGSQL_SOCKET
    parts = [database.host, f"port={database.port}"]
    if database.backend == "pgsql":
        parts += SILENCE
        parts += ["sslmode=verify-full", f"sslrootcert={database.ca}"] if database.tls else ["sslmode=disable"]
    return ";".join(parts)


def differs(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return a message if the section ``current`` names another database than the ``wanted`` one, or nothing.

    A remote server with another hostname counts as the same server, which has moved.
    """
    if not current or _which(current) == _which(wanted):
        return ""
    from baikalctl.database import interface, registry

    if interface.backend(current) == wanted["backend"] == "sqlite":
        return f"baikal.yaml names the database file {str(current['sqlite_file'])[:200]!r}, and not {paths.SQLITE}"
    return f"the data is in {registry.of(current)}, but the settings say {registry.of(wanted)}"


def deviation(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return the first key of the section ``current`` that differs from the ``wanted`` one, or nothing.

    All keys count, including the account and the options of the connection: otherwise Baïkal and this program would use
    different databases.
    """
    from baikalctl.database import interface

    if interface.backend(current) != wanted["backend"]:
        return "backend"
    defaults = {"sqlite_file": paths.SQLITE, "mysql_ca_cert": ""}
    keys = [key for key in wanted if key not in ("backend", "mysql")]
    return next((key for key in keys if current.get(key, defaults.get(key)) != wanted[key]), "")


def _which(section: Mapping[str, Any]) -> tuple[str, str, bool]:
    """Return what identifies a database: backend, name, and whether it is on this machine."""
    from baikalctl.database import interface

    kind = interface.backend(section)
    if kind == "sqlite":
        return kind, str(section.get("sqlite_file") or paths.SQLITE), True
    host = str(section.get(f"{kind}_host", ""))
    return kind, str(section.get(f"{kind}_dbname", "")), host == MYSQL_SOCKET or host.startswith("/")


def merge(
    current: Configuration, system: Mapping[str, object], database: Mapping[str, object], version: str
) -> Configuration:
    """Return ``current`` with the declared keys, and with missing keys that a first installation needs.

    ``system`` and ``database`` are the declared sections. ``configured_version`` is only set on a first installation: if
    it is changed without the migration, data is lost. The section of another database than the declared one isn't changed,
    because that database has the data.
    """
    first = {
        "configured_version": version,
        "failed_access_message": FAILED_ACCESS,
        "auth_realm": REALM,
        "admin_passwordhash": "",
    }
    merged = {name: dict(section) for name, section in current.items()}
    merged["system"] = {**first, **merged.get("system", {}), **system}
    merged["database"] = _merge_database(merged.get("database", {}), database)
    return merged


def _merge_database(kept: Mapping[str, Any], wanted: Mapping[str, object]) -> dict[str, Any]:
    if differs(kept, wanted):
        return dict(kept)
    own = {"encryption_key": os.urandom(32).hex()}
    return {**own, **kept, **wanted}


def write(configuration: Configuration, path: Path | None = None) -> None:
    """Write baikal.yaml, or another file ``path`` of this format: atomically, mode 0600."""
    confined(lambda: _write(configuration, path or Path(paths.BAIKAL_YAML)))


def _write(configuration: Configuration, path: Path) -> None:
    with replacing(path) as stream:
        yaml.dump(configuration, stream, Dumper=_Quoting, sort_keys=False, allow_unicode=True, encoding="utf-8")


class _Quoting(yaml.SafeDumper):
    """Quotes all values that are text: PyYAML writes some without quotes that Baïkal reads as numbers, such as 12e5."""

    def represent_mapping(self, *arguments: Any, **options: Any) -> yaml.MappingNode:  # noqa: ANN401 - PyYAML's own
        """Write keys without quotation marks, so that the file is easy to read."""
        node: yaml.MappingNode = super().represent_mapping(*arguments, **options)
        for key, _ in node.value:
            key.style = None
        return node


_Quoting.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))

_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
