"""ACME certificates on a machine: issued, renewed, refused and changed, without interruption of service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from tests.lab.acme import AcmeServer, Network, address
from tests.lab.certificates import Signer
from tests.lab.engine import Engine, wait_until
from tests.lab.images import PACKAGES, machine_image
from tests.lab.machine import Machine
from tests.lab.served_certificate import PollingClient, served_certificate
from tests.lab.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from tests.lab.release import Release


NAME: Final = "cal.lab.test"
OTHER: Final = "dav.lab.test"
TRUSTED: Final = "/etc/ssl/lab-authority.pem"
ISSUED: Final = "/var/lib/baikal/acme/issued"
PAIR: Final = f"{ISSUED}/acme.lab.test:14000_{NAME}.pem"
ATTEMPTS: Final = "/var/lib/baikal/acme/attempts.json"
ASK: Final = "Request certificate"
NOT_YET: Final = 75


class Setup(NamedTuple):
    """A machine, deployed once while its name had no address, and its ACME server."""

    server: Server
    authority: AcmeServer
    address: str
    first: str
    """The output of that run."""

    def certificate(self) -> dict[str, Any]:
        """Return the finding of ``baikalctl check`` on the certificate."""
        findings: list[dict[str, Any]] = [
            finding for finding in self.server.check()["findings"] if finding["subject"] == "certificate"
        ]
        assert len(findings) == 1, findings
        return findings[0]

    def run_certificate(self, *options: str) -> tuple[int, str]:
        """Run ``baikalctl certificate``; return its status and its output."""
        output = self.server.machine.run(f"baikalctl certificate {' '.join(options)} 2>&1; echo $?")
        text, _, status = output.strip().rpartition("\n")
        return int(status), text

    def make_due(self) -> None:
        """Change the recorded times: the next attempt is due, and earlier ones were long ago."""
        self.server.machine.run(
            f"""sed -i -E 's/"until": [0-9.]+/"until": 1/; s/^  [0-9]+\\.[0-9]+/  1.0/' {ATTEMPTS} 2>/dev/null || true"""
        )

    def hsts(self) -> str:
        """Return the HSTS header."""
        return self.server.ask("GET", "/").headers.get("strict-transport-security", "")

    def serial(self) -> int:
        """Return the serial number of the served certificate."""
        return served_certificate(self.server.port, NAME).serial


@pytest.fixture(scope="module")
def setup(engine: Engine, release: Release) -> Iterator[Setup]:
    """Yield the machine and the ACME server; each test leaves them with a valid certificate."""
    image = machine_image(engine, "debian:13", PACKAGES)
    with (
        Network(engine) as network,
        AcmeServer.start(engine, network) as authority,
        Machine.start(engine, image, options=["--network", network.name]) as machine,
    ):
        machine.write(TRUSTED, authority.ca)
        server = Server(
            machine,
            release,
            data={
                "hostname": NAME,
                "tls": "letsencrypt",
                "acme_email": "ops@lab.test",
                "acme_server": authority.directory,
                "acme_ca": TRUSTED,
            },
        )
        outcome = server.deploy()
        assert outcome.status == 0, outcome.output
        yield Setup(server, authority, address(engine, network, machine.name), outcome.output)


def test_server_runs_with_a_warning_while_its_name_has_no_address(setup: Setup) -> None:
    """The finding is a warning with the remedy; a self-signed certificate is served, without HSTS."""
    assert "no certificate from acme.lab.test:14000" in setup.first
    assert "make port 80 of cal.lab.test reach this host" in setup.first
    assert setup.server.check()["healthy"]
    assert setup.certificate()["status"] == "warning"
    answer = setup.server.ask("PROPFIND", "/dav.php/", user="jo", headers={"Host": NAME})
    assert answer.status == 207
    assert "strict-transport-security" not in answer.headers
    assert served_certificate(setup.server.port, NAME).names == (NAME,)
    assert setup.authority.issued() == 0
    assert setup.server.machine.run(f"stat -c '%a %U' {ATTEMPTS} /var/lib/baikal/acme").split() == 2 * [
        "600",
        "root",
    ] or (setup.server.machine.run("stat -c %a /var/lib/baikal/acme").strip() == "700")


def test_retries_wait_for_retry_after_and_manual_ones_are_limited(setup: Setup) -> None:
    """The timer does nothing before the time; runs may try again, until the CA's own limit is near."""
    status, output = setup.run_certificate()
    assert status == NOT_YET
    assert "the next request is after" in output
    assert "request a certificate from acme.lab.test" not in output, "the time hasn't come"
    hurried = [setup.server.deploy() for _ in range(4)]
    assert [outcome.changed for outcome in hurried] == [[ASK], [ASK], [ASK], []]
    assert all(outcome.status == 0 for outcome in hurried)
    assert "the next request is after" in hurried[-1].output
    setup.make_due()
    status, output = setup.run_certificate()
    assert status == NOT_YET
    assert output.count("request a certificate from acme.lab.test") == 1, "the timer tries again when it is time"


