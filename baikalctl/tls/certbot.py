"""Asking a certificate authority, by certbot, and understanding why it refuses.

certbot is given a key's signing request and gives back a chain; it keeps nothing but its accounts. So there are no
lineages to go stale or to be repaired, and what a failed attempt leaves behind is never served.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from baikalctl import output, paths
from baikalctl.errors import HostError
from baikalctl.host import openssl
from baikalctl.host.atomic_write import refuse_writable_by_others, write
from baikalctl.host.lock import hold_lock
from baikalctl.settings.validators import ACME_SERVERS
from baikalctl.tls import certificate, selection
from baikalctl.tls.acme_errors import REMEDIES, Refusal, explain, log_file

if TYPE_CHECKING:
    from baikalctl.desired.state import Acme, DesiredState

CERTBOT = "/usr/bin/certbot"
ATTEMPTS = 4
LIMIT_S = 1200
"""DNS plugins wait for minutes, as told, before the authority looks."""

SYSTEM = "/etc/ssl/certs/ca-certificates.crt"

KEYS = {
    "ecdsa": ("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "rsa": ("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
}
NAMED = {ACME_SERVERS["letsencrypt"]: "Let's Encrypt", ACME_SERVERS["staging"]: "Let's Encrypt's staging"}


REMEDIES["incorrectResponse"] = REMEDIES["unauthorized"]


def authority_name(asking: Acme) -> str:
    """Return what people call the authority."""
    return NAMED.get(asking.server) or urlsplit(asking.server).netloc


def first_line(declared: DesiredState, asking: Acme) -> str:
    """Return the line that stands above an issued certificate: another one is asked for when that would be different."""
    names = [declared.hostname, *sorted(declared.names[1:])]
    return f"# {asking.key_type} from {asking.server}, for {' '.join(names)}\n"


def request_certificate(declared: DesiredState, asking: Acme) -> Refusal | None:
    """Ask for a certificate, which stands at :func:`served.issued` afterwards; return why not where it doesn't.

    An account that is of no use any more is replaced by a new one, once; and a nonce that the authority no longer takes.
    """
    refusal = _attempt(declared, asking)
    renewed = False
    for _ in range(ATTEMPTS - 1):
        if refusal is None or not (refusal.chance or (refusal.account and not renewed)):
            break
        if refusal.account:
            renewed = True
            shutil.rmtree(_account(asking), ignore_errors=True)
        refusal = _attempt(declared, asking)
    return refusal


def _attempt(declared: DesiredState, asking: Acme) -> Refusal | None:
    folder = Path(paths.ACME) / "incoming"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    key, request, chain = folder / "key.pem", folder / "request.pem", folder / "fullchain.pem"
    try:
        write(key, openssl.openssl(*KEYS[asking.key_type]))
        subjects = ",".join(f"DNS:{name}" for name in declared.names)
        extension = ("-addext", f"subjectAltName={subjects}")
        write(request, openssl.openssl("req", "-new", "-key", str(key), "-subj", "/", *extension))
        refusal = _certbot(declared, asking, request, chain)
        if refusal:
            return refusal
        pair = certificate.read_pair(chain, key, declared.names)
        with hold_lock(paths.LOCK, output.say):
            write(selection.issued_path(declared), first_line(declared, asking) + pair.text)
    except HostError as error:
        return Refusal(reason=str(error), remedy="see to that")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    fault = replace(pair, place=selection.issued_path(declared)).fault()
    return Refusal(reason=f"what it gave can't serve: {fault}", remedy="see to that") if fault else None


def _certbot(declared: DesiredState, asking: Acme, request: Path, chain: Path) -> Refusal | None:
    if not Path(CERTBOT).is_file():
        return Refusal(reason="certbot is not installed", remedy="run the deploy")
    if hook := str(declared.settings.get("acme_dns_hook") or ""):
        refuse_writable_by_others(hook)
    written = log_file()
    written.unlink(missing_ok=True)
    # Not /tmp, which a container may have no right to write in.
    environment = dict(os.environ, LC_ALL="C.UTF-8", TMPDIR=str(chain.parent))
    if declared.authority:
        environment["REQUESTS_CA_BUNDLE"] = str(_bundle(chain.with_name("authorities.pem"), declared.authority))
    outputs = ("--cert-path", f"{chain}.0", "--chain-path", f"{chain}.1", "--fullchain-path", str(chain))
    command = [CERTBOT, "certonly", "--config", asking.configuration, "--csr", str(request), *outputs]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
            env=environment,
            stdin=subprocess.DEVNULL,
            umask=0o077,
        )
    except subprocess.TimeoutExpired:
        return Refusal(reason=f"it has not answered within {LIMIT_S} s", remedy="wait")
    if done.returncode == 0 and chain.is_file():
        return None
    log = written.read_text(encoding="utf-8", errors="replace") if written.is_file() else ""
    return explain(f"{done.stdout}\n{done.stderr}", log, asking, declared)


def _bundle(target: Path, authority: str) -> Path:
    """Write what certbot is to trust: the system's authorities and one's own. Plugins talk to others than it as well."""
    paths_read = [Path(path) for path in (SYSTEM, authority) if path == authority or Path(path).is_file()]
    try:
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in paths_read]
    except OSError as error:
        message = f"{error.filename}, which acme_ca names, can't be read: {error.strerror}"
        raise HostError(message) from None
    write(target, "\n".join(texts))
    return target


def _account(asking: Acme) -> Path:
    """Return where certbot keeps its account at this server."""
    parts = urlsplit(asking.server)
    return Path(paths.ACME) / "accounts" / parts.netloc / parts.path.strip("/")
