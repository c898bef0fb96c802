"""testssl.sh's grade for TLS: our server compared with the distribution's nginx, with the same trusted certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.contenders import Bench, BenchmarkError
from bench.report import OURS, Goal, Row
from tests.lab.certificates import Signer
from tests.lab.http_request import HOSTNAME
from tests.lab.images import PACKAGES, machine_image
from tests.lab.machine import Machine
from tests.lab.scanner import Scan, scan
from tests.lab.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


SECTION: Final = "TLS"
DEFAULTS: Final = "the distribution's nginx"
DISTRIBUTION: Final = "debian:12"
AT_LEAST: Final = 90
ROOT: Final = "/usr/local/share/ca-certificates/bench-root.crt"
CERTIFICATE: Final = "/etc/ssl/bench.crt"
KEY: Final = "/etc/ssl/private/bench.key"
SITE: Final = f"""
server {{
    listen 443 ssl;
    server_name {HOSTNAME};
    ssl_certificate {CERTIFICATE};
    ssl_certificate_key {KEY};
}}
"""
"""The minimal configuration of a server with TLS; the rest is that of nginx.conf."""


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the score of both; it doesn't vary, so each is scanned once.

    Raises :class:`BenchmarkError` if the scanner doesn't trust the certificate, because then it wouldn't grade the rest.
    """
    bench.say(f"  {SECTION}: two scans, of a minute or two each")
    scans = {OURS: _scan(bench, _deploy), DEFAULTS: _scan(bench, _configure)}
    grades = "; ".join(f"{name}: {_summary(seen)}" for name, seen in scans.items())
    figures = {name: [float(seen.score)] for name, seen in scans.items()}
    name, note = "testssl.sh's score, of 100", f"grades by the rules of SSL Labs. {grades}"
    goals = (Goal(at_least=AT_LEAST),)
    yield Row(section=SECTION, name=name, unit="points", figures=figures, goals=goals, note=note)


def _scan(bench: Bench, set_up: Callable[[Bench, Machine], None]) -> Scan:
    """Return the findings on a machine that trusts the certificate's root, as its clients do."""
    root = Signer.root()
    pair = root.intermediate().issue(HOSTNAME, days=(-1, 89))
    with Machine.start(bench.engine, machine_image(bench.engine, DISTRIBUTION, PACKAGES)) as machine:
        machine.write(ROOT, root.pem)
        machine.run("update-ca-certificates")
        machine.write(CERTIFICATE, pair.chain)
        machine.write(KEY, pair.key, mode="0600")
        set_up(bench, machine)
        seen = scan(machine, root.pem)
    if (trust := seen.findings.get("cert_chain_of_trust", "")) != "passed.":
        message = f"testssl.sh doesn't trust the certificate: {trust}"
        raise BenchmarkError(message)
    return seen


def _summary(seen: Scan) -> str:
    """Return the grade, the reasons against a better one, and other problems."""
    reasons = [text for name, text in seen.findings.items() if name.startswith("grade_cap_reason")]
    return ", ".join([seen.grade, *reasons, *(f"{name}: {text}" for name, text in seen.problems.items())])


def _deploy(bench: Bench, machine: Machine) -> None:
    data: dict[str, object] = {"tls": "files", "tls_certificate": CERTIFICATE, "tls_key": KEY}
    outcome = Server(machine, bench.release, data=data).deploy(users=[])
    if outcome.status:
        message = f"the deploy failed: {outcome.output[-2000:]}"
        raise BenchmarkError(message)


def _configure(_: Bench, machine: Machine) -> None:
    machine.write("/etc/nginx/conf.d/tls.conf", SITE)
    machine.run("nginx -t -q && systemctl reload nginx")
