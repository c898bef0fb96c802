"""Which certificate serves: the best there is of what is declared, in the one file that the web server reads.

A pair is looked at before it takes its place, and takes it at once. So whatever happens to the files that somebody
brings, at a certificate authority or in the middle of a renewal: what the web server reads is whole, and nothing takes
the place of a certificate but a better one.
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
"""What nginx is told besides: ``hsts.conf`` with a certificate that clients believe, ``stapling.conf`` if its authority
answers for it."""
OURS = re.compile(r"\.?(selfsigned|files|letsencrypt)-.+\.(pem|conf|crt|key)(\.new)?")


def steps(declared: DesiredState) -> Iterator[Step]:
    """Yield what is to be done so that the best pair serves; no authority is asked for a better one.

    Raises :class:`HostError` if there is none, and none may be made.
    """
    if not declared.served:
        return
    best, reason = _best(declared)
    if best is None:
        yield f"make a self-signed certificate: {reason}", partial(_make, declared)
    elif _differs(declared, best):
        yield f"take the certificate of {best.place} into service", partial(put, declared, best)


def leftovers(declared: DesiredState) -> Iterator[Step]:
    """Yield the removal of what earlier names or settings have left, none of which serves any more.

    What an authority has issued stays until it has expired: it counts against the authority's limits, and whoever comes
    back to it needs no other.
    """
    serves = {f"{Path(declared.served).name}.{kind}" for kind in ("pem", "conf")}
    folder = Path(paths.TLS)
    old = [path for path in folder.glob("*") if OURS.fullmatch(path.name) and path.name not in serves]
    kept = issued_path(declared)
    old += [path for path in Path(paths.ISSUED).glob("*") if path != kept and _of_no_use(path)]
    for path in sorted(old):
        yield f"remove {path}, which no longer serves", path.unlink
    interrupted = Path(paths.ACME) / "incoming"
    if declared.asking is None and interrupted.is_dir():
        yield f"remove {interrupted}, which was never finished", partial(shutil.rmtree, interrupted)


def serving_pair(declared: DesiredState) -> Path:
    """Return the file that the web server reads."""
    return Path(f"{declared.served}.pem")


def issued_path(declared: DesiredState) -> Path:
    """Return where the certificate stands that the declared authority has issued for this host, if there is one."""
    where = urlsplit(declared.asking.server).netloc if declared.asking else "nobody"
    return Path(paths.ISSUED) / f"{where}_{declared.hostname}.pem"


def read_pair(declared: DesiredState, path: Path) -> Pair:
    """Return the pair in one file; raises :class:`HostError` where there is none."""
    return certificate.read_pair(path, path, declared.names)


def declared_pair(declared: DesiredState) -> Pair:
    """Return the pair that somebody brings with ``tls = "files"``; raises :class:`HostError` if it can't serve."""
    pair = certificate.read_pair(Path(declared.tls_certificate), Path(declared.tls_key), declared.names)
    fault = pair.fault()
    if not fault and not pair.complete:
        fault = (
            f"{pair.place} lacks its chain: who signed it is neither in the file nor known to this host; add the "
            "authority's intermediate certificates below it (or, of an authority of your own, its root)"
        )
    if fault:
        raise HostError(fault)
    return pair


def put(declared: DesiredState, pair: Pair) -> None:
    """Have the web server read ``pair`` from its next reload on."""
    parts = [(serving_pair(declared), pair.text), (Path(f"{declared.served}.conf"), _configuration(pair))]
    # Never is a browser told to insist, for two years, on a certificate that isn't there yet.
    for path, text in parts if pair.trusted else reversed(parts):
        write(path, text)


def _best(declared: DesiredState) -> tuple[Pair | None, str]:
    """Return the best pair there is, or why a self-signed one must be made."""
    if declared.tls == "files":
        return _best_of_files(declared), ""
    places = [serving_pair(declared)]
    if declared.tls == "letsencrypt":
        # What served before is better than nothing that clients believe.
        others = sorted(set(Path(paths.TLS).glob(f"*-{declared.hostname}.pem")) - {serving_pair(declared)})
        places = [issued_path(declared), *places, *others]
    found = list(_found(declared, places))
    pairs = [pair for pair, _ in found if pair]
    signed = [pair for pair in pairs if not pair.self_signed and pair.covers(declared.hostname)]
    if declared.tls == "letsencrypt" and signed:
        return min(signed, key=lambda pair: bool(pair.fault())), ""  # the first without a fault, or else the first
    lasting = [pair for pair in pairs if pair.self_signed and not _weakness(pair)]
    if lasting:
        return lasting[0], ""
    pair, reason = found[0]
    return None, reason or (_weakness(pair) if pair else "")


def _weakness(pair: Pair) -> str:
    """Return why a self-signed pair is to be made anew, or nothing."""
    short = f"{pair.place} has {counted(pair.days_left, 'day')} left" if pair.days_left < certificate.RENEW_DAYS else ""
    return pair.fault() or short


def _best_of_files(declared: DesiredState) -> Pair:
    """Return the operator's files, or the pair that serves already if they are unusable; ``baikalctl check`` says which."""
    try:
        return declared_pair(declared)
    except HostError:
        for pair, _ in _found(declared, [serving_pair(declared)]):
            if pair and pair.covers(declared.hostname):
                return pair
        raise


def _found(declared: DesiredState, places: Iterable[Path]) -> Iterator[tuple[Pair | None, str]]:
    """Yield each place's pair, or why there is none."""
    for path in places:
        try:
            yield read_pair(declared, path), ""
        except HostError as error:
            yield None, str(error)


def _make(declared: DesiredState) -> None:
    write(Path(f"{declared.served}.conf"), "")
    write(serving_pair(declared), certificate.self_signed(declared.names))


def _differs(declared: DesiredState, pair: Pair) -> bool:
    """Tell whether the web server reads anything else than ``pair`` by now."""
    wanted = {serving_pair(declared): pair.text, Path(f"{declared.served}.conf"): _configuration(pair)}
    return any(not path.is_file() or path.read_bytes() != text.encode() for path, text in wanted.items())


def _configuration(pair: Pair) -> str:
    """Return what nginx is told besides of ``pair``."""
    parts = ["hsts.conf", *(["stapling.conf"] if pair.stapling else [])] if pair.trusted else []
    return "".join((SNIPPETS / part).read_text(encoding="utf-8") for part in parts)


def _of_no_use(path: Path) -> bool:
    """Tell whether an issued certificate has expired, or is none: what is being written has a name of its own."""
    if path.name.startswith("."):
        return True
    try:
        return certificate.read_pair(path, path, ("localhost",)).days_left < 0
    except HostError:
        return True