def test_run_gets_the_certificate_once_the_name_resolves_and_the_next_changes_nothing(setup: Setup) -> None:
    """It is issued, used after a reload and reported by check; only root can read its key."""
    setup.authority.set_address(NAME, setup.address)
    setup.make_due()
    outcome = setup.server.deploy()
    assert (outcome.status, outcome.changed) == (0, [ASK]), outcome.output
    assert "Pebble" in served_certificate(setup.server.port, NAME).issuer
    finding = setup.certificate()
    assert finding["status"] == "ok"
    assert "89 days left" in finding["message"]
    assert "renewed automatically from" in finding["message"]
    again = setup.server.deploy()
    assert (again.status, again.changes) == (0, 0), again.changed
    assert setup.authority.issued() == 1
    modes = setup.server.machine.run(f"stat -c %a /var/lib/baikal/tls/*.pem {ISSUED}/*.pem").split()
    assert modes == ["600", "600"]
    assert not setup.server.machine.run("find /var/lib/baikal/acme -name incoming")


def test_a_renewal_fails_no_request(setup: Setup) -> None:
    """A client with continuous requests, which trusts only this CA, sees two serial numbers and no error."""
    before = setup.serial()
    with PollingClient(setup.server.port, NAME, setup.authority.root()) as visitor:
        assert wait_until(lambda: visitor.answers > 10, 20)
        status, output = setup.run_certificate("--renew")
        assert status == 0, output
        seen = visitor.answers
        assert wait_until(lambda: visitor.answers > seen + 20, 20)
    assert visitor.failures == []
    assert len(visitor.serials) == 2
    assert wait_until(lambda: setup.serial() != before, 10)
    assert setup.server.deploy().changes == 0, "after the timer's renewal, a run has nothing to do"


def test_hsts_is_sent_if_the_host_trusts_the_certificate(setup: Setup) -> None:
    """HSTS is sent if the host trusts the CA, and not otherwise."""
    machine = setup.server.machine
    machine.write("/usr/local/share/ca-certificates/lab.crt", setup.authority.root())
    machine.run("update-ca-certificates 2>&1")
    assert setup.run_certificate()[0] == 0
    assert wait_until(lambda: setup.hsts() == "max-age=63072000", 5)
    assert "trusted by this host" in setup.certificate()["message"]
    machine.run("rm /usr/local/share/ca-certificates/lab.crt; update-ca-certificates --fresh 2>&1")
    assert setup.run_certificate()[0] == 0
    assert wait_until(lambda: setup.hsts() == "", 5)


