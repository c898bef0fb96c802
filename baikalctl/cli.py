"""The command line of ``baikalctl``."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

from baikalctl import output, paths
from baikalctl.arguments import parser
from baikalctl.errors import HostError, SettingsError

if TYPE_CHECKING:
    import argparse

    from baikalctl.database.interface import Error


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status.

    0: success or healthy. 1: failure or not healthy. 2: wrong arguments or settings.
    """
    sys.excepthook = output.traceback
    chosen = parser().parse_args(arguments)
    try:
        return _run(chosen)
    except HostError as error:
        output.print_error(str(error))
        return 1
    except SettingsError as error:
        for fault in error.faults:
            output.print_error(str(fault))
        output.print_error("nothing was changed; docs/settings.md and baikalctl settings describe all settings")
        return 2
    except PermissionError as error:
        hint = "" if os.geteuid() == 0 else " (run it as root, for example with sudo)"
        output.print_error(f"{error}{hint}")
        return 1
    except OSError as error:
        output.print_error(f"{error}; fix this and run again")
        return 1
    except _database_errors() as error:
        output.print_error(_of_database(error))
        return 1


def _database_errors() -> tuple[type[Error], ...]:
    """Return the exceptions of databases; none if no database module was imported."""
    database = sys.modules.get("baikalctl.database.interface")
    return (database.Error,) if database else ()


def _of_database(error: Error) -> str:
    """Return the message for a database error that no command handled."""
    from baikalctl.baikal import current_database
    from baikalctl.desired.state import DesiredState

    try:
        database = current_database.of(DesiredState.on_this_host())
    except (HostError, OSError):
        return f"the database: {error}; baikalctl check has details"
    return f"{database}: {error}; {database.remedy(error, 'run again; baikalctl check has details')}"


def _run(chosen: argparse.Namespace) -> int:
    """Run the command. Its modules are imported only now, to keep the start of each command fast."""
    if chosen.verb in ("backup", "database", "import", "restore"):
        _prepare_one_off(chosen)
    if chosen.needs_state and not os.access(paths.DECLARED, os.R_OK):
        _refuse_without_state()
    status: int = importlib.import_module(chosen.module).run(chosen)
    return status


def _refuse_without_state() -> None:
    """Raise :class:`HostError` with the reason why ``declared.json`` can't be read.

    This runs before the command's modules are imported: a starting container is probed every few seconds, and a host
    without a deploy may lack the packages that these modules import.
    """
    from baikalctl.desired.state import DesiredState

    DesiredState.on_this_host()


def _prepare_one_off(chosen: argparse.Namespace) -> None:
    """In a one-off container, write the settings from the environment, if the command needs them or if there are any."""
    from baikalctl.host import runtime

    if runtime.in_one_off_container():
        from baikalctl.container import settings_source, start

        start.exit_on_signals()
        needed = chosen.verb == "database" or (chosen.verb == "backup" and chosen.backup != "verify")
        if needed or settings_source.has_settings(os.environ):
            start.prepare_one_off(os.environ)
