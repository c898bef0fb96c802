"""Request a certificate from an authority with certbot.

certbot gets a signing request and returns a chain; it stores only its accounts. So there are no lineages that can break
or need a repair, and the remains of a failed attempt are never served.
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
from baikalctl.tls.acme_errors import Refusal, explain, log_file

if TYPE_CHECKING:
    from baikalctl.desired.state import Acme, DesiredState

CERTBOT = "/usr/bin/certbot"
ATTEMPTS = 4
LIMIT_S = 1200
"""DNS plugins may wait for minutes (acme_dns_propagation_s) before the authority checks."""

SYSTEM = "/etc/ssl/certs/ca-certificates.crt"

KEYS = {
    "ecdsa": ("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "rsa": ("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
}
NAMED = {ACME_SERVERS["letsencrypt"]: "Let's Encrypt", ACME_SERVERS["staging"]: "Let's Encrypt's staging"}


def authority_name(asking: Acme) -> str:
    """Return the authority's name, or its host if it has no known name."""
    return NAMED.get(asking.server) or urlsplit(asking.server).netloc


def first_line(declared: DesiredState, asking: Acme) -> str:
    """Return the first line of an issued certificate's file. If it differs from the settings, a new one is requested."""
    names = [declared.hostname, *sorted(declared.names[1:])]
    return f"# {asking.key_type} from {asking.server}, for {' '.join(names)}\n"


def request_certificate(declared: DesiredState, asking: Acme) -> Refusal | None:
    """Request a certificate and store it at :func:`selection.issued_path`; return the reason if that fails.

    An account that can't be used any more is replaced by a new one, once. A nonce that was too old is replaced too.
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
        return Refusal(reason=str(error), remedy="fix this")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    fault = replace(pair, path=selection.issued_path(declared)).fault()
    return Refusal(reason=f"the issued certificate can't be used: {fault}", remedy="fix this") if fault else None


def _certbot(declared: DesiredState, asking: Acme, request: Path, chain: Path) -> Refusal | None:
    if not Path(CERTBOT).is_file():
        return Refusal(reason="certbot is not installed", remedy="run the deploy")
    if hook := str(declared.settings.get("acme_dns_hook") or ""):
        refuse_writable_by_others(hook)
    written = log_file()
    written.unlink(missing_ok=True)
    # Not /tmp, because a container may not be allowed to write there.
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
        return Refusal(reason=f"certbot did not finish within {LIMIT_S} s", remedy="wait")
    if done.returncode == 0 and chain.is_file():
        return None
    log = written.read_text(encoding="utf-8", errors="replace") if written.is_file() else ""
    return explain(f"{done.stdout}\n{done.stderr}", log, asking, declared)


def _bundle(target: Path, authority: str) -> Path:
    """Write the authorities that certbot trusts: the system's, which DNS plugins need, and the declared one."""
    paths_read = [Path(path) for path in (SYSTEM, authority) if path == authority or Path(path).is_file()]
    try:
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in paths_read]
    except OSError as error:
        message = f"{error.filename} can't be read: {error.strerror} (see acme_ca)"
        raise HostError(message) from None
    write(target, "\n".join(texts))
    return target


def _account(asking: Acme) -> Path:
    """Return the folder of certbot's account at this server."""
    parts = urlsplit(asking.server)
    return Path(paths.ACME) / "accounts" / parts.netloc / parts.path.strip("/")
