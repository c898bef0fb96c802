"""A machine that is upgraded repeatedly: declare a version, save and restore its state, check the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.lab.engine import cache_directory
from tests.lab.future_release import Kind
from tests.lab.release import standin
from tests.lab.server import Server

if TYPE_CHECKING:
    from tests.lab.machine import Machine

SAVED: Final = "/srv/saved"
LEFTOVERS: Final = "/var/lib/baikal/.incoming /var/lib/baikal/state/transition.json"
PHP: Final = "unit=$(systemctl list-unit-files --no-legend 'php*-fpm.service' | cut -d' ' -f1)"


def as_version(server: Server, version: str, kind: Kind = Kind.PLAIN) -> Server:
    """Return the same machine with a declared stand-in for ``version``."""
    return Server(server.machine, standin(cache_directory(), version, kind), data=server.data)


def save(machine: Machine) -> None:
    """Save data and release."""
    machine.run(
        f"{PHP}; systemctl stop $unit; rm -rf {SAVED}; mkdir {SAVED}; cp -a /var/lib/baikal {SAVED}/data;"
        f"cp -a /opt/baikal {SAVED}/code; systemctl start $unit"
    )


def restore_saved(machine: Machine) -> None:
    """Restore the saved data and release, and remove all backups."""
    machine.run(
        f"{PHP}; systemctl stop $unit; rm -rf /var/lib/baikal /var/backups/baikal; cp -a {SAVED}/data /var/lib/baikal;"
        f"for name in $(ls {SAVED}/code); do [ -d /opt/baikal/$name ] || cp -a {SAVED}/code/$name /opt/baikal/; done;"
        f"ln -sfn $(readlink {SAVED}/code/current) /opt/baikal/current; systemctl reset-failed $unit; systemctl start $unit"
    )


def differences(machine: Machine, version: str) -> list[str]:
    """Return the differences from a machine with code and data of this version and no leftovers."""
    code = machine.run("basename $(readlink /opt/baikal/current)").strip()
    data = machine.run("grep configured_version /var/lib/baikal/config/baikal.yaml").split()[1].strip("\"'")
    left = machine.run(f"{{ ls -A /var/lib/baikal/maintenance; ls -d {LEFTOVERS}; }} 2>/dev/null || true").split()
    texts = [
        f"the {what} has version {actual}" for what, actual in (("code", code), ("data", data)) if actual != version
    ]
    return texts + [f"{name} is left" for name in left]
