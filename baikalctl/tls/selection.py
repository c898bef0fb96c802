"""Select the certificate to serve: the best available one, copied into the one file that the web server reads.

A pair is checked before it is served, and the file is replaced atomically. So errors in the operator's files, at the
authority or during a renewal never reach the web server: it always reads a complete pair, and only a better one replaces
it.
"""

from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.host.atomic_write import write
from baikalctl.output import counted
from baikalctl.tls import certificate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from baikalctl.baikal.accounts import Step
    from baikalctl.desired.state import DesiredState
    from baikalctl.tls.certificate import Pair


SNIPPETS = Path(__file__).resolve().parents[2] / "templates/var/lib/baikal/tls"
"""Further configuration for nginx: ``hsts.conf`` if clients trust the certificate, ``stapling.conf`` if it also names an
OCSP responder."""
OURS = re.compile(r"\.?(selfsigned|files|letsencrypt)-.+\.(pem|conf|crt|key)(\.new)?")


def steps(declared: DesiredState) -> Iterator[Step]:
    """Yield the steps to serve the best available pair; no authority is asked.

    Raises :class:`HostError` if there is none, and a self-signed one isn't allowed.
    """
    if not declared.served:
        return
    best, reason = _best(declared)
    if best is None:
        yield f"make a self-signed certificate: {reason}", partial(_make, declared)
    elif _differs(declared, best):
        yield f"use the certificate in {best.path}", partial(put, declared, best)


def leftovers(declared: DesiredState) -> Iterator[Step]:
    """Yield the removal of files of earlier names or settings, which are no longer served.

    Certificates from an authority are kept until they expire. They count against the authority's limits, so an operator
    who returns to earlier settings must not need a new one.
    """
    serves = {f"{Path(declared.served).name}.{kind}" for kind in ("pem", "conf")}
    folder = Path(paths.TLS)
    old = [path for path in folder.glob("*") if OURS.fullmatch(path.name) and path.name not in serves]
    kept = issued_path(declared)
    old += [path for path in Path(paths.ISSUED).glob("*") if path != kept and _is_useless(path)]
    for path in sorted(old):
        yield f"remove {path}, which is no longer used", path.unlink
    interrupted = Path(paths.ACME) / "incoming"
    if declared.asking is None and interrupted.is_dir():
        yield f"remove {interrupted}, left by an interrupted request", partial(shutil.rmtree, interrupted)


def serving_pair(declared: DesiredState) -> Path:
    """Return the file that the web server reads."""
    return Path(f"{declared.served}.pem")


def issued_path(declared: DesiredState) -> Path:
    """Return the path of the certificate that the declared authority has issued for this host, whether it exists or not."""
    authority = urlsplit(declared.asking.server).netloc if declared.asking else "nobody"
    return Path(paths.ISSUED) / f"{authority}_{declared.hostname}.pem"


def read_pair(declared: DesiredState, path: Path) -> Pair:
    """Return the pair in one file; raises :class:`HostError` if there is none."""
    return certificate.read_pair(path, path, declared.names)


def declared_pair(declared: DesiredState) -> Pair:
    """Return the operator's pair with ``tls = "files"``; raises :class:`HostError` if it can't be served."""
    pair = certificate.read_pair(Path(declared.tls_certificate), Path(declared.tls_key), declared.names)
    fault = pair.fault()
    if not fault and not pair.complete:
        fault = (
            f"{pair.path} lacks its chain: the certificate of its issuer is neither in the file nor known to this host; "
            "add the authority's intermediate certificates below it (for a private authority, its root)"
        )
    if fault:
        raise HostError(fault)
    return pair


def put(declared: DesiredState, pair: Pair) -> None:
    """Write ``pair`` where the web server reads it at its next reload."""
    parts = [(serving_pair(declared), pair.text), (Path(f"{declared.served}.conf"), _configuration(pair))]
    # This order ensures that HSTS, which browsers keep for two years, is never sent with an untrusted certificate.
    for path, text in parts if pair.trusted else reversed(parts):
        write(path, text)


def _best(declared: DesiredState) -> tuple[Pair | None, str]:
    """Return the best available pair, or why a self-signed one must be made."""
    if declared.tls == "files":
        return _best_of_files(declared), ""
    candidates = [serving_pair(declared)]
    if declared.tls == "letsencrypt":
        # An earlier certificate is better than a self-signed one.
        others = sorted(set(Path(paths.TLS).glob(f"*-{declared.hostname}.pem")) - {serving_pair(declared)})
        candidates = [issued_path(declared), *candidates, *others]
    results = list(_read_each(declared, candidates))
    pairs = [pair for pair, _ in results if pair]
    signed = [pair for pair in pairs if not pair.self_signed and pair.covers(declared.hostname)]
    if declared.tls == "letsencrypt" and signed:
        return min(signed, key=lambda pair: bool(pair.fault())), ""  # the first without a fault, or else the first
    lasting = [pair for pair in pairs if pair.self_signed and not _weakness(pair)]
    if lasting:
        return lasting[0], ""
    pair, reason = results[0]
    return None, reason or (_weakness(pair) if pair else "")


def _weakness(pair: Pair) -> str:
    """Return why a self-signed pair must be replaced, or an empty text."""
    short = f"{pair.path} has {counted(pair.days_left, 'day')} left" if pair.days_left < certificate.RENEW_DAYS else ""
    return pair.fault() or short


def _best_of_files(declared: DesiredState) -> Pair:
    """Return the operator's pair, or the present one if that is unusable; ``baikalctl check`` reports which is served."""
    try:
        return declared_pair(declared)
    except HostError:
        for pair, _ in _read_each(declared, [serving_pair(declared)]):
            if pair and pair.covers(declared.hostname):
                return pair
        raise


def _read_each(declared: DesiredState, candidates: Iterable[Path]) -> Iterator[tuple[Pair | None, str]]:
    """Yield the pair of each file, or why there is none."""
    for path in candidates:
        try:
            yield read_pair(declared, path), ""
        except HostError as error:
            yield None, str(error)


def _make(declared: DesiredState) -> None:
    write(Path(f"{declared.served}.conf"), "")
    write(serving_pair(declared), certificate.self_signed(declared.names))


def _differs(declared: DesiredState, pair: Pair) -> bool:
    """Return whether the web server's files differ from ``pair``."""
    wanted = {serving_pair(declared): pair.text, Path(f"{declared.served}.conf"): _configuration(pair)}
    return any(not path.is_file() or path.read_bytes() != text.encode() for path, text in wanted.items())


def _configuration(pair: Pair) -> str:
    """Return the further configuration of nginx for ``pair``."""
    parts = ["hsts.conf", *(["stapling.conf"] if pair.stapling else [])] if pair.trusted else []
    return "".join((SNIPPETS / part).read_text(encoding="utf-8") for part in parts)


def _is_useless(path: Path) -> bool:
    """Return whether an issued certificate has expired or can't be read. Temporary files begin with a dot."""
    if path.name.startswith("."):
        return True
    try:
        return certificate.read_pair(path, path, ("localhost",)).days_left < 0
    except HostError:
        return True
