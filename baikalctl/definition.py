"""How a setting is defined: once, for group data, environment, validation and documentation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

from baikalctl.kinds import Kind, SecretValue

T = TypeVar("T")


@dataclass(frozen=True)
class Definition:
    """What the documentation and the errors say of one setting; ``machine_only`` ones mean nothing in a container."""

    kind: Kind[Any]
    area: str
    meaning: str
    raw_default: object
    machine_only: bool

    @property
    def secret(self) -> bool:
        """Whether the value must never be shown."""
        return isinstance(self.kind, SecretValue)


def define(  # noqa: PLR0913 - a definition's parts
    kind: Kind[T], default: T, *, area: str, meaning: str, raw_default: object = None, machine_only: bool = False
) -> T:
    """Return a dataclass field with its definition; ``raw_default`` is what a file would say where that differs."""
    shown = default if raw_default is None else raw_default
    metadata = {"definition": Definition(kind, area, meaning, shown, machine_only)}
    return dataclasses.field(default=default, metadata=metadata)
