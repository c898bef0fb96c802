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
from baikalctl.declared import REALM
from baikalctl.faults import HostError

if TYPE_CHECKING:
    from collections.abc import Mapping

FAILED_ACCESS = "user %u authentication failure for Baikal"
"""Baïkal logs failed log-ins only if this key is there."""

Configuration = dict[str, dict[str, Any]]


def read() -> Configuration:
    """Return the sections of baikal.yaml, or nothing where there is no file; raises :class:`HostError` if it's broken."""
    try:
        found = yaml.load(Path(paths.BAIKAL_YAML).read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506 - a safe one
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(section, dict) for section in found.values()):
        message = f"{paths.BAIKAL_YAML} can't be understood; restore it from a backup, or mend it by hand"
        raise HostError(message)
    return found


def merge(found: Configuration, system: Mapping[str, object], version: str) -> Configuration:
    """Return ``found`` with the declared ``system`` keys set, and with what a first installation needs where it lacks.

    ``configured_version`` is only ever set on a first installation: changing it without the migration is how other
    deployments lose data.
    """
    first = {
        "configured_version": version,
        "failed_access_message": FAILED_ACCESS,
        "auth_realm": REALM,
        "admin_passwordhash": "",
    }
    database = {
        "backend": "sqlite",
        "sqlite_file": paths.SQLITE,
        # The name by which older releases said the same.
        "mysql": False,
        "encryption_key": os.urandom(32).hex(),
    }
    merged = {name: dict(section) for name, section in found.items()}
    merged["system"] = {**first, **merged.get("system", {}), **system}
    merged["database"] = {**database, **merged.get("database", {})}
    return merged


def write(configuration: Configuration, place: Path | None = None) -> None:
    """Write baikal.yaml, or such a file in another ``place``, atomically, for its owner alone; to be called as that owner."""
    place = place or Path(paths.BAIKAL_YAML)
    beside = place.with_name(place.name + ".new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        yaml.dump(configuration, stream, Dumper=_Quoting, sort_keys=False, allow_unicode=True)
        stream.flush()
        os.fsync(descriptor)
    beside.replace(place)


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
