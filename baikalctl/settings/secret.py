"""A value that is never printed."""

from __future__ import annotations


class Secret:
    """A password or key that prints as ``[hidden]``; only :meth:`reveal` returns it.

    It is neither a dataclass nor a ``str``, so formatting, logging or serialising it can't leak it.
    """

    __slots__ = ("_plain",)

    def __init__(self, plain: str) -> None:
        """Wrap ``plain``."""
        self._plain = plain

    def reveal(self) -> str:
        """Return the value itself."""
        return self._plain

    def __repr__(self) -> str:
        """Show that there is a value, without the value."""
        return "[hidden]"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        """Two secrets are equal when their values are."""
        return isinstance(other, Secret) and other._plain == self._plain

    def __hash__(self) -> int:
        """Hash by value, so that settings stay hashable."""
        return hash(self._plain)

    def __reduce__(self) -> tuple[object, ...]:
        """Refuse to be pickled, because a pickle contains the value."""
        raise TypeError("a secret cannot be serialised")
