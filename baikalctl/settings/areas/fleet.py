"""The fleet: how a run goes through many hosts."""

from __future__ import annotations

from dataclasses import dataclass

from baikalctl.settings.fields import define
from baikalctl.settings.value_types import Batches


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """How hosts are deployed to, where there are several."""

    batches: tuple[int | str, ...] = define(
        Batches(),
        (),
        area="fleet",
        meaning=(
            'How many hosts are deployed to at a time, such as [1, 10, "25%"]; the last size is repeated. '
            "Empty: all at once."
        ),
        raw_default=[],
        machine_only=True,
    )
