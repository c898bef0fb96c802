"""Certificates from an authority, on a machine: asked for, renewed, refused, changed; and what serves goes on serving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from tests.lab.acme import AcmeServer, Network, address
from tests.lab.certificates import Signer
from tests.lab.engine import Engine, wait_until
from tests.lab.images import PACKAGES, machine_image
from tests.lab.machine import Machine
from tests.lab.server import Server
from tests.lab.shown import Visitor, shown

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


class Place(NamedTuple):
    """A machine, deployed to once while its name led nowhere, and the authority beside it."""

    server: Server
    authority: AcmeServer
    address: str
    first: str
    """What that run said."""

    def certificate(self) -> dict[str, Any]:
        """Return what the doctor finds about the certificate."""
        found: list[dict[str, Any]] = [
            finding for finding in self.server.check()["findings"] if finding["subject"] == "certificate"
        ]
        assert len(found) == 1, found
        return found[0]

    def care(self, *options: str) -> tuple[int, str]:
        """Run ``baikalctl certificate``; return its status and what it said."""
        said = self.server.machine.run(f"baikalctl certificate {' '.join(options)} 2>&1; echo $?")
        text, _, status = said.strip().rpartition("\n")
        return int(status), text

    def time_passes(self) -> None:
        """Have it that the time for the next attempt has come, and that the others were long ago."""
        self.server.machine.run(
            f"""sed -i -E 's/"until": [0-9.]+/"until": 1/; s/^  [0-9]+\\.[0-9]+/  1.0/' {ATTEMPTS} 2>/dev/null || true"""
        )

    def insists(self) -> str:
        """Return for how long browsers are told to come over TLS alone."""
        return self.server.ask("GET", "/").headers.get("strict-transport-security", "")

    def serial(self) -> int:
        """Return the serial number of what is served now."""
        return shown(self.server.port, NAME).serial


@pytest.fixture(scope="module")
def place(engine: Engine, release: Release) -> Iterator[Place]:
    """Give the machine and the authority; each test leaves them with a certificate that is good."""
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
        yield Place(server, authority, address(engine, network, machine.name), outcome.output)


def test_a_name_that_leads_nowhere_yet_is_told_and_the_server_is_up_all_the_same(place: Place) -> None:
    """Yellow with the remedy, not a wreck: a self-signed certificate serves, and browsers aren't told to insist on it."""
    assert "there is none of acme.lab.test:14000" in place.first
    assert "let port 80 of cal.lab.test lead to this host" in place.first
    assert place.server.check()["healthy"]
    assert place.certificate()["status"] == "warning"
    answer = place.server.ask("PROPFIND", "/dav.php/", user="jo", headers={"Host": NAME})
    assert answer.status == 207
    assert "strict-transport-security" not in answer.headers
    assert shown(place.server.port, NAME).names == (NAME,)
    assert place.authority.issued() == 0
    assert place.server.machine.run(f"stat -c '%a %U' {ATTEMPTS} /var/lib/baikal/acme").split() == 2 * [
        "600",
        "root",
    ] or (place.server.machine.run("stat -c %a /var/lib/baikal/acme").strip() == "700")


def test_retries_wait_as_the_authority_asks_and_somebody_in_a_hurry_gets_few(place: Place) -> None:
    """The timer's look does nothing before its time; runs may ask again, until the authority's own limit comes near."""
    status, said = place.care()
    assert status == NOT_YET
    assert "is asked again after" in said
    assert "ask acme.lab.test" not in said, "the time hasn't come"
    hurried = [place.server.deploy() for _ in range(4)]
    assert [outcome.changed for outcome in hurried] == [[ASK], [ASK], [ASK], []]
    assert all(outcome.status == 0 for outcome in hurried)
    assert "is asked again after" in hurried[-1].output
    place.time_passes()
    status, said = place.care()
    assert (status, said.count("ask acme.lab.test")) == (NOT_YET, 1), "the timer asks once more when it is time"


def test_once_the_name_leads_here_a_run_gets_the_certificate_and_the_next_changes_nothing(place: Place) -> None:
    """Issued, taken into service by a reload, told by the doctor; its key is root's alone."""
    place.authority.lead(NAME, place.address)
    place.time_passes()
    outcome = place.server.deploy()
    assert (outcome.status, outcome.changed) == (0, [ASK]), outcome.output
    assert "Pebble" in shown(place.server.port, NAME).issuer
    found = place.certificate()
    assert found["status"] == "ok"
    assert "89 days left" in found["message"]
    assert "renewed automatically from" in found["message"]
    again = place.server.deploy()
    assert (again.status, again.changes) == (0, 0), again.changed
    assert place.authority.issued() == 1
    modes = place.server.machine.run(f"stat -c %a /var/lib/baikal/tls/*.pem {ISSUED}/*.pem").split()
    assert modes == ["600", "600"]
    assert not place.server.machine.run("find /var/lib/baikal/acme -name incoming")


