"""The web server rereads what has changed, if it can: what it doesn't accept is told, and the old goes on serving."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import paths
from baikalctl.baikal.health import served_certificate
from baikalctl.host.atomic_write import write
from baikalctl.host.runtime import in_container
from baikalctl.tls import selection

if TYPE_CHECKING:
    from collections.abc import Callable

    from baikalctl.desired.state import DesiredState


LIMIT_S = 60
TAKEN_S = 10
"""How long a reload may take until new connections get the new certificate."""


def reload_if_changed(declared: DesiredState, say: Callable[[str], None]) -> str:
    """Have nginx reread its files if they differ from those it has read; return why it can't, or nothing.

    Where it doesn't run there is nothing to do: it reads them when it starts.
    """
    contained = in_container()
    unit = ["s6-svstat", "-o", "ready", f"{paths.SERVICES}/nginx"] if contained else ["systemctl", "is-active", "nginx"]
    if _run(unit).stdout.strip() not in ("true", "active"):
        return ""
    digest, stamp = _digest(declared), _stamp()
    if stamp.is_file() and stamp.read_text(encoding="ascii").strip() == digest:
        return ""
    check = ["/usr/sbin/nginx", "-t", "-q"]
    checked = _run([*check, "-e", "stderr", "-c", f"{paths.RUN}/etc/nginx/nginx.conf"] if contained else check)
    if checked.returncode:
        return f"nginx refuses its configuration, so it goes on with the old certificate: {checked.stderr.strip()}"
    say("have nginx reread its files")
    done = _run(["s6-svc", "-h", f"{paths.SERVICES}/nginx"] if contained else ["systemctl", "reload", "nginx"])
    if done.returncode or not is_shown(declared, TAKEN_S):
        return f"nginx doesn't show the new certificate; its log tells why {done.stderr.strip()}".rstrip()
    remember(declared, digest)
    return ""


def remember(declared: DesiredState, digest: str = "") -> None:
    """Have it that nginx has read its files as they are, or as ``digest`` says."""
    write(_stamp(), f"{digest or _digest(declared)}\n")


def is_stale(declared: DesiredState) -> bool:
    """Tell whether nginx shows another certificate than it would after a reload; raises OSError if it can't be asked."""
    text = selection.serving_pair(declared).read_text(encoding="utf-8", errors="replace")
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    leaf = begin + text.partition(begin)[2].partition(end)[0] + end
    return served_certificate(declared) != ssl.PEM_cert_to_DER_cert(leaf)


def is_shown(declared: DesiredState, limit_s: float) -> bool:
    """Tell whether nginx shows the certificate that it should, within so many seconds."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            if not is_stale(declared):
                return True
        except OSError:
            pass
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)


def _digest(declared: DesiredState) -> str:
    """Return the checksum of all that nginx reads of ours, as the deploy works it out (tasks/facts.py)."""
    files = declared.read_by_nginx(paths.RUN if in_container() else "")
    contents = (Path(path).read_bytes() for path in files if Path(path).is_file())
    return hashlib.sha256(b"".join(contents)).hexdigest()


def _stamp() -> Path:
    return Path(f"{paths.RUN}/nginx.read" if in_container() else f"{paths.STAMPS}/nginx")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
