"""The command line of ``baikalctl``."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

from baikalctl import output
from baikalctl.arguments import parser
from baikalctl.desired.state import DesiredState
from baikalctl.errors import HostError, SettingsError

if TYPE_CHECKING:
    import argparse

    from baikalctl.database.interface import Error


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0 done or healthy, 1 it isn't, 2 the call was wrong."""
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
    """Return what a database may have raised: nothing where none was in use, and none is imported to know that."""
    database = sys.modules.get("baikalctl.database.interface")
    return (database.Error,) if database else ()


def _of_database(error: Error) -> str:
    """Return what to say of an error that nobody has said more of."""
    from baikalctl.baikal import current_database

    try:
        database = current_database.of(DesiredState.on_this_host())
    except (HostError, OSError):
        return f"the database: {error}; baikalctl check tells more"
    return f"{database}: {error}; {database.remedy(error, 'run again; baikalctl check tells more')}"


def _run(chosen: argparse.Namespace) -> int:
    """Run the command; its modules are imported only now, because start-up time counts."""
    if chosen.verb in ("backup", "database", "import", "restore"):
        _prepare_one_off(chosen)
    status: int = importlib.import_module(chosen.module).run(chosen)
    return status


def _prepare_one_off(chosen: argparse.Namespace) -> None:
    """Where this is all that a container is for, have it know what its environment declares: some verbs can do without."""
    from baikalctl.host import runtime

    if runtime.in_one_off_container():
        from baikalctl.container import settings_source, start

        start.exit_on_signals()
        needed = chosen.verb == "database" or (chosen.verb == "backup" and chosen.backup != "verify")
        if needed or settings_source.has_settings(os.environ):
            start.prepare_one_off(os.environ)
