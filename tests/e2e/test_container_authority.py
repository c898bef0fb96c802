"""Certificates from an authority, in a container: asked for by itself, kept in the volume, renewed without a gap."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.lab.acme import AcmeServer, Network, address
from tests.lab.asking import PASSWORD
from tests.lab.certificates import Signer
from tests.lab.container import Container, Volume
from tests.lab.engine import Engine, wait_until
from tests.lab.shown import Visitor, shown

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


class Place:
    """An authority, and containers beside it on one network."""

    def __init__(self, engine: Engine, image: str, network: Network, authority: AcmeServer, folder: Path) -> None:
        """Write what the containers are to trust."""
        self.engine, self.image, self.network, self.authority = engine, image, network, authority
        self.folder = folder
        folder.chmod(0o755)
        (folder / "authority.pem").write_text(authority.ca)

    def run(self, volume: Volume | None = None, *options: str, **environment: str) -> Container:
        """Run a container that asks the authority."""
        asking = {
            "BAIKAL_HOSTNAME": NAME,
            "BAIKAL_TLS": "letsencrypt",
            "BAIKAL_ACME_EMAIL": "ops@lab.test",
            "BAIKAL_ACME_SERVER": self.authority.directory,
            "BAIKAL_ACME_CA": "/acme/authority.pem",
        }
        given = ("--network", self.network.name, "--volume", f"{self.folder}:/acme:ro", *options)
        return Container.run(
            self.engine, self.image, volume=volume, options=given, environment={**asking, **environment}
        )

    def lead(self, container: Container) -> None:
        """Have the name lead to this container."""
        self.authority.lead(NAME, address(self.engine, self.network, container.name))


def _issuer(container: Container) -> str:
    return shown(container.ports[443], NAME).issuer


def _care(container: Container, *options: str) -> str:
    return container.execute("baikalctl", "certificate", *options, check=False)


@pytest.fixture(scope="module")
def place(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Give an authority that issues for long."""
    with Network(engine) as network, AcmeServer.start(engine, network) as authority:
        yield Place(engine, image, network, authority, tmp_path_factory.mktemp("acme"))


def test_a_container_is_up_at_once_and_gets_its_certificate_by_itself(place: Place) -> None:
    """Self-signed first; asked for as soon as it serves; in the volume, so the next container needs none.

    As an ordinary user, with nothing that can be written but the volume.
    """
    issued = place.authority.issued()
    with Volume(place.engine) as volume:
        with place.run(volume, *HARDENED) as first:
            assert "Pebble" not in _issuer(first)
            assert wait_until(lambda: "is asked again after" in first.log(), 20), first.log()
            assert "make port 80 of cal.lab.test reach this host" in first.log()
            place.lead(first)
            said = _care(first, "--now")
            assert SERVES in said
            assert "Pebble" in _issuer(first)
            before = shown(first.ports[443], NAME).serial
            with Visitor(first.ports[443], NAME, place.authority.root()) as visitor:
                assert wait_until(lambda: visitor.answers > 10, 20)
                assert SERVES in _care(first, "--renew")
                seen = visitor.answers
                assert wait_until(lambda: visitor.answers > seen + 20, 20)
            assert visitor.failures == []
            assert len(visitor.serials) == 2
            serial = shown(first.ports[443], NAME).serial
            assert serial != before
            assert "ok       certificate" in first.execute("baikalctl", "check")
        assert place.authority.issued() == issued + 2
        with place.run(volume, *HARDENED) as second:
            assert shown(second.ports[443], NAME).serial == serial, "from its first moment on"
            assert second.execute("baikalctl", "certificate") == ""
            assert not second.execute("find", "/var/lib/baikal/acme", "-type", "f", "-perm", "/077")
    assert place.authority.issued() == issued + 2


def test_a_container_whose_authority_is_down_serves_and_asks_again(place: Place) -> None:
    """With the rights of root, whose services have accounts of their own."""
    place.authority.stop()
    try:
        with place.run() as container:
            assert wait_until(lambda: "can't be reached" in container.log(), 20), container.log()
            assert container.serving()
            assert "warning  certificate" in container.execute("baikalctl", "check")
            place.authority.resume()
            place.lead(container)
            assert SERVES in _care(container, "--now")
            assert "Pebble" in _issuer(container)
    finally:
        place.authority.resume()


