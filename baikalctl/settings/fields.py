"""How a setting is defined: once, for group data, environment, validation and documentation."""

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

    @property
    def confidential(self) -> bool:
        """Whether what was meant as the value may be or hold a secret, so that an error doesn't repeat it."""
        return self.kind.confidential

    def read(self, value: object, environ: Mapping[str, str], *, plain: bool) -> object:
        """Return ``value`` as the kind reads it; raises ``ValueError`` with what is wrong and the remedy.

        ``environ`` and ``plain`` say how secrets are read, as in :meth:`baikalctl.settings.value_types.SecretValue.resolve`.
        """
        if not isinstance(self.kind, SecretValue):
            return self.kind.read(value)
        if value is not None:
            return self.kind.resolve(value, environ, plain=plain)
        if self.kind.optional:
            return None
        message = "is missing; set it"
        raise ValueError(message)


def define(  # noqa: PLR0913 - a definition's parts
    kind: Kind[T], default: T, *, area: str, meaning: str, raw_default: object = None, machine_only: bool = False
) -> T:
    """Return a dataclass field with its definition; ``raw_default`` is what a file would say where that differs."""
    shown = default if raw_default is None else raw_default
    metadata = {"definition": Definition(kind, area, meaning, shown, machine_only)}
    return dataclasses.field(default=default, metadata=metadata)
