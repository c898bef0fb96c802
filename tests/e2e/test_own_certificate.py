"""Own certificate files: validated before any change, detected when replaced, without interruption of service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.lab.certificates import Pair, Signer
from tests.lab.engine import wait_until
from tests.lab.http_request import HOSTNAME
from tests.lab.served_certificate import PollingClient, served_certificate
from tests.lab.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.machine import Machine
    from tests.lab.release import Release


FILES: Final[dict[str, object]] = {
    "tls": "files",
    "tls_certificate": "/etc/ssl/own/fullchain.pem",
    "tls_key": "/etc/ssl/own/privkey.pem",
}
PACE: Final = "/etc/systemd/system/baikal-certificate.timer.d"
"""A drop-in for a faster timer in tests: every two seconds."""
LOOK_LIMIT_S: Final = 60
ROOT: Final = Signer.root()
INTERMEDIATE: Final = ROOT.intermediate()
PLACES: Final = ("/etc/nginx", "/etc/baikal", "/etc/systemd/system", "/var/lib/baikal", "/etc/php")


@pytest.fixture(scope="module")
def own(boot: Callable[..., Machine], release: Release) -> Server:
    """Yield a server with a certificate of a test CA, which its machine trusts."""
    server = Server(boot("debian:12"), release, data=FILES)
    machine = server.machine
    machine.run("mkdir /etc/ssl/own")
    machine.write("/usr/local/share/ca-certificates/lab.crt", ROOT.pem)
    machine.run("update-ca-certificates 2>&1")
    missing = server.deploy()
    assert missing.status == 1
    assert "/etc/ssl/own/fullchain.pem and /etc/ssl/own/privkey.pem not found on the host" in missing.output
    install(server, INTERMEDIATE.issue(HOSTNAME))
    outcome = server.deploy()
    assert outcome.status == 0, outcome.output
    assert server.deploy().changes == 0
    # Once a minute, with an offset in seconds that depends on the host.
    assert wait_until(lambda: 0 < _next_run_s(server) <= LOOK_LIMIT_S, 2 * LOOK_LIMIT_S)
    machine.run(f"mkdir -p {PACE}")
    machine.write(f"{PACE}/pace.conf", "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/2\nRandomizedDelaySec=0\n")
    machine.run("systemctl daemon-reload && systemctl restart baikal-certificate.timer")
    return server


def install(server: Server, pair: Pair, *, chain: str = "", key: str = "") -> str:
    """Install the pair's files at the declared paths, as certbot and others do; return the certificate."""
    server.machine.write("/etc/ssl/own/fullchain.new", chain or pair.chain)
    server.machine.write("/etc/ssl/own/privkey.new", key or pair.key, "0600")
    server.machine.run("cd /etc/ssl/own; for name in fullchain privkey; do mv $name.new $name.pem; done")
    return pair.certificate.strip()


def serves(server: Server) -> str:
    """Return the served certificate."""
    return served_certificate(server.port, HOSTNAME).pem.strip()


def install_valid(server: Server) -> None:
    """Install a valid pair."""
    good = install(server, INTERMEDIATE.issue(HOSTNAME))
    assert wait_until(lambda: serves(server) == good, 20)


def test_replaced_files_are_used_automatically(own: Server) -> None:
    """Without a run, without a failed request, and a later run has nothing to do."""
    assert own.ask("GET", "/").headers["strict-transport-security"] == "max-age=63072000"
    second = INTERMEDIATE.issue(HOSTNAME)
    with PollingClient(own.port, HOSTNAME, ROOT.pem) as visitor:
        assert wait_until(lambda: visitor.answers > 10, 20)
        install(own, second)
        assert wait_until(lambda: len(visitor.serials) == 2, 20)
    assert visitor.failures == []
    assert wait_until(lambda: serves(own) == second.certificate.strip(), 10)
    assert own.deploy().changes == 0


def test_files_replaced_one_after_the_other_are_used_in_the_end(own: Server) -> None:
    """While they don't match, nothing is reported."""
    pair = INTERMEDIATE.issue(HOSTNAME)
    own.machine.write("/etc/ssl/own/fullchain.pem", pair.chain)
    own.machine.run("sleep 3")  # longer than a detection takes
    own.machine.write("/etc/ssl/own/privkey.pem", pair.key, "0600")
    assert wait_until(lambda: serves(own) == pair.certificate.strip(), 20)
    assert own.machine.run("systemctl is-failed baikal-certificate.service || true").strip() != "failed"


