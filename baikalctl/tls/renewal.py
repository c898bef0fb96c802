"""``baikalctl certificate``: keep the served certificate up to date. It can run at any time and as often as needed.

Files that the operator has replaced are used. An authority is asked when a certificate is due, but not more often than
authorities allow. nginx is reloaded if a file has changed. Failures are reported and tried again later.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.errors import NOT_YET, HostError
from baikalctl.host.lock import hold_lock
from baikalctl.output import counted, utc
from baikalctl.tls import certbot, selection
from baikalctl.tls.attempts import HOUR_S, UNDER_WAY, Attempts, allowed_at, last_attempts, remember
from baikalctl.tls.nginx_reload import reload_if_changed

if TYPE_CHECKING:
    from collections.abc import Callable

    from baikalctl.desired.state import Acme, DesiredState
    from baikalctl.tls.certificate import Pair


LIFE = 2 / 3
"""A new certificate is requested after this part of the lifetime: 60 of Let's Encrypt's 90 days (its FAQ)."""
SPREAD = 1 / 30
"""At random up to this part earlier, so that certificates of the same day aren't all renewed together."""

ROUNDS = 5
COMPLETION_S = 10
"""How long certificate and key may not match while the operator is replacing them."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``baikalctl certificate``."""

    skip_delay: bool = False
    """Ask the authority before the time of the next attempt, within its limits."""
    force: bool = False
    """Request a new certificate although the present one is good."""
    quiet: bool = False
    """Don't repeat messages, for a timer that runs every few minutes."""


def maintain(declared: DesiredState, say: Callable[[str], None], options: Options) -> int:
    """Serve the best certificate that is available now; returns 0, or :data:`NOT_YET` after reporting what failed."""
    status = 0
    if declared.tls == "files":
        status = _use_files(declared, say, quiet=options.quiet)
    else:
        _use(declared, say)
    if declared.asking and (due(declared, declared.asking) or options.force):
        status = _ask(declared, declared.asking, say, options)
        if _is_outdated(declared):
            return status  # a deploy has changed the settings and the served certificate during the request
        _use(declared, say)
    refusal = reload_if_changed(declared, say) if declared.served else ""
    if refusal:
        say(refusal)
        status = NOT_YET
    return status


def may_request(declared: DesiredState) -> bool:
    """Return whether a certificate is due, and ``--now`` may request it at once."""
    asking = declared.asking
    if asking is None or not due(declared, asking):
        return False
    return allowed_at(last_attempts(declared, asking), hurry=True) <= time.time()


def due(declared: DesiredState, asking: Acme) -> str:
    """Return why a new certificate is needed, or an empty text. :func:`may_request` says whether it may be requested yet."""
    path = selection.issued_path(declared)
    try:
        pair = selection.read_pair(declared, path)
    except HostError:
        return f"{certbot.authority_name(asking)} has issued none yet"
    if not path.read_text(encoding="utf-8", errors="replace").startswith(certbot.first_line(declared, asking)):
        return "it was issued for other settings"
    fault = pair.fault()
    if fault and time.time() >= pair.begins:
        return fault
    return f"it has {counted(pair.days_left, 'day')} left" if time.time() >= renewal_time(pair) else ""


def renewal_time(pair: Pair) -> float:
    """Return when to request the next certificate, in seconds since the epoch."""
    random = int(hashlib.sha256(pair.text.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return pair.begins + (pair.ends - pair.begins) * (LIFE - SPREAD * random)


def next_check_s(declared: DesiredState) -> float:
    """Return after how many seconds a container has to check again; containers have no timer."""
    if declared.tls == "files":
        return 60
    if declared.asking is None:
        return HOUR_S
    before = last_attempts(declared, declared.asking)
    if before and due(declared, declared.asking):
        return min(HOUR_S, max(10.0, before.until - time.time()))
    try:
        left = renewal_time(selection.read_pair(declared, selection.issued_path(declared))) - time.time()
    except HostError:
        return HOUR_S
    return min(HOUR_S, max(10.0, left))


def _ask(declared: DesiredState, asking: Acme, say: Callable[[str], None], options: Options) -> int:
    path = Path(paths.ACME) / "lock"
    path.touch(mode=0o600)
    with path.open("a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is already asking {certbot.authority_name(asking)}")
            return NOT_YET
        if not (due(declared, asking) or options.force):
            return 0  # the process that held the lock has got one
        before = last_attempts(declared, asking)
        until = allowed_at(before, hurry=options.skip_delay or options.force)
        if before and until > time.time():
            if not options.quiet:
                say(_words(before, until))
            return NOT_YET
        say(f"request a certificate from {certbot.authority_name(asking)} for {', '.join(declared.names)}")
        # Stored first: if this process is killed or the disk is full, requests must not repeat without a delay.
        remember(declared, asking, before, UNDER_WAY)
        refusal = certbot.request_certificate(declared, asking)
        if refusal is None:
            Path(paths.ATTEMPTS).unlink(missing_ok=True)
            return 0
        after = remember(declared, asking, before, refusal)
        say(_words(after, after.until))
        return NOT_YET


def _words(refused: Attempts, until: float) -> str:
    """Return why there is no certificate, what to do, and when the next request may be sent."""
    return f"{refused.reason}; {refused.remedy}; the next request is after {utc(until)}"


def _use(declared: DesiredState, say: Callable[[str], None]) -> None:
    with hold_lock(paths.LOCK, say):
        for sentence, act in selection.steps(declared):
            say(sentence)
            act()


def _is_outdated(declared: DesiredState) -> bool:
    """Return whether a deploy has changed the settings since this process started."""
    try:
        return declared.on_this_host() != declared
    except HostError:
        return False


def _use_files(declared: DesiredState, say: Callable[[str], None], *, quiet: bool) -> int:
    """Use the operator's files; repeat if they are replaced at the same time."""
    status = 0
    for _ in range(ROUNDS):
        before = _state_of_files(declared)
        status = _wait_for_files(declared, say, quiet=quiet)
        _use(declared, say)
        if _state_of_files(declared) == before:
            break
    return status


def _wait_for_files(declared: DesiredState, say: Callable[[str], None], *, quiet: bool) -> int:
    """Wait until certificate and key match: the operator may copy the key a little later."""
    reported = Path(paths.STATE) / "certificate-told"
    deadline = time.monotonic() + COMPLETION_S
    while True:
        try:
            selection.declared_pair(declared)
        except HostError as error:
            wrong = f"{error} {_state_of_files(declared)}"
            if quiet and reported.is_file() and reported.read_text(encoding="utf-8") == wrong:
                return NOT_YET
            if time.monotonic() > deadline:
                say(f"{error}; until that is fixed, the old certificate stays in use")
                reported.write_text(wrong, encoding="utf-8")
                return NOT_YET
            time.sleep(0.5)
        else:
            reported.unlink(missing_ok=True)
            return 0


def _state_of_files(declared: DesiredState) -> list[tuple[int, int]]:
    """Return a state that changes when the files are replaced."""
    states = []
    for path in (declared.tls_certificate, declared.tls_key):
        with contextlib.suppress(OSError):
            state = Path(path).stat()
            states.append((state.st_ino, state.st_mtime_ns))
    return states
