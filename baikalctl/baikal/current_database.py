"""The database that this host uses: always the declared one; baikal.yaml is only compared with it.

PHP's account and the admin pages can change baikal.yaml. If it were trusted, they could redirect root's connections to any
server.
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
    """Return the declared section ``database`` of baikal.yaml, with the password, which only root can read."""
    return config.database_section(declared.database, declared.database.reveal())


def of(declared: DesiredState) -> Database:
    """Return the declared database, even if the data is still in another one."""
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


def compared(wanted: Mapping[str, object], current: Configuration | None = None) -> Database:
    """Return the database of the declared section ``wanted``.

    Raises :class:`HostError` if baikal.yaml (``current``; by default the host's) names another one. If the yaml is damaged
    and the data is a file, returns that file, so that a check can report problems of both.
    """
    if current is None:
        try:
            current = config.read()
        except HostError:
            if wanted["backend"] != "sqlite" or not Path(paths.SQLITE).is_file():
                raise
            current = {}
    other = current.get("database")
    if (
        other
        and interface.backend(other) == "sqlite" != wanted["backend"]
        and not config.deviation(other, {"backend": "sqlite", "sqlite_file": paths.SQLITE})
    ):
        return registry.of(other)  # this host's own file; the data has yet to be moved from it
    if other and (key := config.deviation(other, wanted)):
        message = config.differs(other, wanted)
        if message:
            message += "; run baikalctl database move, or set the database that has the data"
        else:
            message = (
                f"database.{key} in {paths.BAIKAL_YAML} differs from the settings; run baikalctl apply, which sets it"
            )
        raise HostError(message)
    return registry.of(wanted)