GOOD = INTERMEDIATE.issue(HOSTNAME)
OTHER = INTERMEDIATE.issue(HOSTNAME)
WRONG: Final[dict[str, tuple[Pair, dict[str, str], str]]] = {
    "the key of another": (GOOD, {"key": OTHER.key}, "/etc/ssl/own/privkey.pem is not the key of"),
    "another name": (INTERMEDIATE.issue("other.example.org"), {}, "doesn't cover localhost"),
    "expired": (INTERMEDIATE.issue(HOSTNAME, days=(-90, -1)), {}, "has expired"),
    "from tomorrow on": (INTERMEDIATE.issue(HOSTNAME, days=(1, 90)), {}, "is not valid yet; is the clock right?"),
    "without its chain": (GOOD, {"chain": GOOD.certificate}, "lacks its chain"),
    "half written": (GOOD, {"chain": GOOD.chain[:300]}, "can't be used"),
    "empty": (GOOD, {"chain": "\n"}, "is no certificate in PEM form"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_unusable_certificate_is_refused_before_any_change(own: Server, wrong: str) -> None:
    """By a run, which then applies no other setting either, and by check; after a reboot, the old certificate is served."""
    pair, parts, words = WRONG[wrong]
    before = serves(own)
    install(own, pair, **parts)
    try:
        assert wait_until(lambda: any(words in line for line in _failed(own)), 20), own.check()
        tree = own.machine.snapshot(PLACES)
        outcome = own.deploy(upload_limit_mb=44)
        assert outcome.status == 1
        assert words in outcome.output
        assert _same(own.machine.snapshot(PLACES), tree)
        own.machine.run("systemctl restart nginx")
        assert serves(own) == before
        assert own.ask("PROPFIND", "/dav.php/", user="jo").status == 207
    finally:
        install_valid(own)
    assert wait_until(lambda: own.check()["healthy"], 20)
    assert own.deploy().status == 0
    assert own.deploy().changes == 0


def test_ocsp_response_is_stapled_if_the_ca_has_one(own: Server) -> None:
    """OCSP, where a CA still offers it: a client that requests it gets it with the certificate."""
    machine = own.machine
    responder = "http://127.0.0.1:2560"
    pair = INTERMEDIATE.issue(HOSTNAME, responder=responder)
    machine.run("mkdir -p /root/ocsp")
    key = INTERMEDIATE.key_pem
    for name, text in (("ca.pem", INTERMEDIATE.pem), ("ca.key", key), ("index.txt", _index(pair))):
        machine.write(f"/root/ocsp/{name}", text)
    machine.run(
        "systemd-run --quiet --unit=responder --working-directory=/root/ocsp openssl ocsp -port 2560 -index index.txt"
        " -CA ca.pem -rkey ca.key -rsigner ca.pem"
    )
    try:
        good = install(own, pair)
        assert wait_until(lambda: serves(own) == good, 20)
        ask = f"openssl s_client -connect 127.0.0.1:443 -servername {HOSTNAME} -status </dev/null 2>&1 || true"
        assert wait_until(lambda: "OCSP Response Status: successful" in machine.run(ask), 20), machine.run(ask)
    finally:
        machine.run("systemctl stop responder")
        install_valid(own)
    assert "OCSP Response Status" not in machine.run(ask)
    assert own.deploy().changes == 0


def test_copies_are_removed_with_tls_off_or_self_signed(own: Server) -> None:
    """The user's files stay, and their copies are removed."""
    for declared in ("selfsigned", "off"):
        outcome = own.deploy(tls=declared, tls_certificate="", tls_key="")
        assert outcome.status == 0, outcome.output
        assert own.machine.run("ls /var/lib/baikal/tls | grep files- || true") == ""
        assert own.machine.run("ls /etc/ssl/own").split() == ["fullchain.pem", "privkey.pem"]
    assert own.deploy().status == 0
    assert own.deploy().changes == 0


def _next_run_s(server: Server) -> float:
    """Return the seconds until the timer's next run."""
    output = server.machine.run(
        "systemctl show --property=NextElapseUSecRealtime --value baikal-certificate.timer; date +%s"
    )
    moment, now = output.splitlines()
    return float(server.machine.run(f"date -d '{moment}' +%s")) - float(now)


def _failed(server: Server) -> list[str]:
    return [finding["message"] for finding in server.check()["findings"] if finding["status"] == "failed"]


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Compare two trees, without files that a running server writes, and without the stamp of a failed run."""
    living = ("/var/lib/baikal/Specific/db", "/var/lib/baikal/state/stamps")

    def still(tree: dict[str, Any]) -> dict[str, Any]:
        return {path: entry for path, entry in tree.items() if not path.startswith(living)}

    return still(one) == still(other)


def _index(pair: Pair) -> str:
    """Return openssl's index of a CA, with this certificate as valid."""
    return f"V\t{pair.ends:%y%m%d%H%M%SZ}\t\t{pair.serial:X}\tunknown\t/CN=own\n"
