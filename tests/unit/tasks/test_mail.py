"""The one mail server of a machine, and the change from one to another."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.rendering.mail import CONFLICTING
from tasks.machine import Machine, MachineFact
from tasks.mail import KeptMailFact, old_server_removed, queue_saved, refuse_other_server
from tests.unit.fake import SETTLED
from tests.unit.samples import MAIL_SERVERS, RELAY, own_postfix, settings

if TYPE_CHECKING:
    from baikalctl.settings.model import Settings

SERVERS = tuple(MAIL_SERVERS.values())


def save_command() -> str:
    """Return the command that saves queued mail."""
    return f"[ ! -x {paths.COMMAND} ] || {paths.COMMAND} mail take"


def machine(*installed: str, ours: str = "") -> Machine:
    """Return a machine with these packages in addition to the usual ones, and the packages that are recorded as ours."""
    return MachineFact().process([*SETTLED, *(f"installed={name} 1.0" for name in installed), f"mail={ours}"])


def before_packages_change(wanted: str, on: Machine) -> list[str]:
    """Return the commands before packages change."""
    return [str(command) for command in queue_saved._inner(wanted=wanted.split(), machine=on)]


def after_the_server_started(wanted: str, on: Machine) -> list[str]:
    """Return the commands when the new server runs."""
    return [str(command) for command in old_server_removed._inner(wanted=wanted.split(), machine=on)]


def recorded(command: str) -> list[str]:
    """Run the command here, and return the recorded packages as the next run reads them."""
    subprocess.run(["/bin/sh", "-euc", command], check=True, timeout=10)
    record = Path(paths.MAIL_SERVERS).read_text(encoding="ascii").strip()
    assert [path.name for path in Path(paths.MAIL).iterdir() if path.name != "kept"] == ["servers"]
    return list(MachineFact().process([*SETTLED, f"mail={record}"]).mail_servers)


@pytest.mark.usefixtures("host")
def test_first_mail_server_is_recorded_before_it_is_installed() -> None:
    """So that the next run recognises it if this run is interrupted. There is no old server to remove."""
    shutil.rmtree(paths.MAIL)
    (command,) = before_packages_change("nullmailer", machine())
    assert recorded(command) == ["nullmailer"]
    assert after_the_server_started("nullmailer", machine()) == []


@pytest.mark.usefixtures("host")
def test_kept_mail_is_found() -> None:
    """Other files in the directory don't count; nor does a missing directory."""
    shutil.rmtree(paths.MAIL)

    def found() -> bool:
        command = KeptMailFact().command()
        ran = subprocess.run(["/bin/sh", "-euc", command], capture_output=True, text=True, check=True, timeout=10)
        return KeptMailFact().process(ran.stdout.splitlines())

    assert not found()
    Path(paths.KEPT).mkdir(parents=True)
    (Path(paths.KEPT) / ".recipients").touch()
    assert not found()
    for name in ("a.eml", "b.eml"):
        (Path(paths.KEPT) / name).touch()
    assert found()


@pytest.mark.parametrize("server", SERVERS)
def test_unchanged_mail_server_needs_no_command(server: str) -> None:
    """A second run changes nothing."""
    same = machine(server, ours=server)
    assert before_packages_change(server, same) == after_the_server_started(server, same) == []


def test_machine_without_mail_needs_no_command() -> None:
    """The same for a machine with the operator's own mail server."""
    for each in (machine(), machine("exim4-daemon-light"), machine("postfix")):
        assert before_packages_change("", each) == after_the_server_started("", each) == []


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(("old", "new"), [SERVERS, SERVERS[::-1]])
def test_queued_mail_is_saved_and_sent_by_the_new_server(old: str, new: str) -> None:
    """The old server is removed when the new one runs; until then both are recorded as ours."""
    before = machine(old, ours=old)
    save, record = before_packages_change(new, before)
    assert save == save_command()
    assert recorded(record) == sorted((old, new))
    purge, tidy, lift, retry, forget = after_the_server_started(new, before)
    assert lift == f"rm -f {paths.MAIL_CHANGING}"
    assert f" purge --yes {old}" in purge
    assert new not in shlex.split(purge)
    assert "nullmailer.service.d" in tidy
    assert retry == f"{paths.COMMAND} mail retry || true"
    assert recorded(forget) == [new]


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("old", SERVERS)
def test_queued_mail_is_saved_and_not_sent_if_mail_is_switched_off(old: str) -> None:
    """No server is recorded as ours afterwards."""
    before = machine(old, ours=old)
    assert before_packages_change("", before) == [save_command()]
    commands = after_the_server_started("", before)
    assert f" purge --yes {old}" in commands[0]
    assert not [command for command in commands if "mail retry" in command]
    assert recorded(commands[-1]) == []


