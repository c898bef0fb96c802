"""Failed requests for a certificate, and when the authority may be asked again."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.host.atomic_write import write
from baikalctl.tls import acme_errors, certbot
from baikalctl.tls.acme_errors import Refusal
from baikalctl.tls.certificate import DAY_S

if TYPE_CHECKING:
    from baikalctl.desired.state import Acme, DesiredState

DELAYS_S = (600, 6000, 86400)
"""Delays after the first failure, the second, and all others (https://letsencrypt.org/docs/integration-guide/, "Retrying
failures": exponential, up to once a day)."""
HOUR_S = 3600
PATIENCE = 4
"""How many failures per hour stop ``--now`` and ``--renew``: the authority allows five for each name
(https://letsencrypt.org/docs/rate-limits/, "Authorization Failures")."""
LASTING_PATIENCE = 10
"""How many per day, because an operator's own timer may run the deploy, which uses ``--now``, again and again."""
UNDER_WAY = Refusal(reason="a request is running or was interrupted", remedy="wait")


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """The failures since the last success, as stored on the host."""

    wanted: str
    """Fingerprint of the request: failures of another request don't count."""
    times: tuple[float, ...]
    reason: str
    remedy: str
    until: float
    """The earliest time for the next request."""
    limited: bool
    """Whether the authority itself has set that time."""


def last_attempts(declared: DesiredState, asking: Acme) -> Attempts | None:
    """Return the failures of the request that is declared now; None if there are none."""
    try:
        fields = json.loads(Path(paths.ATTEMPTS).read_text(encoding="utf-8"))
        attempts = Attempts(**dict(fields, times=tuple(fields["times"])))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
    # Times in the future come from a clock that was wrong; they must not block requests for years.
    now = time.time()
    possible = attempts.times[-1:] <= (now,) and attempts.until <= now + acme_errors.LONGEST_S
    return attempts if possible and attempts.wanted == _fingerprint(declared, asking) else None


def allowed_at(before: Attempts | None, *, hurry: bool) -> float:
    """Return when the authority may be asked, in seconds since the epoch; ``hurry`` skips our delay, not its limits."""
    if before is None:
        return 0
    if not hurry or before.limited:
        return before.until
    limits = ((PATIENCE, HOUR_S), (LASTING_PATIENCE, DAY_S))
    return max((before.times[-count] + period for count, period in limits if len(before.times) >= count), default=0)


def remember(declared: DesiredState, asking: Acme, before: Attempts | None, refusal: Refusal) -> Attempts:
    """Add ``refusal`` to the attempts ``before``, store them, and return all."""
    now, times = time.time(), before.times if before else ()
    if refusal is not UNDER_WAY:
        times = (*times, now)[-LASTING_PATIENCE:]
    after = Attempts(
        wanted=_fingerprint(declared, asking),
        times=times,
        reason=refusal.reason,
        remedy=refusal.remedy,
        until=now + max(refusal.wait_s, DELAYS_S[min(max(len(times), 1), len(DELAYS_S)) - 1]),
        limited=bool(refusal.wait_s),
    )
    write(Path(paths.ATTEMPTS), json.dumps(asdict(after), ensure_ascii=False, indent=1) + "\n")
    return after


def _fingerprint(declared: DesiredState, asking: Acme) -> str:
    """Return a fingerprint of everything that a request depends on, except the e-mail address."""
    files = sorted(Path(asking.configuration).parent.glob("*.ini"))
    lines = [line for path in files for line in path.read_bytes().splitlines() if not line.startswith(b"email")]
    return hashlib.sha256(b"\n".join([certbot.first_line(declared, asking).encode(), *lines])).hexdigest()
