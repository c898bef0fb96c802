"""Which database this host uses: the declared one, and baikal.yaml is only compared with it.

baikal.yaml belongs to PHP's account and to the admin pages. Were it believed, they could send root's connections
anywhere.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.baikal import config
from baikalctl.database import interface, registry
from baikalctl.errors import HostError
from baikalctl.host.boundary import confined_while

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from baikalctl.baikal.config import Configuration
    from baikalctl.database.interface import Database
    from baikalctl.desired.state import DesiredState


def section(declared: DesiredState) -> dict[str, object]:
    """Return the section ``database`` of baikal.yaml as it is declared, with the password, which root alone can read."""
    return config.database_section(declared.database, declared.database.reveal())


def of(declared: DesiredState) -> Database:
    """Return the declared database, wherever the data is."""
    return registry.of(section(declared))


@contextlib.contextmanager
def exclusive(database: Database, name: str) -> Iterator[None]:
    """Hold the lock ``name`` of a database that several machines share; do nothing for a database of this machine alone.

    Waits up to an hour for another machine, and then raises :class:`HostError`.
    """

    def hold(held: Callable[[], None]) -> None:
        with database.exclusive(name):
            held()

    with confined_while(hold) if database.shared else contextlib.nullcontext():
        yield


def compared(wanted: Mapping[str, object], found: Configuration | None = None) -> Database:
    """Return the database that the declared section ``wanted`` names.

    Raises :class:`HostError` where baikal.yaml (``found``, or the host's) names another. Where the yaml is damaged and the
    data is a file, that is the database: so a look at one hides nothing of the other.
    """
    if found is None:
        try:
            found = config.read()
        except HostError:
            if wanted["backend"] != "sqlite" or not Path(paths.SQLITE).is_file():
                raise
            found = {}
    other = found.get("database")
    if (
        other
        and interface.backend(other) == "sqlite" != wanted["backend"]
        and not config.deviation(other, {"backend": "sqlite", "sqlite_file": paths.SQLITE})
    ):
        return registry.of(other)  # this host's own file, from which the data is still to be moved
    if other and (key := config.deviation(other, wanted)):
        message = config.differs(other, wanted)
        if message:
            message += "; run baikalctl database move, or declare the database that has the data"
        else:
            message = (
                f"{paths.BAIKAL_YAML} has another database.{key} than is declared; run baikalctl apply, which sets it"
            )
        raise HostError(message)
    return registry.of(wanted)
