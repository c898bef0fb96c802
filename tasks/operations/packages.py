"""Packages of the distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra import logger
from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from baikalctl.output import escaped
from baikalctl.rendering import nginx, postfix
from tasks.machine import AptLockFact

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from pyinfra.api.host import Host

APT = (
    "DEBIAN_FRONTEND=noninteractive apt-get"
    " -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold"
)
CONFIGURE = """
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
for attempt in $(seq 100); do
    output=$(dpkg --configure -a --force-confold 2>&1) && exit 0
    case $output in *lock*) sleep 3 ;; *) break ;; esac
done
packages=$(echo $(echo "$output" | sed '1,/^Errors were encountered while processing:/d'))
echo "ERROR: dpkg can't configure ${packages:-a package}: run dpkg --configure -a on the host, fix what it reports" >&2
echo "$output" >&2; exit 1
""".strip()
"""Finishes the work of an interrupted dpkg. Unlike apt, dpkg has no option to wait for another process's lock."""
LEFT_OUT = (
    "--path-exclude=/usr/share/doc/*",
    "--path-include=/usr/share/doc/*/copyright",
    "--path-exclude=/usr/share/info/*",
    "--path-exclude=/usr/share/lintian/*",
    "--path-exclude=/usr/share/locale/*",
    "--path-exclude=/usr/share/man/*",
)
"""dpkg's options for an image: it needs no documentation. The slim official images leave out the same."""
EARLY = (*nginx.EARLY, *postfix.EARLY)
"""Units that apt would start before their configuration exists. They get a condition while apt runs. Masking them would
also keep their packages from enabling them, and enabling takes half a second more."""


@operation()
def installed(packages: Sequence[str], *, booted: bool) -> Generator[StringCommand, None, None]:
    """Install ``packages``, which are missing on the host. First finish the work of an interrupted run.

    ``booted`` is whether the target is a running machine, and not an image.
    """
    if not packages:
        return
    if host.state.is_executing:
        report_apt_lock(host)
    leaving_out = "" if booted else "".join(f" -o Dpkg::Options::='{option}'" for option in LEFT_OUT)
    install = f"{APT}{leaving_out} install --yes --no-install-recommends {' '.join(packages)}"
    conditions = {_drop_in(each.unit): each.waits_for for each in EARLY if booted and each.package in packages}
    prepare = [f"echo '{postfix.PRESEED}' | debconf-set-selections"] if postfix.POSTFIX in packages else []
    prepare += [
        f"mkdir -p $(dirname {path}); printf '[Unit]\\nConditionPathExists={waits_for}\\n' > {path}"
        for path, waits_for in conditions.items()
    ]
    prepare += ["systemctl daemon-reload"] if conditions else []
    yield StringCommand("\n".join([*prepare, CONFIGURE]))
    # Lists that are younger than a day may still name packages that the archive has replaced since.
    install = f"{install} || {{ {APT} update && {install}; }}"
    if conditions:
        install = f"trap 'rm -f {' '.join(conditions)}; systemctl daemon-reload' EXIT; {install}"
    yield StringCommand(install)


def report_apt_lock(host: Host) -> None:
    """Log the process that uses apt or dpkg on the host, if there is one: the next commands wait for it."""
    holder = host.get_fact(AptLockFact)
    if holder:
        logger.info(f"{host.print_prefix}waiting up to 5 minutes for {escaped(holder)}, which is using apt or dpkg")


def _drop_in(unit: str) -> str:
    """Return the path of the drop-in with the unit's condition. It is in /run, so after a killed run a boot removes it."""
    return f"/run/systemd/system/{unit}.service.d/baikal-hold.conf"
