"""An unreachable host gets its certificate by DNS, with one of certbot's plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.lab.acme import AcmeServer, Network, address
from tests.lab.images import PACKAGES, machine_image
from tests.lab.machine import Machine
from tests.lab.served_certificate import served_certificate
from tests.lab.server import Server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.engine import Engine
    from tests.lab.release import Release


NAME: Final = "cal.lab.test"
TRUSTED: Final = "/etc/ssl/lab-authority.pem"
CREDENTIALS: Final = "/etc/baikal/dns.ini"


def test_certbot_plugin_sets_the_record(engine: Engine, release: Release, tmp_path: Path) -> None:
    """With rfc2136, as in BIND: an unknown plugin and a wrong key are reported, the right key gets the certificate."""
    image = machine_image(engine, "debian:12", PACKAGES)
    with (
        Network(engine) as network,
        AcmeServer.start(engine, network, bind=True) as authority,
        Machine.start(engine, image, options=["--network", network.name]) as machine,
    ):
        machine.write(TRUSTED, authority.ca)
        credentials = tmp_path / "dns.ini"

        def write(secret: str) -> None:
            credentials.write_text(
                f"dns_rfc2136_server = {address(engine, network, authority.name)}\n"
                f"dns_rfc2136_name = {authority.tsig_name}\n"
                f"dns_rfc2136_secret = {secret}\n"
                f"dns_rfc2136_algorithm = {authority.tsig_algorithm.upper()}\n"
            )

        server = Server(
            machine,
            release,
            data={
                "hostname": NAME,
                "hostnames": ["dav.lab.test"],
                "tls": "letsencrypt",
                "acme_email": "ops@lab.test",
                "acme_server": authority.directory,
                "acme_ca": TRUSTED,
                "acme_key_type": "rsa",
                "acme_dns_plugin": "rfc2136",
                "acme_dns_credentials": {"file": str(credentials)},
                "acme_dns_propagation_s": 1,
            },
        )
        write("c29tZWJvZHkgZWxzZSdzIGtleQ==")
        unknown = server.deploy(acme_dns_plugin="nosuch")
        assert unknown.status == 1
        assert "python3-certbot-dns-nosuch is not available on this host" in unknown.output
        assert "check acme_dns_plugin" in unknown.output
        refused = server.deploy()
        assert refused.status == 0, refused.output
        assert "no certificate from acme.lab.test:14000" in refused.output
        assert "acme_dns_credentials" in refused.output, refused.output[-1500:]
        write(authority.tsig_secret)
        outcome = server.deploy()
        assert outcome.status == 0, outcome.output
        certificate = served_certificate(server.port, NAME)
        assert "Pebble" in certificate.issuer
        assert set(certificate.names) == {NAME, "dav.lab.test"}
        assert "Public Key Algorithm: rsaEncryption" in machine.run(
            f"openssl x509 -noout -text -in /var/lib/baikal/tls/letsencrypt-{NAME}.pem"
        )
        assert server.deploy().changes == 0
        assert machine.run(f"stat -c '%a %U' {CREDENTIALS}").split() == ["600", "root"]
        for text in (refused.output, outcome.output, machine.run("journalctl --no-pager")):
            assert authority.tsig_secret not in text
        assert machine.run(f"grep -rl '{authority.tsig_secret}' /etc /var /tmp /root || true").split() == [CREDENTIALS]
