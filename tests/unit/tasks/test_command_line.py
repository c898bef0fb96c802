"""Mistakes in the command line and in the inventory: one line and exit status 1, before pyinfra connects."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.engine import wait_until
from tests.unit.samples import HOME, PASSWORD

if TYPE_CHECKING:
    from collections.abc import Mapping

GOOD = 'hosts = [("@fake/cal", {"hostname": "cal.example.org", "fake_delay": 0, "fake_delay_jitter": 0})]\n'
EXAMPLE = '[("cal.example.org", {"hostname": "cal.example.org"})]'
FORMS = f'write a host as "cal.example.org", or with its data as {EXAMPLE[1:-1]}'


def run(
    *arguments: str, directory: Path = HOME, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run pyinfra's command line; its error output has no colours."""
    environment = os.environ | {"BAIKAL_ADMIN_PASSWORD": PASSWORD, "PYINFRA_PROGRESS": "off"} | dict(variables or {})
    command = [sys.executable, "-m", "pyinfra", *arguments]
    ran = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    ran.stderr = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", ran.stderr)
    return ran


def assert_refused(ran: subprocess.CompletedProcess[str], message: str) -> None:
    """Assert that the run ended with this message alone, before it connected to a host."""
    assert ran.returncode == 1, ran.stderr
    assert message in [line.removeprefix("--> ") for line in ran.stderr.splitlines()]
    for unexpected in ("Traceback", "Connecting to hosts", "bug report"):
        assert unexpected not in ran.stderr + ran.stdout


INVENTORIES = {
    "a host instead of a list": (
        'hosts = ("cal.example.org", {"ssh_hostname": "192.0.2.1"})',
        f"INVENTORY: hosts must be a list: hosts = {EXAMPLE}",
    ),
    "a tuple of hosts": ('hosts = (("a", {}), ("b", {}))', f"INVENTORY: hosts must be a list: hosts = {EXAMPLE}"),
    "a name instead of a list": ('hosts = "cal.example.org"', f"INVENTORY: hosts must be a list: hosts = {EXAMPLE}"),
    "a host instead of a group": (
        'hosts = ["a"]\neurope = ("cal.example.org", {})',
        f"INVENTORY: europe must be a list: europe = {EXAMPLE}",
    ),
    "a host without its data": (
        'hosts = ["a", ("b",)]',
        f"INVENTORY: hosts, host 2: must be a name and its data; {FORMS}",
    ),
    "data without its host": (
        'hosts = ["cal.example.org", {"hostname": "cal.example.org"}]',
        f"INVENTORY: hosts, host 2: is a dict, not a host; {FORMS}",
    ),
    "an empty name": (
        'hosts = [""]',
        f"INVENTORY: hosts, host 1: has an empty name; {FORMS}",
    ),
    "a missing comma after a name": (
        'hosts = [\n    ("a" {}),\n]',
        "INVENTORY line 2: invalid syntax. Perhaps you forgot a comma?",
    ),
    "a missing comma after a host": (
        'hosts = [\n    ("a", {})\n    ("b", {}),\n]',
        "INVENTORY line 2: TypeError: 'tuple' object is not callable; is a comma missing?",
    ),
    "a name that Python doesn't know": (
        'hosts = [("a", {"_sudo": true})]',
        "INVENTORY line 1: NameError: name 'true' is not defined",
    ),
    "no hosts": ("hosts = []", f"INVENTORY has no hosts; add one: hosts = {EXAMPLE}"),
    "a key file that doesn't exist": (
        'hosts = [("a", {"ssh_key": "~/no-such-key"})]',
        "a: ssh_key = '~/no-such-key': there is no such file on this machine; set the path of a private key",
    ),
}


@pytest.mark.parametrize(("text", "message"), INVENTORIES.values(), ids=INVENTORIES)
def test_wrong_inventory_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    """By itself, pyinfra would print a traceback, deploy to each letter of a name, or end with 0 and nothing deployed."""
    inventory = tmp_path / "inventory.py"
    inventory.write_text(text, encoding="utf-8")
    assert_refused(run("-y", str(inventory), "deploy.py"), message.replace("INVENTORY", str(inventory)))