@pytest.mark.parametrize("trouble", ["refused challenge", "unreachable authority", "rate limit"])
def test_old_certificate_is_served_after_a_failed_renewal(setup: Setup, trouble: str) -> None:
    """The command, check and the run report the error and the remedy; once fixed, it is renewed."""
    before = setup.serial()
    authority, machine = setup.authority, setup.server.machine
    limited = "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s"
    troubles: dict[str, tuple[Callable[[], None], Callable[[], None], str]] = {
        "refused challenge": (
            lambda: authority.remove_address(NAME),
            lambda: authority.set_address(NAME, setup.address),
            "make port 80 of cal.lab.test reach this host",
        ),
        "unreachable authority": (authority.stop, authority.resume, "can't be reached"),
        "rate limit": (lambda: authority.limit(limited, 7200), authority.unlimit, limited),
    }
    break_it, mend_it, words = troubles[trouble]
    break_it()
    try:
        # As if issued for other settings, so that a renewal is due; not earlier, or the timer does it.
        machine.run(f"sed -i '1s/^/# /' {PAIR}")
        status, output = setup.run_certificate()
        assert status == NOT_YET
        assert words in output
        assert setup.serial() == before
        outcome = setup.server.deploy()
        assert outcome.status == 0, outcome.output
        assert words in outcome.output
        assert setup.certificate()["status"] == "warning"
        assert setup.server.check()["healthy"]
        if trouble == "rate limit":
            assert outcome.changed == [], "before the Retry-After of the CA, no request is sent"
    finally:
        mend_it()
    setup.make_due()
    assert setup.run_certificate()[0] == 0
    assert wait_until(lambda: setup.serial() != before, 10)
    assert setup.certificate()["status"] == "ok"
    assert setup.server.deploy().changes == 0


@pytest.mark.parametrize("trouble", ["forgotten", "cut short", "doubled"])
def test_unusable_account_is_replaced(setup: Setup, trouble: str) -> None:
    """The CA has lost it, or a power cut has damaged it: no manual repair is needed."""
    before, machine = setup.serial(), setup.server.machine
    accounts = "/var/lib/baikal/acme/accounts/acme.lab.test:14000/dir"
    if trouble == "forgotten":
        setup.authority.restart()
    elif trouble == "cut short":
        machine.run(f"truncate -s 30 {accounts}/*/private_key.json")
    else:
        machine.run(f"cd {accounts} && cp -a * 00000000000000000000000000000000")
    status, output = setup.run_certificate("--renew")
    assert status == 0, output
    assert wait_until(lambda: setup.serial() != before, 10)
    assert len(machine.run(f"ls {accounts}").split()) == 1


def test_renewed_certificate_waits_until_nginx_accepts_its_configuration(setup: Setup) -> None:
    """The new certificate is issued, the old one is served and the reason reported; later the timer uses the new one."""
    before = setup.serial()
    machine = setup.server.machine
    machine.write("/etc/nginx/conf.d/broken.conf", "this is no nginx configuration;\n")
    status, output = setup.run_certificate("--renew")
    assert status == NOT_YET
    assert "nginx refuses its configuration" in output
    assert "broken.conf" in output
    assert setup.serial() == before
    messages = [finding["message"] for finding in setup.server.check()["findings"]]
    assert "nginx still serves the previous certificate" in messages
    machine.run("rm /etc/nginx/conf.d/broken.conf")
    assert setup.run_certificate()[0] == 0
    assert wait_until(lambda: setup.serial() != before, 10)
    assert setup.server.deploy().changes == 0


def test_host_name_is_changed_by_a_setting_and_a_run(setup: Setup) -> None:
    """A name is added, the host name changed, and changed back: no unused certificate is left."""
    server, authority = setup.server, setup.authority
    issued = authority.issued()
    try:
        outcome = server.deploy(hostnames=[OTHER])
        assert outcome.status == 0, outcome.output
        assert "until then this one is used" in outcome.output, "the old name keeps its certificate"
        assert "Pebble" in served_certificate(server.port, NAME).issuer
        authority.set_address(OTHER, setup.address)
        assert server.deploy(hostnames=[OTHER]).changed == [ASK]
        assert set(served_certificate(server.port, OTHER).names) == {NAME, OTHER}
        redirect = server.ask("GET", "/x", port=80, headers={"Host": OTHER})
        assert redirect.headers["location"] == f"https://{OTHER}/x"
        outcome = server.deploy(hostname=OTHER)
        assert outcome.status == 0, outcome.output
        assert served_certificate(server.port, OTHER).names == (OTHER,)
        assert server.deploy(hostname=OTHER).changes == 0
        files = server.machine.run("ls /var/lib/baikal/tls").split()
        assert files == [f"letsencrypt-{OTHER}.conf", f"letsencrypt-{OTHER}.pem"]
        assert authority.issued() == issued + 2
    finally:
        authority.remove_address(OTHER)
    assert server.deploy().status == 0
    assert served_certificate(server.port, NAME).names == (NAME,)
    assert server.deploy().changes == 0
    assert authority.issued() == issued + 3, "the certificate for both names was for other settings"