def test_a_renewal_fails_no_request(place: Place) -> None:
    """A client that asks all the time, and believes this authority alone, sees two serial numbers and no error."""
    before = place.serial()
    with Visitor(place.server.port, NAME, place.authority.root()) as visitor:
        assert wait_until(lambda: visitor.answers > 10, 20)
        status, said = place.care("--renew")
        assert status == 0, said
        seen = visitor.answers
        assert wait_until(lambda: visitor.answers > seen + 20, 20)
    assert visitor.failures == []
    assert len(visitor.serials) == 2
    assert wait_until(lambda: place.serial() != before, 10)
    assert place.server.deploy().changes == 0, "the timer's renewal leaves nothing for a run"


def test_browsers_are_told_to_insist_once_they_believe_the_certificate(place: Place) -> None:
    """With the authority among those that the host trusts, HSTS is sent; no longer when it isn't."""
    machine = place.server.machine
    machine.write("/usr/local/share/ca-certificates/lab.crt", place.authority.root())
    machine.run("update-ca-certificates 2>&1")
    assert place.care()[0] == 0
    assert wait_until(lambda: place.insists() == "max-age=63072000", 5)
    assert "trusted by this host" in place.certificate()["message"]
    machine.run("rm /usr/local/share/ca-certificates/lab.crt; update-ca-certificates --fresh 2>&1")
    assert place.care()[0] == 0
    assert wait_until(lambda: place.insists() == "", 5)


@pytest.mark.parametrize("trouble", ["refused challenge", "unreachable authority", "rate limit"])
def test_whatever_is_in_the_way_of_a_renewal_the_old_certificate_serves(place: Place, trouble: str) -> None:
    """What happened and what to do is told by the command, the doctor and the run; mended, it is renewed."""
    before = place.serial()
    authority, machine = place.authority, place.server.machine
    limited = "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s"
    troubles: dict[str, tuple[Callable[[], None], Callable[[], None], str]] = {
        "refused challenge": (
            lambda: authority.forget(NAME),
            lambda: authority.lead(NAME, place.address),
            "let port 80 of cal.lab.test lead to this host",
        ),
        "unreachable authority": (authority.stop, authority.resume, "can't be reached"),
        "rate limit": (lambda: authority.limit(limited, 7200), authority.unlimit, limited),
    }
    break_it, mend_it, words = troubles[trouble]
    break_it()
    try:
        # As if issued for other settings, so that another is due; not before, or the timer gets one.
        machine.run(f"sed -i '1s/^/# /' {PAIR}")
        status, said = place.care()
        assert status == NOT_YET
        assert words in said
        assert place.serial() == before
        outcome = place.server.deploy()
        assert outcome.status == 0, outcome.output
        assert words in outcome.output
        assert place.certificate()["status"] == "warning"
        assert place.server.check()["healthy"]
        if trouble == "rate limit":
            assert outcome.changed == [], "an authority that has said when isn't asked sooner, whoever is in a hurry"
    finally:
        mend_it()
    place.time_passes()
    assert place.care()[0] == 0
    assert wait_until(lambda: place.serial() != before, 10)
    assert place.certificate()["status"] == "ok"
    assert place.server.deploy().changes == 0


@pytest.mark.parametrize("trouble", ["forgotten", "cut short", "doubled"])
def test_an_account_that_is_of_no_use_any_more_is_made_anew(place: Place, trouble: str) -> None:
    """Forgotten by the authority, or damaged here by a power cut: nobody has to know where accounts are kept."""
    before, machine = place.serial(), place.server.machine
    accounts = "/var/lib/baikal/acme/accounts/acme.lab.test:14000/dir"
    if trouble == "forgotten":
        place.authority.restart()
    elif trouble == "cut short":
        machine.run(f"truncate -s 30 {accounts}/*/private_key.json")
    else:
        machine.run(f"cd {accounts} && cp -a * 00000000000000000000000000000000")
    status, said = place.care("--renew")
    assert status == 0, said
    assert wait_until(lambda: place.serial() != before, 10)
    assert len(machine.run(f"ls {accounts}").split()) == 1


