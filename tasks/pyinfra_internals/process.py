"""pyinfra's own process: its output, its end, and its call stack."""

from __future__ import annotations

import functools
import signal
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


SIGNALLED = 128
"""A shell adds this to the number of the signal that ended a command, for its exit status."""


def read_call_stack_cheaply() -> None:
    """Have pyinfra find the line that calls an operation without reading source files: 0.1 ms instead of 1 ms each.

    api/util.py uses inspect's ``stack`` and ``getframeinfo``, and needs only file name and line. If it needs more,
    operations fail at once, on every host.
    """

    def stack() -> list[tuple[FrameType]]:
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - as inspect.stack does
        frames = []
        while frame is not None:
            frames.append((frame,))
            frame = frame.f_back
        return frames

    def line(frame: FrameType) -> SimpleNamespace:
        return SimpleNamespace(filename=frame.f_code.co_filename, lineno=frame.f_lineno)

    util.stack = stack  # type: ignore[assignment, attr-defined]
    util.getframeinfo = line  # type: ignore[assignment, attr-defined]


def exit_on_signals(state: State) -> None:
    """End the run with exit status 130 on SIGINT (Ctrl-C), and 143 on SIGTERM; pyinfra's own for Ctrl-C is 0."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, functools.partial(_stop, state))


def _stop(state: State, number: int, _: FrameType | None) -> None:
    """End the run because of a signal.

    A signal may arrive while any greenlet runs. SystemExit in one of Paramiko's would end that greenlet alone, and the
    run would wait for it forever. So it is raised in the main greenlet. The others are ended, because pyinfra needs their
    pool (api/state.py, pool) to disconnect; there is none before pyinfra has read the inventory.
    """
    logger.error(f"--> Stopped by {signal.Signals(number).name}; run again to continue")
    if hasattr(state, "pool"):
        state.pool.kill(block=False)
    gevent.get_hub().handle_system_error(SystemExit, SystemExit(SIGNALLED + number))


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
