"""testssl.sh in the network of a machine: its findings on TLS, and the grade."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.lab.http_request import HOSTNAME
from tests.lab.images import machine_image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.lab.machine import Machine


DISTRIBUTION: Final = "debian:13"
"""Its testssl.sh is used: the one of Debian 12 doesn't rate yet. Ratings follow the rules of SSL Labs."""
LIMIT_S: Final = 300
# All sections that affect the grade; those left out only simulate browsers.
SECTIONS: Final = ("-p", "-s", "-f", "-P", "-S", "-h", "-U")
SCAN: Final = f"""
cat >/root.pem
testssl --quiet --color 0 --warnings batch --ip 127.0.0.1 --add-ca /root.pem --jsonfile /found.json \\
    {" ".join(SECTIONS)} https://{HOSTNAME}/ >&2
cat /found.json
"""
GRAVE: Final = {"MEDIUM", "HIGH", "CRITICAL", "FATAL"}
ALLOWED: Final = {"cert_revocation": "the lab's CA has no revocation list"}


@dataclass(frozen=True)
class Scan:
    """Findings by testssl.sh's ids."""

    findings: Mapping[str, str]
    problems: Mapping[str, str]
    """Findings that need action."""

    @property
    def grade(self) -> str:
        """The grade, from A+ to F; T without a trusted chain."""
        return self.findings["overall_grade"]

    @property
    def score(self) -> int:
        """The figure behind the grade, of 100."""
        return int(self.findings["final_score"])


def scan(machine: Machine, root: str) -> Scan:
    """Scan port 443 of ``machine``, additionally trusting the CA ``root`` (PEM); takes a minute or two."""
    image = machine_image(machine.engine, DISTRIBUTION, ("testssl.sh",))
    options = ("--rm", "-i", "--network", f"container:{machine.name}", "--entrypoint", "sh")
    output = machine.engine.docker("run", *options, image, "-c", SCAN, input=root, timeout=LIMIT_S)
    findings = json.loads(output)
    problems = [finding for finding in findings if finding["severity"] in GRAVE and finding["id"] not in ALLOWED]
    return Scan(*({finding["id"]: finding["finding"] for finding in some} for some in (findings, problems)))