def test_a_site_that_nginx_refuses_holds_a_renewal_back_until_it_is_mended(place: Place) -> None:
    """The new certificate is there, the old one serves, everybody is told why; then the next look takes it."""
    before = place.serial()
    machine = place.server.machine
    machine.write("/etc/nginx/conf.d/broken.conf", "this is no nginx configuration;\n")
    status, said = place.care("--renew")
    assert status == NOT_YET
    assert "nginx refuses its configuration" in said
    assert "broken.conf" in said
    assert place.serial() == before
    assert any("another one than it should" in finding["message"] for finding in place.server.check()["findings"])
    machine.run("rm /etc/nginx/conf.d/broken.conf")
    assert place.care()[0] == 0
    assert wait_until(lambda: place.serial() != before, 10)
    assert place.server.deploy().changes == 0


def test_another_name_is_a_setting_and_a_run(place: Place) -> None:
    """A further name is added, the host name changed, and changed back: nothing is left of what no longer serves."""
    server, authority = place.server, place.authority
    issued = authority.issued()
    try:
        outcome = server.deploy(hostnames=[OTHER])
        assert outcome.status == 0, outcome.output
        assert "until then this one is used" in outcome.output, "the old name goes on with the certificate that it had"
        assert "Pebble" in shown(server.port, NAME).issuer
        authority.lead(OTHER, place.address)
        assert server.deploy(hostnames=[OTHER]).changed == [ASK]
        assert set(shown(server.port, OTHER).names) == {NAME, OTHER}
        redirect = server.ask("GET", "/x", port=80, headers={"Host": OTHER})
        assert redirect.headers["location"] == f"https://{OTHER}/x"
        outcome = server.deploy(hostname=OTHER)
        assert outcome.status == 0, outcome.output
        assert shown(server.port, OTHER).names == (OTHER,)
        assert server.deploy(hostname=OTHER).changes == 0
        files = server.machine.run("ls /var/lib/baikal/tls").split()
        assert files == [f"letsencrypt-{OTHER}.conf", f"letsencrypt-{OTHER}.pem"]
        assert authority.issued() == issued + 2
    finally:
        authority.forget(OTHER)
    assert server.deploy().status == 0
    assert shown(server.port, NAME).names == (NAME,)
    assert server.deploy().changes == 0
    assert authority.issued() == issued + 3, "the certificate for both names was for other settings"


def test_there_and_back_between_all_ways_costs_no_certificate(place: Place) -> None:
    """To self-signed, files of one's own, none at all, and back: what was issued is still there, and nothing else."""
    server, machine = place.server, place.server.machine
    machine.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout /etc/ssl/own.key"
        f" -out /etc/ssl/own.crt -days 90 -subj /CN=own -addext subjectAltName=DNS:{NAME} 2>&1"
    )
    serial, issued = place.serial(), place.authority.issued()
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
    assert place.serial() == serial
    assert place.authority.issued() == issued
    assert server.deploy().changes == 0
    assert machine.run(
        "systemctl is-active baikal-certificate.timer; systemctl is-enabled baikal-certificate.timer"
    ).split() == [
        "active",
        "enabled",
    ]


def test_a_certificate_whose_end_is_near_is_renewed_by_the_timer(place: Place) -> None:
    """The timer itself does it; its pace is the only thing that this test changes."""
    machine = place.server.machine
    aged = Signer.root().issue(NAME, days=(-80, 10))
    above = machine.read(f"{PAIR}").partition("\n")[0]
    machine.write(f"{PAIR}", f"{above}\n{aged.chain}{aged.key}", "0600")
    machine.run("baikalctl apply && systemctl reload nginx")
    assert wait_until(lambda: shown(place.server.port, NAME).pem.strip() == aged.certificate.strip(), 10)
    old = place.serial()
    folder = "/etc/systemd/system/baikal-certificate.timer.d"
    machine.run(f"mkdir -p {folder}")
    machine.write(f"{folder}/pace.conf", "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/2\nRandomizedDelaySec=0\n")
    try:
        machine.run("systemctl daemon-reload && systemctl restart baikal-certificate.timer")
        assert wait_until(lambda: place.serial() != old, 30, pause_s=0.5), machine.run("journalctl -n 30 --no-pager")
    finally:
        machine.run(f"rm -r {folder}; systemctl daemon-reload; systemctl restart baikal-certificate.timer")
    log = machine.run("journalctl --no-pager --unit baikal-certificate.service")
    assert "ask acme.lab.test:14000 for a certificate" in log
    assert place.certificate()["status"] == "ok"
    assert place.server.deploy().changes == 0
