"""pyinfra's command line: its arguments, and what it reads before it connects."""

from __future__ import annotations

import functools
import traceback
from typing import TYPE_CHECKING, Any

import click
from pyinfra.context import ctx_state

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pyinfra.api.state import State


def arguments() -> Mapping[str, Any]:
    """Return the arguments by name, as click has parsed them (pyinfra_cli/cli.py); nothing outside the command line."""
    context = click.get_current_context(silent=True)
    return context.params if context else {}


def current_state() -> State | None:
    """Return the state of this run, which pyinfra sets before it reads config.py."""
    return ctx_state.get() if ctx_state.isset() else None  # type: ignore[no-untyped-call]


def check_inventory_files(check: Callable[[str, dict[str, Any]], None], fail: Callable[[str], None]) -> None:
    """Call ``check`` with each inventory or group data file and its variables, before pyinfra makes groups of them.

    A syntax error, or an error that the file itself raises, becomes one line for ``fail``; pyinfra would print a
    traceback. pyinfra_cli/inventory.py reads these files with ``exec_file``; if it doesn't, the checks are not made.
    """
    # Imported here because it replaces parts of the standard library by gevent's, also for programs without a run.
    from pyinfra_cli import exceptions  # type: ignore[import-untyped]
    from pyinfra_cli import inventory as inventory_files

    read = inventory_files.exec_file
    if hasattr(read, "__wrapped__"):
        return

    @functools.wraps(read)
    def checked(filename: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - pyinfra's own options
        try:
            variables: dict[str, Any] = read(filename, **options)
        except SyntaxError as error:
            fail(f"{error.filename or filename} line {error.lineno}: {error.msg}")
            raise
        except exceptions.UnexpectedExternalError as error:
            *_, last = traceback.extract_tb(error.exception.__traceback__)
            if last.filename == filename:
                # Of two hosts without a comma between them, Python makes a call.
                hint = "; is a comma missing?" if "is not callable" in str(error.exception) else ""
                fail(f"{filename} line {last.lineno}: {type(error.exception).__name__}: {error.exception}{hint}")
            raise
        check(filename, variables)
        return variables

    inventory_files.exec_file = checked


def check_before_connecting(state: State, check: Callable[[State], None]) -> None:
    """Call ``check`` when pyinfra knows the hosts of the run and hasn't connected to any (api/state.py, init)."""
    initialise = state.init

    def checked(*positional: Any, **named: Any) -> None:  # noqa: ANN401 - pyinfra's own arguments
        initialise(*positional, **named)
        check(state)

    state.init = checked  # type: ignore[method-assign]