def test_a_host_that_port_80_does_not_reach_proves_its_name_by_the_dns(place: Place) -> None:
    """A hook of one's own sets the record and clears it; nothing in the DNS leads to the server."""
    hook = place.folder / "hook"
    hook.write_text(HOOK.replace("DNS", place.authority.dns_management))
    hook.chmod(0o755)
    place.authority.forget(NAME)
    with place.run(BAIKAL_ACME_DNS_HOOK="/acme/hook") as container:
        assert wait_until(lambda: "Pebble" in _issuer(container), 30), container.log()


def test_certificates_that_end_in_a_minute_are_renewed_in_time_whatever_the_authority_rejects(
    engine: Engine, image: str, tmp_path: Path
) -> None:
    """Its customers have an account of theirs, some nonces are refused, and nobody but the container looks at the clock."""
    with (
        Network(engine) as network,
        AcmeServer.start(engine, network, validity_s=45, eab=True, nonce_reject_percent=10) as authority,
    ):
        place = Place(engine, image, network, authority, tmp_path)
        (tmp_path / "key").write_text(authority.eab_hmac_key + "\n")
        with place.run(
            BAIKAL_ACME_EAB_KEY_ID=authority.eab_key_id, BAIKAL_ACME_EAB_HMAC_KEY_FILE="/acme/key"
        ) as container:
            place.lead(container)
            # It may have asked before the name led to it; while it does, nobody else can.
            assert wait_until(lambda: "Pebble" in _issuer(container) or "asked again" in container.log(), 30)
            _care(container, "--now")
            assert wait_until(lambda: "Pebble" in _issuer(container), 30), container.log()
            first = shown(container.ports[443], NAME)
            with Visitor(container.ports[443], NAME, authority.root()) as visitor:
                assert wait_until(lambda: shown(container.ports[443], NAME).serial != first.serial, 60), container.log()
            assert visitor.failures == []
            assert dt.datetime.now(dt.UTC) < first.ends, "the old one was still good"
            assert authority.eab_hmac_key not in container.log()
            assert not container.execute(
                "sh", "-c", f"grep -rl '{authority.eab_hmac_key}' /var/lib/baikal /tmp || true"
            )


def test_replaced_files_are_taken_into_service_without_a_restart(engine: Engine, image: str, tmp_path: Path) -> None:
    """And broken ones aren't, not even by a restart: what served goes on serving."""
    root = Signer.root()
    tmp_path.chmod(0o755)

    def bring(pair: Any, key: str = "") -> None:  # noqa: ANN401
        (tmp_path / "new.pem").write_text(pair.chain)
        (tmp_path / "new.key").write_text(key or pair.key)
        (tmp_path / "new.pem").replace(tmp_path / "cal.pem")
        (tmp_path / "new.key").replace(tmp_path / "cal.key")

    first, second = root.issue(NAME), root.issue(NAME)
    bring(first)
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
        assert shown(port, NAME).pem.strip() == first.certificate.strip()
        bring(second)
        assert wait_until(lambda: shown(port, NAME).pem.strip() == second.certificate.strip(), REFRESH_LIMIT_S, 1)
        bring(first, key=second.key)
        said = _care(container)
        assert "/own/cal.key is not the key of /own/cal.pem" in said
        engine.docker("restart", container.name)
        container.wait_until_serving()
        assert shown(container.ports[443], NAME).pem.strip() == second.certificate.strip()
        assert "failed   certificate" in container.execute("baikalctl", "check", check=False)
        assert container.ask("PROPFIND", "/dav.php/", user="jo", password=PASSWORD).status == 207


HOOK: Final = """#!/usr/bin/python3
import json, os, sys, urllib.request
name = f"_acme-challenge.{os.environ['CERTBOT_DOMAIN']}."
command = {"add": "set-txt", "remove": "clear-txt"}[sys.argv[1]]
body = json.dumps({"host": name, "value": os.environ["CERTBOT_VALIDATION"]}).encode()
urllib.request.urlopen(f"DNS/{command}", body, timeout=10).read()
"""
