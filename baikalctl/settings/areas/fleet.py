"""Fleet settings: how a run deploys to many hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from baikalctl.settings.fields import define
from baikalctl.settings.value_types import Batches


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """In which batches a run deploys to many hosts."""

    AREA: ClassVar[str] = "fleet"

    batches: tuple[int | str, ...] = define(
        Batches(),
        (),
        'Number of hosts to deploy to at the same time, such as [1, 10, "25%"]; the last size is repeated. '
        "Empty: all hosts at once.",
        raw_default=[],
        machine_only=True,
    )
