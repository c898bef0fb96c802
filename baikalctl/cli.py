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
    """Run one command; returns the exit status: 0 done or healthy, 1 failed or not healthy, 2 wrong arguments or settings."""
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
        output.print_error("nothing was touched; docs/settings.md, or baikalctl settings, has every setting")
        return 2
    except PermissionError as error:
        hint = "" if os.geteuid() == 0 else " (run it as root, for example with sudo)"
        output.print_error(f"{error}{hint}")
        return 1
    except OSError as error:
        output.print_error(f"{error}; run it again when that is fixed")
        return 1
    except _database_errors() as error:
        output.print_error(_of_database(error))
        return 1


def _database_errors() -> tuple[type[Error], ...]:
    """Return the exceptions of databases, or none if no database module is imported: then none was used."""
    database = sys.modules.get("baikalctl.database.interface")
    return (database.Error,) if database else ()


def _of_database(error: Error) -> str:
    """Return the message for a database error that no command has handled."""
    from baikalctl.baikal import current_database
    from baikalctl.desired.state import DesiredState

    try:
        database = current_database.of(DesiredState.on_this_host())
    except (HostError, OSError):
        return f"the database: {error}; baikalctl check tells more"
    return f"{database}: {error}; {database.remedy(error, 'run again; baikalctl check tells more')}"


def _run(chosen: argparse.Namespace) -> int:
    """Run the command; its modules are imported only now, because start-up time counts."""
    if chosen.verb in ("backup", "database", "import", "restore"):
        _prepare_one_off(chosen)
    if chosen.needs_state and not os.access(paths.DECLARED, os.R_OK):
        _refuse_without_state()
    status: int = importlib.import_module(chosen.module).run(chosen)
    return status


def _refuse_without_state() -> None:
    """Raise :class:`HostError` with the reason why ``declared.json`` can't be read.

    This is before the command's modules are imported: a container that is still starting is probed every few seconds,
    and a host without a deploy may lack the packages that these modules import.
    """
    from baikalctl.desired.state import DesiredState

    DesiredState.on_this_host()


def _prepare_one_off(chosen: argparse.Namespace) -> None:
    """Write the settings from the environment in a one-off container, for commands that need them or if there are any."""
    from baikalctl.host import runtime

    if runtime.in_one_off_container():
        from baikalctl.container import settings_source, start

        start.exit_on_signals()
        needed = chosen.verb == "database" or (chosen.verb == "backup" and chosen.backup != "verify")
        if needed or settings_source.has_settings(os.environ):
            start.prepare_one_off(os.environ)