ARGUMENTS = {
    "a misspelt inventory": (
        ("-y", "inventroy.py", "deploy.py"),
        "inventroy.py: there is no such inventory file; did you mean inventory.py?",
    ),
    "an inventory that doesn't exist": (
        ("-y", "xyz/hosts.py", "deploy.py"),
        "xyz/hosts.py: there is no such inventory file, or it is in another directory",
    ),
    "a host that doesn't exist": (
        ("-y", "cal.invalid", "deploy.py"),
        "cal.invalid is not an inventory file, and no host of this name was found",
    ),
    "an unknown host to limit to": (
        ("-y", "inventory.py", "deploy.py", "--limit", "nosuch"),
        "--limit nosuch: this leaves no host; the inventory has cal.example.org",
    ),
    "all hosts excluded": (
        ("-y", "inventory.py", "deploy.py", "--exclude", "cal.*"),
        "--exclude cal.*: this leaves no host; the inventory has cal.example.org",
    ),
    "the deploy first": (
        ("deploy.py", "inventory.py"),
        "the inventory comes first: pyinfra inventory.py deploy.py",
    ),
    "the backup first": (
        ("-y", "backup.py", "examples/fleet/inventory.py"),
        "the inventory comes first: pyinfra examples/fleet/inventory.py backup.py",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_wrong_arguments_are_refused_in_one_line(arguments: tuple[str, ...], message: str) -> None:
    """Nothing was deployed, so the exit status is 1."""
    assert_refused(run(*arguments), message)


def test_error_in_group_data_is_one_line(tmp_path: Path) -> None:
    """The line names the file, which isn't the inventory."""
    (tmp_path / "group_data").mkdir()
    group = tmp_path / "group_data/all.py"
    group.write_text("admin = 1\nhttp_port = 80 90\n", encoding="utf-8")
    (tmp_path / "inventory.py").write_text(GOOD, encoding="utf-8")
    ran = run("-y", str(tmp_path / "inventory.py"), "deploy.py")
    assert_refused(ran, f"{group} line 2: invalid syntax")


def test_error_outside_of_the_inventory_keeps_its_traceback(tmp_path: Path) -> None:
    """The author of a module that an inventory imports needs the lines of the module."""
    (tmp_path / "own_module.py").write_text("def names():\n    return 1 / 0\n", encoding="utf-8")
    text = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport own_module\nhosts = own_module.names()\n"
    (tmp_path / "inventory.py").write_text(text, encoding="utf-8")
    ran = run("-y", str(tmp_path / "inventory.py"), "deploy.py")
    assert ran.returncode == 1
    assert "own_module.py" in ran.stderr
    assert "ZeroDivisionError" in ran.stderr


@pytest.mark.parametrize(
    "text",
    [
        'hosts = (["@fake/cal"], {"ssh_port": 22})',
        'hosts = ["@fake/cal"]\neurope = (["@fake/cal"], {})\nPORTS = [80, 443]\n_PAIR = ("a", "b")\nTEXT = "x"',
    ],
    ids=["a group with data", "groups and other variables"],
)
def test_inventory_in_pyinfras_own_forms_is_read(tmp_path: Path, text: str) -> None:
    """Groups with data, and variables that aren't groups."""
    (tmp_path / "inventory.py").write_text(text, encoding="utf-8")
    ran = run(str(tmp_path / "inventory.py"), "debug-inventory", "--json")
    assert ran.returncode == 0, ran.stderr
    assert "@fake/cal" in ran.stdout


def test_known_hosts_is_created(tmp_path: Path) -> None:
    """For the user alone, as ssh does it; pyinfra writes the keys of new hosts to it."""
    (tmp_path / "inventory.py").write_text('hosts = [("a", {"ssh_hostname": "127.0.0.1", "ssh_port": 1})]')
    ran = run("-y", str(tmp_path / "inventory.py"), "deploy.py", variables={"HOME": str(tmp_path)})
    assert ran.returncode == 1
    assert "known_hosts" not in ran.stderr
    assert (tmp_path / ".ssh").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / ".ssh/known_hosts").stat().st_mode & 0o777 == 0o600


def test_home_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A file in place of the home directory stands for one without permission, which root has anyway."""
    (tmp_path / "home").touch()
    (tmp_path / "inventory.py").write_text('hosts = [("a", {"ssh_hostname": "127.0.0.1"})]')
    ran = run("-y", str(tmp_path / "inventory.py"), "deploy.py", variables={"HOME": str(tmp_path / "home")})
    path = tmp_path / "home/.ssh/known_hosts"
    message = f"{path} can't be created (Not a directory); set HOME to a directory that this user can write"
    assert ran.returncode == 1
    assert message in ran.stderr


@pytest.mark.parametrize("name", ["deploy.py", "backup.py", "restore.py"])
def test_deploy_files_run_from_another_directory(tmp_path: Path, name: str) -> None:
    """They find their own modules. The host of the test doesn't answer, so that nothing happens."""
    (tmp_path / "inventory.py").write_text(GOOD, encoding="utf-8")
    data = ("--data", "restore_from=latest") if name == "restore.py" else ()
    ran = run(str(tmp_path / "inventory.py"), str(HOME / name), "--dry", *data, directory=tmp_path)
    assert "ModuleNotFoundError" not in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "didn't answer a question" in ran.stderr or name == "backup.py"


def test_group_data_is_read_from_another_directory(tmp_path: Path) -> None:
    """It imports a module of the checkout."""
    ran = run(str(HOME / "inventory.py"), "debug-inventory", "--json", directory=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert '"tls": "selfsigned"' in ran.stdout


def test_ctrl_c_before_the_deploy_is_loaded_ends_with_130(tmp_path: Path) -> None:
    """While pyinfra connects, as well as while hosts are examined."""
    delays = {"hostname": "cal.example.org", "fake_delay": 5, "fake_delay_jitter": 0}
    (tmp_path / "inventory.py").write_text(f"hosts = {[('@fake/cal', delays)]!r}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pyinfra", str(tmp_path / "inventory.py"), "deploy.py", "-y"]
    environment = os.environ | {"BAIKAL_ADMIN_PASSWORD": PASSWORD, "PYINFRA_PROGRESS": "off"}
    with subprocess.Popen(command, cwd=HOME, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        output = ""
        while "Loading: " not in output:
            output += process.stderr.readline()
        assert wait_until(lambda: _handles_sigterm(process.pid), 5, 0.01)
        process.send_signal(signal.SIGINT)
        output += process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGINT
    assert "Stopped by SIGINT" in output
    assert "Traceback" not in output


def _handles_sigterm(pid: int) -> bool:
    """Tell whether the process handles SIGTERM itself, as pyinfra does once config.py is loaded."""
    (mask,) = re.findall(r"^SigCgt:\s+(\w+)$", Path(f"/proc/{pid}/status").read_text(encoding="ascii"), re.MULTILINE)
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)
