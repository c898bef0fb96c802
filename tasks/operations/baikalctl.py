"""What ``baikalctl`` does on a host: apply settings, request a certificate, check health."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra import logger
from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from baikalctl import paths
from baikalctl.errors import NOT_YET
from baikalctl.output import escaped
from tasks.fact_cache import ANSWER_SECONDS, FactCache
from tasks.facts import CheckFact
from tasks.pyinfra_internals import operations

if TYPE_CHECKING:
    from collections.abc import Generator


SERVICE_SECONDS = 15
"""How long a service that was just reloaded may take to answer."""


@operation()
def applied(facts: FactCache) -> Generator[StringCommand, None, None]:
    """Apply the settings to certificate, configuration, database and accounts, if anything differs."""
    if facts.ask(CheckFact)["pending"]:
        yield StringCommand(paths.COMMAND, "apply")


@operation()
def certificate_requested(facts: FactCache) -> Generator[StringCommand, None, None]:
    """Request a certificate if one is due. A refusal is no failure: the server uses its present certificate."""
    if facts.ask(CheckFact).get("due"):  # a baikalctl from before may have no such key
        yield StringCommand(f"{paths.COMMAND} certificate --now || [ $? -eq {NOT_YET} ]")


@operation()
def healthy(facts: FactCache) -> Generator[StringCommand, None, None]:
    """Fail unless ``baikalctl check`` is healthy; its warnings are logged."""
    result = facts.ask(CheckFact, wait_s=SERVICE_SECONDS)
    if not result["healthy"] and not facts.changes() and not operations.has_failed(host):
        # The kept answer was asked without a wait, and another process may have been restarting a service.
        result = host.get_fact(CheckFact, wait_s=SERVICE_SECONDS, _timeout=ANSWER_SECONDS)
    if host.state.is_executing:
        facts.checked = (result, facts.changes())
        for finding in result["findings"]:
            if finding["status"] == "warning":
                text = escaped(f"{finding['subject']}: {finding['message']}; {finding['remedy']}")
                logger.warning(f"{host.print_prefix}{text}")
    if not result["healthy"]:
        # A service may have failed to apply its configuration, for example because a port is in use: the next run reloads it.
        yield StringCommand(f"{paths.COMMAND} check || {{ rm -f {paths.STAMPS}/*; false; }}", _timeout=ANSWER_SECONDS)
