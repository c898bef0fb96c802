"""systemd services that run on their present configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation

from tasks.facts import ServicesFact, read_digest, stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from baikalctl.rendering.model import Service
    from tasks.fact_cache import FactCache


REPLACED = """
for attempt in $(seq 100); do
    busy=
    for pid in $old; do
        [ ! -e /proc/$pid ] || grep -aqs 'shutting down' /proc/$pid/cmdline || busy=yes
    done
    [ -n "$busy" ] || break
    sleep 0.05
done
""".strip()
"""Waits up to 5 seconds until the processes in ``$old`` take no more requests. For systemd a reload is over when the main
process has got the signal; for a moment its old workers still answer with the old configuration."""


@operation()
def running(
    services: Callable[[], tuple[Service, ...]], names: tuple[str, ...], facts: FactCache
) -> Generator[StringCommand, None, None]:
    """Have those of the host's ``services`` with these ``names`` running, enabled, and up to date with their files.

    That a service has read its files is a state, kept with a stamp. If a run died between writing a file and reloading,
    or a check failed, the next run tries again.
    """
    every = services()
    chosen = [service for service in every if service.name in names]
    if not chosen:
        return
    states = facts.ask(ServicesFact, services=every)
    acted = False
    for service in chosen:
        state = states.get(service.name)
        if state is None or not state.enabled:
            acted = True
            yield StringCommand(f"systemctl enable --quiet {service.unit}")
        if state is not None and state.running and state.current:
            continue
        acted = True
        reread = "reload-or-restart" if service.reloads else "restart"
        action = "start" if state is not None and state.current else reread
        unit, mark = service.unit, stamp(service)
        explained = f"systemctl {action} {unit} || {{ journalctl --no-pager --lines 5 --unit {unit} >&2; false; }}"
        yield StringCommand(
            f"digest=$({read_digest(service)}) && {' '.join(service.check)}"
            f" && {{ systemctl reset-failed {unit} 2>/dev/null || true; }}"
            f" && main=$(systemctl show --property=MainPID --value {unit})"
            f" && old=$(cat /proc/$main/task/$main/children 2>/dev/null || true) && {{ {explained}; }} && {{ {REPLACED}; }}"
            f" && echo $digest > {mark}.new && mv {mark}.new {mark}"
        )
    if acted:
        facts.keep(ServicesFact)  # the other services are as they were
