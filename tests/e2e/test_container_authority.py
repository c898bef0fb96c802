"""ACME certificates in a container: requested automatically, kept in the volume, renewed without interruption."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.lab.acme import AcmeServer, Network, address
from tests.lab.certificates import Signer
from tests.lab.container import Container, Volume
from tests.lab.engine import Engine, wait_until
from tests.lab.http_request import PASSWORD
from tests.lab.served_certificate import PollingClient, served_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


NAME: Final = "cal.lab.test"
HARDENED: Final = (
    *("--user", "1000:1000", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"),
    *("--read-only", "--tmpfs", "/run/baikal:mode=1777", "--sysctl", "net.ipv4.ip_unprivileged_port_start=0"),
)
SERVES: Final = "use the certificate in /var/lib/baikal/acme/issued/acme.lab.test:14000_cal.lab.test.pem"
REFRESH_LIMIT_S: Final = 90


class Setup:
    """An ACME server, and containers on its network."""

    def __init__(self, engine: Engine, image: str, network: Network, authority: AcmeServer, folder: Path) -> None:
        """Write the CA that the containers trust."""
        self.engine, self.image, self.network, self.authority = engine, image, network, authority
        self.folder = folder
        folder.chmod(0o755)
        (folder / "authority.pem").write_text(authority.ca)

    def run(self, volume: Volume | None = None, *options: str, **environment: str) -> Container:
        """Run a container that uses the ACME server."""
        asking = {
            "BAIKAL_HOSTNAME": NAME,
            "BAIKAL_TLS": "letsencrypt",
            "BAIKAL_ACME_EMAIL": "ops@lab.test",
            "BAIKAL_ACME_SERVER": self.authority.directory,
            "BAIKAL_ACME_CA": "/acme/authority.pem",
        }
        all_options = ("--network", self.network.name, "--volume", f"{self.folder}:/acme:ro", *options)
        return Container.run(
            self.engine, self.image, volume=volume, options=all_options, environment={**asking, **environment}
        )

    def set_address(self, container: Container) -> None:
        """Set the name's address to this container's."""
        self.authority.set_address(NAME, address(self.engine, self.network, container.name))


def _issuer(container: Container) -> str:
    return served_certificate(container.ports[443], NAME).issuer


def _run_certificate(container: Container, *options: str) -> str:
    return container.execute("baikalctl", "certificate", *options, check=False)


@pytest.fixture(scope="module")
def setup(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """Yield an ACME server with long-lived certificates."""
    with Network(engine) as network, AcmeServer.start(engine, network) as authority:
        yield Setup(engine, image, network, authority, tmp_path_factory.mktemp("acme"))


def test_container_serves_immediately_and_gets_its_certificate_later(setup: Setup) -> None:
    """Self-signed first, requested as soon as it serves, and kept in the volume for the next container.

    As an ordinary user, who can write to the volume only.
    """
    issued = setup.authority.issued()
    with Volume(setup.engine) as volume:
        with setup.run(volume, *HARDENED) as first:
            assert "Pebble" not in _issuer(first)
            assert wait_until(lambda: "the next request is after" in first.log(), 20), first.log()
            assert "make port 80 of cal.lab.test reach this host" in first.log()
            setup.set_address(first)
            output = _run_certificate(first, "--now")
            assert SERVES in output
            assert "Pebble" in _issuer(first)
            before = served_certificate(first.ports[443], NAME).serial
            with PollingClient(first.ports[443], NAME, setup.authority.root()) as visitor:
                assert wait_until(lambda: visitor.answers > 10, 20)
                assert SERVES in _run_certificate(first, "--renew")
                seen = visitor.answers
                assert wait_until(lambda: visitor.answers > seen + 20, 20)
            assert visitor.failures == []
            assert len(visitor.serials) == 2
            serial = served_certificate(first.ports[443], NAME).serial
            assert serial != before
            assert "ok       certificate" in first.execute("baikalctl", "check")
        assert setup.authority.issued() == issued + 2
        with setup.run(volume, *HARDENED) as second:
            assert served_certificate(second.ports[443], NAME).serial == serial, "from its first moment on"
            assert second.execute("baikalctl", "certificate") == ""
            assert not second.execute("find", "/var/lib/baikal/acme", "-type", "f", "-perm", "/077")
    assert setup.authority.issued() == issued + 2


def test_container_serves_and_retries_while_the_ca_is_down(setup: Setup) -> None:
    """As root; the services have their own accounts."""
    setup.authority.stop()
    try:
        with setup.run() as container:
            assert wait_until(lambda: "can't be reached" in container.log(), 20), container.log()
            assert container.serving()
            assert "warning  certificate" in container.execute("baikalctl", "check")
            setup.authority.resume()
            setup.set_address(container)
            assert SERVES in _run_certificate(container, "--now")
            assert "Pebble" in _issuer(container)
    finally:
        setup.authority.resume()


def test_host_without_port_80_gets_its_certificate_by_dns(setup: Setup) -> None:
    """A user's hook sets and clears the record; the name has no address in the DNS."""
    hook = setup.folder / "hook"
    hook.write_text(HOOK.replace("DNS", setup.authority.dns_management))
    hook.chmod(0o755)
    setup.authority.remove_address(NAME)
    with setup.run(BAIKAL_ACME_DNS_HOOK="/acme/hook") as container:
        assert wait_until(lambda: "Pebble" in _issuer(container), 30), container.log()


