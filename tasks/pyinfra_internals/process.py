"""pyinfra's own process: its output, its end, and its call stack."""

from __future__ import annotations

import sys
from types import FrameType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import click
import gevent
import pyinfra
from pyinfra import logger
from pyinfra.api import util
from pyinfra.api.output import set_echo

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from pyinfra.api.state import State


def read_call_stack_cheaply() -> None:
    """Have pyinfra find the line that calls an operation without reading source files: 0.1 ms instead of 1 ms each.

    api/util.py uses inspect's ``stack`` and ``getframeinfo``, of which it needs file name and line alone. If it needs
    more, operations fail at once, on every host.
    """

    def frames() -> list[tuple[FrameType]]:
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - as inspect.stack does
        found = []
        while frame is not None:
            found.append((frame,))
            frame = frame.f_back
        return found

    def line(frame: FrameType) -> SimpleNamespace:
        return SimpleNamespace(filename=frame.f_code.co_filename, lineno=frame.f_lineno)

    util.stack = frames  # type: ignore[assignment, attr-defined]
    util.getframeinfo = line  # type: ignore[assignment, attr-defined]


def stop(state: State, status: int) -> None:
    """End the run with an exit status.

    A signal may come while any greenlet is at work. Raised in one of Paramiko's, SystemExit would end that one alone, and
    the run would wait for it for ever; so it is raised in the main one. Those at work are ended, because pyinfra needs
    their pool (api/state.py, pool) to disconnect.
    """
    state.pool.kill(block=False)
    gevent.get_hub().handle_system_error(SystemExit, SystemExit(status))


def is_command_line() -> bool:
    """Tell whether this is pyinfra's own command, and not a program that uses it as a library."""
    return bool(pyinfra.is_cli)


def filter_output(escape: logging.Filter, text: Callable[[str], str]) -> None:
    """Pass all of pyinfra's output through ``escape`` and ``text``: its log, and what it echoes (api/output.py).

    More than once is the same as once.
    """
    if not any(type(each) is type(escape) for each in logger.filters):
        logger.addFilter(escape)

    def echo(message: object = None, **options: Any) -> None:  # noqa: ANN401 - click's own
        click.echo(text(message) if isinstance(message, str) else message, **options)

    set_echo(echo)
