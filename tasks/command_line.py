"""Mistakes in the command line and in the inventory, found before pyinfra connects to any host.

pyinfra itself ends with a traceback for some of them, and with exit status 0 for others, although nothing was deployed.
"""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyinfra import logger

from baikalctl.output import escaped
from tasks.pyinfra_internals import command_line, process
from tasks.pyinfra_internals import hosts as pyinfra_hosts

if TYPE_CHECKING:
    from typing import NoReturn

    from pyinfra.api.host import Host
    from pyinfra.api.state import State


ROOT = Path(__file__).resolve().parents[1]
DEPLOYS = ("deploy.py", "backup.py", "restore.py")
EXAMPLE = '("cal.example.org", {"hostname": "cal.example.org"})'
HOST_FORMS = f'write a host as "cal.example.org", or with its data as {EXAMPLE}'
MANY_NAMES = 10
"""No more names of hosts than this are listed in a message."""


def refuse_mistakes() -> None:
    """End the run with exit status 1 and one line for each mistake, now or when pyinfra has read the inventory."""
    state, arguments = command_line.current_state(), command_line.arguments()
    if state is None or "inventory" not in arguments:
        return
    process.exit_on_signals(state)
    inventory = str(arguments["inventory"])
    if Path(inventory).resolve() in [ROOT / name for name in DEPLOYS]:
        other = next((str(each) for each in arguments["operations"] if Path(each).name not in DEPLOYS), "inventory.py")
        _fail(f"the inventory comes first: pyinfra {other} {inventory}")
    _refuse_missing_file(inventory, [str(each) for each in arguments.get("data", ())])
    command_line.check_inventory_files(_check_groups, _fail)
    command_line.check_before_connecting(state, _check_hosts)


def _fail(message: str) -> NoReturn:
    logger.error(f"--> {escaped(message)}")
    sys.exit(1)


def _refuse_missing_file(inventory: str, data: list[str]) -> None:
    """End the run if ``inventory`` names a file that doesn't exist: pyinfra would continue without any host."""
    path = Path(inventory)
    is_file_name = path.suffix == ".py" and not {",", "@"} & set(inventory)
    if not is_file_name or path.exists() or any(each.startswith("ssh_hostname=") for each in data):
        return
    names = [each.name for each in path.parent.glob("*.py") if each.name not in (*DEPLOYS, "config.py")]
    similar = difflib.get_close_matches(path.name, names, 1)
    remedy = f"; did you mean {path.with_name(similar[0])}?" if similar else ", or it is in another directory"
    _fail(f"{inventory}: there is no such inventory file{remedy}")


def _check_groups(filename: str, variables: dict[str, Any]) -> None:
    """End the run if pyinfra would take a variable of the inventory file ``filename`` for hosts, and it isn't a list."""
    if Path(filename).resolve() != Path(str(command_line.arguments().get("inventory", ""))).resolve():
        return  # group data
    for name, value in variables.items():
        if not name.startswith("_") and (fault := _fault(name, value)):
            _fail(f"{filename}: {fault}")


def _fault(name: str, value: object) -> str:
    """Return what is wrong with a variable of an inventory; empty if nothing is."""
    if isinstance(value, tuple):
        # pyinfra's form for a group with data (pyinfra_cli/inventory.py). Of anything else it would make hosts: of
        # ("cal.example.org", {…}), one for each letter.
        if len(value) == 2 and isinstance(value[0], list | tuple) and isinstance(value[1], dict):
            return _fault_of_hosts(name, list(value[0]))
        return f"{name} must be a list: {name} = [{EXAMPLE}]"
    if isinstance(value, list):
        return _fault_of_hosts(name, value)
    return f"{name} must be a list: {name} = [{EXAMPLE}]" if name == "hosts" else ""


def _fault_of_hosts(name: str, hosts: list[object]) -> str:
    if name != "hosts" and not all(isinstance(each, str | tuple) for each in hosts):
        return ""  # a list of something else, which pyinfra ignores
    for number, each in enumerate(hosts, 1):
        if isinstance(each, tuple):
            match each:
                case (str(), dict()):
                    pass
                case _:
                    return f"{name}, host {number}: must be a name and its data; {HOST_FORMS}"
        elif not isinstance(each, str):
            return f"{name}, host {number}: is a {type(each).__name__}, not a host; {HOST_FORMS}"
        elif not each:
            return f"{name}, host {number}: has an empty name; {HOST_FORMS}"
    return ""


def _check_hosts(state: State) -> None:
    """End the run if it has no host, or a host can't be reached because of a file on this machine."""
    hosts = pyinfra_hosts.selected_hosts(state)
    if not hosts:
        _fail(_why_no_host(state))
    ssh = [host for host in hosts if pyinfra_hosts.is_ssh(host)]
    faults = [fault for host in ssh if (fault := _key_fault(host))]
    for fault in faults[:-1]:
        logger.error(f"--> {escaped(fault)}")
    if faults:
        _fail(faults[-1])
    if ssh:
        _make_known_hosts()


def _why_no_host(state: State) -> str:
    inventory = str(command_line.arguments()["inventory"])
    names = [host.name for host in state.inventory]
    if names:
        options = command_line.arguments()
        selected = [f"--{option} {each}" for option in ("limit", "exclude") for each in options.get(option) or ()]
        listed = ", ".join(names[:MANY_NAMES]) + (f" and {len(names) - MANY_NAMES} more" if names[MANY_NAMES:] else "")
        return f"{' '.join(selected)}: this leaves no host; the inventory has {listed}"
    if Path(inventory).exists():
        return f"{inventory} has no hosts; add one: hosts = [{EXAMPLE}]"
    return f"{inventory} is not an inventory file, and no host of this name was found"


def _key_fault(host: Host) -> str:
    """Return why the key file of the host's data can't be used (connectors/ssh_util.py: it raises in a greenlet)."""
    key = host.data.get("ssh_key")
    if not key or Path(str(key)).expanduser().is_file():
        return ""
    return f"{host.name}: ssh_key = {str(key)!r}: there is no such file on this machine; set the path of a private key"


def _make_known_hosts() -> None:
    """Make ``~/.ssh/known_hosts`` if it is missing, as ssh does; pyinfra adds the keys of new hosts to it."""
    path = Path("~/.ssh/known_hosts").expanduser()
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        if not path.exists():
            _fail(f"{path} can't be created ({error.strerror}); set HOME to a directory that this user can write")
