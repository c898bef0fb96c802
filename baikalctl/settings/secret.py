"""A value that must not be shown."""

from __future__ import annotations


class Secret:
    """A password or key that prints as ``[hidden]``; only :meth:`reveal` gives it away.

    Not a dataclass and not a ``str``: nothing that formats, logs or serialises it can leak it by accident.
    """

    __slots__ = ("_plain",)

    def __init__(self, plain: str) -> None:
        """Wrap ``plain``."""
        self._plain = plain

    def reveal(self) -> str:
        """Return the value itself, for the one place that needs it."""
        return self._plain

    def __repr__(self) -> str:
        """Show that there is a value, not which."""
        return "[hidden]"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        """Two secrets are equal when their values are."""
        return isinstance(other, Secret) and other._plain == self._plain

    def __hash__(self) -> int:
        """Hash by value, so that settings stay hashable."""
        return hash(self._plain)

    def __reduce__(self) -> tuple[object, ...]:
        """Refuse to be pickled: that would write the value somewhere."""
        message = "a secret cannot be serialised"
        raise TypeError(message)
