"""``baikalctl certificate``: the certificate that serves is cared for, at any time and as often as somebody likes.

Files that were replaced are taken into service; an authority is asked where that is due, and not more often than
authorities want; the web server rereads what has changed. What can't be done now is told, and tried again.
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
"""How much of its life a certificate serves before another is asked for: of Let's Encrypt's 90 days, 60 (its FAQ)."""
SPREAD = 1 / 30
"""And how much earlier that may be, by chance, so that what was issued together isn't renewed together."""


ROUNDS = 5
COMPLETION_S = 10
"""How long files that somebody is replacing may not fit each other."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to go about it."""

    skip_delay: bool = False
    """Ask the authority although the time for the next attempt hasn't come, within its limits."""
    force: bool = False
    """Ask for a new certificate although the present one is good."""
    quiet: bool = False
    """Say nothing of what has been said already, for whoever looks again and again."""


def maintain(declared: DesiredState, say: Callable[[str], None], options: Options) -> int:
    """Bring what serves to the best there can be now; returns 0, or :data:`NOT_YET` with what is left told."""
    status = 0
    if declared.tls == "files":
        status = _use_files(declared, say, quiet=options.quiet)
    else:
        _use(declared, say)
    if declared.asking and (due(declared, declared.asking) or options.force):
        status = _ask(declared, declared.asking, say, options)
        if _is_outdated(declared):
            return status  # somebody has changed the settings meanwhile, and brought what serves to them
        _use(declared, say)
    refusal = reload_if_changed(declared, say) if declared.served else ""
    if refusal:
        say(refusal)
        status = NOT_YET
    return status


def may_request(declared: DesiredState) -> bool:
    """Tell whether a certificate is due, and ``--now`` may request it at once."""
    asking = declared.asking
    if asking is None or not due(declared, asking):
        return False
    return allowed_at(last_attempts(declared, asking), hurry=True) <= time.time()


def due(declared: DesiredState, asking: Acme) -> str:
    """Return why a certificate must be asked for, or nothing; whether it may be by now is another question."""
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
    """Return when another certificate is to be asked for, in seconds since the epoch."""
    chance = int(hashlib.sha256(pair.text.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return pair.begins + (pair.ends - pair.begins) * (LIFE - SPREAD * chance)


def next_check_s(declared: DesiredState) -> float:
    """Return after how many seconds there may be something to do again: in a container, nothing else tells."""
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
            say(f"{certbot.authority_name(asking)} is being asked already")
            return NOT_YET
        if not (due(declared, asking) or options.force):
            return 0  # whoever held the lock just now has got one
        before = last_attempts(declared, asking)
        until = allowed_at(before, hurry=options.skip_delay or options.force)
        if before and until > time.time():
            if not options.quiet:
                say(_words(asking, before, until))
            return NOT_YET
        say(f"ask {certbot.authority_name(asking)} for a certificate for {', '.join(declared.names)}")
        # Whatever happens now, and even if the disk is full, nobody asks again and again.
        remember(declared, asking, before, UNDER_WAY)
        refusal = certbot.request_certificate(declared, asking)
        if refusal is None:
            Path(paths.ATTEMPTS).unlink(missing_ok=True)
            return 0
        after = remember(declared, asking, before, refusal)
        say(_words(asking, after, after.until))
        return NOT_YET


def _words(asking: Acme, refused: Attempts, until: float) -> str:
    """Return why there is no certificate, what to do, and until when nobody asks again."""
    return f"{refused.reason}; {refused.remedy}; {certbot.authority_name(asking)} is asked again after {utc(until)}"


def _use(declared: DesiredState, say: Callable[[str], None]) -> None:
    with hold_lock(paths.LOCK, say):
        for sentence, act in selection.steps(declared):
            say(sentence)
            act()


def _is_outdated(declared: DesiredState) -> bool:
    """Tell whether the host has been told something else since this began: a deploy was quicker."""
    try:
        return declared.on_this_host() != declared
    except HostError:
        return False


def _use_files(declared: DesiredState, say: Callable[[str], None], *, quiet: bool) -> int:
    """Take the files into service as they are, and again if somebody replaces them meanwhile."""
    status = 0
    for _ in range(ROUNDS):
        before = _state_of_files(declared)
        status = _wait_for_files(declared, say, quiet=quiet)
        _use(declared, say)
        if _state_of_files(declared) == before:
            break
    return status


def _wait_for_files(declared: DesiredState, say: Callable[[str], None], *, quiet: bool) -> int:
    """Give whoever is replacing the files a moment: the key may come a little after its certificate."""
    told = Path(paths.STATE) / "certificate-told"
    deadline = time.monotonic() + COMPLETION_S
    while True:
        try:
            selection.declared_pair(declared)
        except HostError as error:
            wrong = f"{error} {_state_of_files(declared)}"
            if quiet and told.is_file() and told.read_text(encoding="utf-8") == wrong:
                return NOT_YET
            if time.monotonic() > deadline:
                say(f"{error}; until that is fixed, the old one goes on serving")
                told.write_text(wrong, encoding="utf-8")
                return NOT_YET
            time.sleep(0.5)
        else:
            told.unlink(missing_ok=True)
            return 0


def _state_of_files(declared: DesiredState) -> list[tuple[int, int]]:
    """Return what changes when somebody replaces the files."""
    states = []
    for path in (declared.tls_certificate, declared.tls_key):
        with contextlib.suppress(OSError):
            found = Path(path).stat()
            states.append((found.st_ino, found.st_mtime_ns))
    return states
