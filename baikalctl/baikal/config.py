"""Baïkal's own ``baikal.yaml``, merged by meaning.

Baïkal rewrites the file whenever somebody saves a settings page, so it can't be a template: only the keys that are
declared are set, all others stay as they are.
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
"""Baïkal logs failed log-ins only if this key is there."""

MYSQL_SOCKET, PGSQL_SOCKET = "localhost", "/var/run/postgresql"
"""What PHP takes for the Unix socket of a server on the same machine."""
NOT_ASKED_FOR = "the socket knows who asks"
"""Stands where Baïkal refuses to serve without a password for MySQL, and the server asks for none
(Flake/Framework.php, initDbMysql)."""

LARGEST = 1 << 20
"""Bytes of a baikal.yaml; Baïkal's own have some 1,500."""
DEEPEST = 10
LONGEST, LONGEST_BARE = 64 << 10, 400
"""Letters of a value in quotation marks, and without."""
TYPED = ("auth_realm", "admin_passwordhash", "base_uri", "cal_enabled", "card_enabled", "invite_from", "timezone")
"""Keys of the section ``system`` that are read here; those of ``database`` all are."""

Configuration = dict[str, dict[str, Any]]


def read() -> Configuration:
    """Return the sections of baikal.yaml, or nothing where there is no file; raises :class:`HostError` if it's broken."""
    try:
        return understood(Path(paths.BAIKAL_YAML))
    except FileNotFoundError:
        return {}


def understood(path: Path) -> Configuration:
    """Return the sections of the baikal.yaml at ``path``; raises :class:`HostError` if it's broken."""
    with open_untrusted(path, largest=LARGEST) as stream:
        return confined(lambda: parsed(stream.read(LARGEST + 1), str(path)), keep=(stream.fileno(),))


def parsed(content: bytes, what: str) -> Configuration:
    """Return the sections of a baikal.yaml; ``what`` names it in errors.

    To be called within the boundary. Raises :class:`HostError` for anything that Baïkal doesn't write, such as aliases,
    which may expand to any size.
    """
    found: Any = None
    try:
        wrong = _refused(content)
        if not wrong:
            found = yaml.load(content.decode(), Loader=_LOADER)  # noqa: S506 - a safe one
            wrong = _mistyped(found)
    except (yaml.YAMLError, ValueError) as error:
        wrong = (str(error).splitlines() or ["it is not YAML"])[0][:100]
    if wrong:
        message = f"{what} can't be understood: {wrong}; restore it from a backup, or fix it by hand"
        raise HostError(message)
    return dict(found)


def _mistyped(found: object) -> str:
    """Return what is of another type than in Baïkal's own file, or nothing."""
    if not isinstance(found, dict) or not all(isinstance(section, dict) for section in found.values()):
        return "it has no sections"
    for name, section in found.items():
        for key, value in section.items():
            plain = value is None or isinstance(value, str | int | float)
            known = name == "database" or (name == "system" and key in TYPED)
            if not isinstance(name, str) or not isinstance(key, str) or not (plain if known else _plain(value)):
                return f"{name}.{key} is not text, a number or a truth value"[:100]
    version = found.get("system", {}).get("configured_version") or ""
    if not isinstance(version, str) or not (version == "" or known_releases.numbers(version)):
        return "system.configured_version is not a version"
    return ""


def _plain(value: object) -> bool:
    """Tell whether a value that we don't know is such as JSON has."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(_plain, value))
    return value is None or isinstance(value, str | int | float)


def _refused(content: bytes) -> str:
    """Return why the text isn't read at all, or nothing."""
    if len(content) > LARGEST:
        return f"it is larger than {LARGEST} bytes"
    depth = 0
    for event in yaml.parse(content.decode(), Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent):
            return "it has an alias (*)"
        # Of what isn't quoted, it is tried whether it is a number: a long one takes a minute.
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > (LONGEST if event.style else LONGEST_BARE):
            return "it has a very long value"
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            return "it is nested too deeply"
    return ""


SILENCE = ("tcp_user_timeout=5000", "keepalives_idle=5", "keepalives_interval=3", "keepalives_count=2")
"""After some ten seconds at most, PostgreSQL's library gives up a server that has vanished, or takes packets and answers
none. PDO's own limit of 30 seconds can't be lowered in another way, and once connected there is none."""


