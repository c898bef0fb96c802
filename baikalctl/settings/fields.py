"""The definition of a setting, used for group data, environment variables, validation and documentation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from baikalctl.settings.value_types import Kind, SecretValue

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


@dataclass(frozen=True)
class Definition:
    """One setting; a container has no setting that is ``machine_only``."""

    kind: Kind[Any]
    meaning: str
    raw_default: object
    machine_only: bool
    area: str = ""
    """The heading in docs/settings.md."""

    @property
    def secret(self) -> bool:
        """Whether the value must never be shown."""
        return isinstance(self.kind, SecretValue)

    @property
    def confidential(self) -> bool:
        """Whether the value may contain a secret: then errors don't repeat it."""
        return self.kind.confidential

    def read(self, value: object, environ: Mapping[str, str], *, plain: bool) -> object:
        """Return ``value`` as the kind reads it; raises ``ValueError`` with the problem and the remedy.

        ``environ`` and ``plain`` are for secrets, as in :meth:`baikalctl.settings.value_types.SecretValue.resolve`.
        """
        if not isinstance(self.kind, SecretValue):
            return self.kind.read(value)
        if value is not None:
            return self.kind.resolve(value, environ, plain=plain)
        if self.kind.optional:
            return None
        raise ValueError("is missing; set it")


def define(kind: Kind[T], default: T, meaning: str, *, raw_default: object = None, machine_only: bool = False) -> T:
    """Return a dataclass field with its definition; ``raw_default`` is how a file writes the default if that differs."""
    shown = default if raw_default is None else raw_default
    return dataclasses.field(default=default, metadata={"definition": Definition(kind, meaning, shown, machine_only)})