def test_certificates_of_one_minute_are_renewed_in_time_despite_refused_nonces(
    engine: Engine, image: str, tmp_path: Path
) -> None:
    """With external account binding and refused nonces; only the container's own timer triggers renewals."""
    with (
        Network(engine) as network,
        AcmeServer.start(engine, network, validity_s=45, eab=True, nonce_reject_percent=10) as authority,
    ):
        setup = Setup(engine, image, network, authority, tmp_path)
        (tmp_path / "key").write_text(authority.eab_hmac_key + "\n")
        with setup.run(
            BAIKAL_ACME_EAB_KEY_ID=authority.eab_key_id, BAIKAL_ACME_EAB_HMAC_KEY_FILE="/acme/key"
        ) as container:
            setup.set_address(container)
            # It may have tried before the name had an address, and holds the lock while it does.
            assert wait_until(
                lambda: "Pebble" in _issuer(container) or "the next request is after" in container.log(), 30
            )
            _run_certificate(container, "--now")
            assert wait_until(lambda: "Pebble" in _issuer(container), 30), container.log()
            first = served_certificate(container.ports[443], NAME)
            with PollingClient(container.ports[443], NAME, authority.root()) as visitor:
                assert wait_until(lambda: served_certificate(container.ports[443], NAME).serial != first.serial, 60), (
                    container.log()
                )
            assert visitor.failures == []
            assert dt.datetime.now(dt.UTC) < first.ends, "the old one was still good"
            assert authority.eab_hmac_key not in container.log()
            assert not container.execute(
                "sh", "-c", f"grep -rl '{authority.eab_hmac_key}' /var/lib/baikal /tmp || true"
            )


def test_replaced_files_are_used_without_a_restart(engine: Engine, image: str, tmp_path: Path) -> None:
    """Invalid ones aren't, not even at a restart: the old certificate is still served."""
    root = Signer.root()
    tmp_path.chmod(0o755)

    def install(pair: Any, key: str = "") -> None:  # noqa: ANN401
        (tmp_path / "new.pem").write_text(pair.chain)
        (tmp_path / "new.key").write_text(key or pair.key)
        (tmp_path / "new.pem").replace(tmp_path / "cal.pem")
        (tmp_path / "new.key").replace(tmp_path / "cal.key")

    first, second = root.issue(NAME), root.issue(NAME)
    install(first)
    environment = {
        "BAIKAL_HOSTNAME": NAME,
        "BAIKAL_TLS": "files",
        "BAIKAL_TLS_CERTIFICATE": "/own/cal.pem",
        "BAIKAL_TLS_KEY": "/own/cal.key",
    }
    with Container.run(
        engine, image, environment=environment, options=("--volume", f"{tmp_path}:/own:ro")
    ) as container:
        port = container.ports[443]
        assert served_certificate(port, NAME).pem.strip() == first.certificate.strip()
        install(second)
        assert wait_until(
            lambda: served_certificate(port, NAME).pem.strip() == second.certificate.strip(), REFRESH_LIMIT_S, 1
        )
        install(first, key=second.key)
        output = _run_certificate(container)
        assert "/own/cal.key is not the key of /own/cal.pem" in output
        engine.docker("restart", container.name)
        container.wait_until_serving()
        assert served_certificate(container.ports[443], NAME).pem.strip() == second.certificate.strip()
        assert "failed   certificate" in container.execute("baikalctl", "check", check=False)
        assert container.ask("PROPFIND", "/dav.php/", user="jo", password=PASSWORD).status == 207


HOOK: Final = """#!/usr/bin/python3
import json, os, sys, urllib.request
name = f"_acme-challenge.{os.environ['CERTBOT_DOMAIN']}."
command = {"add": "set-txt", "remove": "clear-txt"}[sys.argv[1]]
body = json.dumps({"host": name, "value": os.environ["CERTBOT_VALIDATION"]}).encode()
urllib.request.urlopen(f"DNS/{command}", body, timeout=10).read()
"""