def database_section(database: Database, password: str) -> dict[str, object]:
    """Return the keys that tell Baïkal which ``database`` it has.

    Port and TLS stand in the host's value, which Baïkal puts into PDO's data source name as it is
    (Flake/Core/Database/Mysql.php and Pgsql.php).
    """
    kind = database.backend
    # The second is the name by which older releases said the same.
    which = {"backend": kind, "mysql": kind == "mysql"}
    if kind == "sqlite":
        return {**which, "sqlite_file": paths.SQLITE}
    if kind == "mysql" and database.local:
        password = NOT_ASKED_FOR
    login = {f"{kind}_dbname": database.name, f"{kind}_username": database.user, f"{kind}_password": password}
    authority: dict[str, object] = {"mysql_ca_cert": database.ca} if kind == "mysql" else {}
    return {**which, f"{kind}_host": _host(database), **login, **authority}


def _host(database: Database) -> str:
    """Return the value of the host's key."""
    if database.local:
        return MYSQL_SOCKET if database.backend == "mysql" else PGSQL_SOCKET
    parts = [database.host, f"port={database.port}"]
    if database.backend == "pgsql":
        parts += SILENCE
        parts += ["sslmode=verify-full", f"sslrootcert={database.ca}"] if database.tls else ["sslmode=disable"]
    return ";".join(parts)


def differs(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return in words how the database of the section ``found`` is another than the ``wanted`` one, or nothing.

    A server that is called otherwise is the same one that has moved; that of this machine is none that moves.
    """
    if not found or _which(found) == _which(wanted):
        return ""
    from baikalctl.database import interface, registry

    if interface.backend(found) == wanted["backend"] == "sqlite":
        return f"baikal.yaml names the database file {str(found['sqlite_file'])[:200]!r}, and not {paths.SQLITE}"
    return f"the data is in {registry.of(found)}, and {registry.of(wanted)} is declared"


def deviation(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return the first key with which the section ``found`` names another database than the ``wanted`` one, or nothing.

    All of it counts, the account and the options of the connection included: otherwise Baïkal would use one database, and
    this program another.
    """
    from baikalctl.database import interface

    if interface.backend(found) != wanted["backend"]:
        return "backend"
    defaults = {"sqlite_file": paths.SQLITE, "mysql_ca_cert": ""}
    keys = [key for key in wanted if key not in ("backend", "mysql")]
    return next((key for key in keys if (found.get(key, defaults.get(key))) != wanted[key]), "")


def _which(section: Mapping[str, Any]) -> tuple[str, str, bool]:
    """Return what makes it this database and no other."""
    from baikalctl.database import interface

    kind = interface.backend(section)
    if kind == "sqlite":
        return kind, str(section.get("sqlite_file") or paths.SQLITE), True
    host = str(section.get(f"{kind}_host", ""))
    return kind, str(section.get(f"{kind}_dbname", "")), host == MYSQL_SOCKET or host.startswith("/")


def merge(
    found: Configuration, system: Mapping[str, object], database: Mapping[str, object], version: str
) -> Configuration:
    """Return ``found`` with the declared keys set, and with what a first installation needs where it lacks.

    ``system`` and ``database`` are the sections as declared. ``configured_version`` is only ever set on a first
    installation: changing it without the migration is how other deployments lose data; and a section that tells of
    another database than the declared one stays, as the data is there.
    """
    first = {
        "configured_version": version,
        "failed_access_message": FAILED_ACCESS,
        "auth_realm": REALM,
        "admin_passwordhash": "",
    }
    merged = {name: dict(section) for name, section in found.items()}
    merged["system"] = {**first, **merged.get("system", {}), **system}
    merged["database"] = _merge_database(merged.get("database", {}), database)
    return merged


def _merge_database(kept: Mapping[str, Any], wanted: Mapping[str, object]) -> dict[str, Any]:
    if differs(kept, wanted):
        return dict(kept)
    own = {"encryption_key": os.urandom(32).hex()}
    return {**own, **kept, **wanted}


def write(configuration: Configuration, path: Path | None = None) -> None:
    """Write baikal.yaml, or such a file in another ``path``, atomically, for its owner alone."""
    confined(lambda: _write(configuration, path or Path(paths.BAIKAL_YAML)))


def _write(configuration: Configuration, path: Path) -> None:
    with replacing(path) as stream:
        yaml.dump(configuration, stream, Dumper=_Quoting, sort_keys=False, allow_unicode=True, encoding="utf-8")


class _Quoting(yaml.SafeDumper):
    """Quotes every value that is text: what PyYAML leaves bare, such as the password 12e5, is a number to Baïkal."""

    def represent_mapping(self, *arguments: Any, **options: Any) -> yaml.MappingNode:  # noqa: ANN401 - PyYAML's own
        """Leave the keys bare, for people who read the file."""
        node: yaml.MappingNode = super().represent_mapping(*arguments, **options)
        for key, _ in node.value:
            key.style = None
        return node


_Quoting.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))

_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
