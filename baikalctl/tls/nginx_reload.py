"""Reload nginx if its files have changed. If nginx rejects them, the old ones stay in use and the reason is returned."""

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
"""How long it may take after a reload until new connections get the new certificate."""


def reload_if_changed(declared: DesiredState, say: Callable[[str], None]) -> str:
    """Reload nginx if its files differ from those it has read; return why that failed, or an empty text.

    If nginx doesn't run, nothing is done: it reads its files when it starts.
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
        return f"nginx refuses its configuration, so the old certificate stays in use: {checked.stderr.strip()}"
    say("reload nginx")
    done = _run(["s6-svc", "-h", f"{paths.SERVICES}/nginx"] if contained else ["systemctl", "reload", "nginx"])
    if done.returncode or not is_shown(declared, TAKEN_S):
        return f"nginx doesn't serve the new certificate; see its log {done.stderr.strip()}".rstrip()
    remember(declared, digest)
    return ""


def remember(declared: DesiredState, digest: str = "") -> None:
    """Store that nginx has read its files as they are now, or as ``digest`` says."""
    write(_stamp(), f"{digest or _digest(declared)}\n")


def is_stale(declared: DesiredState) -> bool:
    """Return whether nginx serves another certificate than after a reload; raises OSError if there is no connection."""
    text = selection.serving_pair(declared).read_text(encoding="utf-8", errors="replace")
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    leaf = begin + text.partition(begin)[2].partition(end)[0] + end
    return served_certificate(declared) != ssl.PEM_cert_to_DER_cert(leaf)


def is_shown(declared: DesiredState, limit_s: float) -> bool:
    """Return whether nginx serves the right certificate within ``limit_s`` seconds."""
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
    """Return the checksum of our files that nginx reads. The deploy calculates the same one (tasks/facts.py)."""
    files = declared.read_by_nginx(paths.RUN if in_container() else "")
    contents = (Path(path).read_bytes() for path in files if Path(path).is_file())
    return hashlib.sha256(b"".join(contents)).hexdigest()


def _stamp() -> Path:
    return Path(f"{paths.RUN}/nginx.read" if in_container() else f"{paths.STAMPS}/nginx")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
