"""The base class of everything that the lab creates in the engine and removes at the end of a block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self


class Removable(ABC):
    """A context manager that removes its object at the end of the block."""

    @abstractmethod
    def remove(self) -> None:
        """Remove the object with everything that belongs to it; a second call does nothing."""

    def __enter__(self) -> Self:
        """Return the object; it is removed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the object."""
        self.remove()
