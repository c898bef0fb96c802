"""testssl.sh beside a machine: what a stranger finds of its TLS, and the grade for it."""

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
"""Whose testssl.sh it is: Debian 12's doesn't rate yet. It does so by the rules of SSL Labs."""
LIMIT_S: Final = 300
# Every section that counts for the grade; what is left out only simulates browsers.
SECTIONS: Final = ("-p", "-s", "-f", "-P", "-S", "-h", "-U")
SCAN: Final = f"""
cat >/root.pem
testssl --quiet --color 0 --warnings batch --ip 127.0.0.1 --add-ca /root.pem --jsonfile /found.json \\
    {" ".join(SECTIONS)} https://{HOSTNAME}/ >&2
cat /found.json
"""
GRAVE: Final = {"MEDIUM", "HIGH", "CRITICAL", "FATAL"}
ALLOWED: Final = {"cert_revocation": "the lab's authority keeps no list of what it has revoked"}


@dataclass(frozen=True)
class Scan:
    """What was found, by testssl.sh's own names."""

    findings: Mapping[str, str]
    problems: Mapping[str, str]
    """What of it somebody should do something about."""

    @property
    def grade(self) -> str:
        """From A+ to F; T without a trusted chain."""
        return self.findings["overall_grade"]

    @property
    def score(self) -> int:
        """The figure behind the grade, of 100."""
        return int(self.findings["final_score"])


def scan(machine: Machine, root: str) -> Scan:
    """Look at port 443 of ``machine`` as somebody who trusts the authority ``root``, PEM, too; takes a minute or two."""
    image = machine_image(machine.engine, DISTRIBUTION, ("testssl.sh",))
    options = ("--rm", "-i", "--network", f"container:{machine.name}", "--entrypoint", "sh")
    output = machine.engine.docker("run", *options, image, "-c", SCAN, input=root, timeout=LIMIT_S)
    findings = json.loads(output)
    problems = [finding for finding in findings if finding["severity"] in GRAVE and finding["id"] not in ALLOWED]
    return Scan(*({finding["id"]: finding["finding"] for finding in some} for some in (findings, problems)))