def test_signer_is_removed_together_with_postfix() -> None:
    """Its removal alone doesn't save the queue of Postfix."""
    both = machine("postfix", "opendkim", ours="opendkim postfix")
    assert after_the_server_started("", both)[0].endswith(" purge --yes opendkim postfix")
    assert before_packages_change("postfix", both) == []
    assert after_the_server_started("postfix", both)[0].endswith(" purge --yes opendkim")


@pytest.mark.usefixtures("host")
def test_interrupted_change_is_continued() -> None:
    """Apt may have removed the old server already for the new one; its queue was saved before that."""
    between = machine("postfix", ours="nullmailer postfix")
    assert before_packages_change("postfix", between) == []
    assert " purge --yes nullmailer" in after_the_server_started("postfix", between)[0]
    assert recorded(after_the_server_started("postfix", between)[-1]) == ["postfix"]
    before = machine("nullmailer", ours="nullmailer postfix")
    assert before_packages_change("postfix", before) == [save_command()]


@pytest.mark.usefixtures("host")
def test_missing_drop_in_directory_is_no_error(tmp_path: Path) -> None:
    """A directory with a file of the operator is kept."""
    tidy = after_the_server_started("", machine("nullmailer", ours="nullmailer"))[1]
    drop_in = tmp_path / "nullmailer.service.d"
    command = tidy.replace("/etc/systemd/system/nullmailer.service.d", str(drop_in))
    for _ in range(2):
        subprocess.run(["/bin/sh", "-euc", command], check=True, timeout=10)
        drop_in.mkdir(exist_ok=True)
        (drop_in / "own.conf").touch()
    assert (drop_in / "own.conf").exists()


@pytest.mark.parametrize("name", [*CONFLICTING, *SERVERS])
@pytest.mark.parametrize("wanted", [settings(**RELAY), own_postfix()], ids=["relay", "postfix"])
def test_mail_server_of_the_operator_is_never_replaced(wanted: Settings, name: str) -> None:
    """Ours conflicts with every other one, and apt would remove that without a question."""
    with pytest.raises(HostError) as caught:
        refuse_other_server(machine(name), wanted)
    message = str(caught.value)
    assert message.startswith(
        f'{name} is this machine\'s mail server, and mail = "{wanted.mail}" would replace it with '
    )
    assert f"(apt-get remove {name})" in message
    refuse_other_server(machine(name), dataclasses.replace(wanted, mail="off"))


def test_mail_server_that_the_deploy_installed_is_accepted() -> None:
    """Also if the settings want the other one now."""
    for name in SERVERS:
        for wanted in (settings(**RELAY), own_postfix()):
            refuse_other_server(machine(name, ours=name), wanted)
            refuse_other_server(machine(), wanted)


def test_signer_of_the_operator_is_never_replaced() -> None:
    """Its configuration would be overwritten; without a selector, no signer is needed."""
    with pytest.raises(HostError, match="opendkim is installed here, but not by this deploy"):
        refuse_other_server(machine("opendkim"), own_postfix())
    refuse_other_server(machine("opendkim"), dataclasses.replace(own_postfix(), dkim_selector=""))
    refuse_other_server(machine("opendkim"), settings(**RELAY))


def test_record_of_our_server_does_not_hide_the_operators_server() -> None:
    """The machine can't have both, so the record is old."""
    with pytest.raises(HostError, match="exim4-daemon-light is this machine's mail server"):
        refuse_other_server(machine("exim4-daemon-light", ours="nullmailer"), settings(**RELAY))