def test_issued_certificate_is_kept_when_tls_changes_and_changes_back(setup: Setup) -> None:
    """To self-signed, own files, no TLS, and back: the issued certificate is kept, and nothing else."""
    server, machine = setup.server, setup.server.machine
    machine.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout /etc/ssl/own.key"
        f" -out /etc/ssl/own.crt -days 90 -subj /CN=own -addext subjectAltName=DNS:{NAME} 2>&1"
    )
    serial, issued = setup.serial(), setup.authority.issued()
    files = {"tls": "files", "tls_certificate": "/etc/ssl/own.crt", "tls_key": "/etc/ssl/own.key"}
    both = ["baikal-backup.timer", "baikal-certificate.timer"]
    units = {"selfsigned": both, "files": both, "off": both[:1]}
    for declared in ({"tls": "selfsigned"}, files, {"tls": "off"}):
        outcome = server.deploy(**declared)
        assert outcome.status == 0, outcome.output
        assert server.deploy(**declared).changes == 0, declared
        mode = str(declared["tls"])
        kinds = () if mode == "off" else (f"{mode}-{NAME}.conf", f"{mode}-{NAME}.pem")
        assert tuple(machine.run("ls /var/lib/baikal/tls").split()) == kinds
        assert machine.run("ls /etc/baikal").split() == ["declared.json"]
        standing = machine.run("cd /etc/systemd/system; ls -d baikal-*.timer 2>/dev/null || true").split()
        assert standing == units[mode]
        assert not machine.run("systemctl --failed --plain --no-legend; find /etc/systemd -xtype l -name 'baikal*'")
    assert server.deploy().status == 0
    assert setup.serial() == serial
    assert setup.authority.issued() == issued
    assert server.deploy().changes == 0
    assert machine.run(
        "systemctl is-active baikal-certificate.timer; systemctl is-enabled baikal-certificate.timer"
    ).split() == [
        "active",
        "enabled",
    ]


def test_timer_renews_a_certificate_that_expires_soon(setup: Setup) -> None:
    """The timer itself renews it; the test changes only its interval."""
    machine = setup.server.machine
    aged = Signer.root().issue(NAME, days=(-80, 10))
    above = machine.read(f"{PAIR}").partition("\n")[0]
    machine.write(f"{PAIR}", f"{above}\n{aged.chain}{aged.key}", "0600")
    machine.run("baikalctl apply && systemctl reload nginx")
    assert wait_until(lambda: served_certificate(setup.server.port, NAME).pem.strip() == aged.certificate.strip(), 10)
    old = setup.serial()
    folder = "/etc/systemd/system/baikal-certificate.timer.d"
    machine.run(f"mkdir -p {folder}")
    machine.write(f"{folder}/pace.conf", "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/2\nRandomizedDelaySec=0\n")
    try:
        machine.run("systemctl daemon-reload && systemctl restart baikal-certificate.timer")
        assert wait_until(lambda: setup.serial() != old, 30, pause_s=0.5), machine.run("journalctl -n 30 --no-pager")
    finally:
        machine.run(f"rm -r {folder}; systemctl daemon-reload; systemctl restart baikal-certificate.timer")
    log = machine.run("journalctl --no-pager --unit baikal-certificate.service")
    assert "request a certificate from acme.lab.test:14000" in log
    assert setup.certificate()["status"] == "ok"
    assert setup.server.deploy().changes == 0
