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
from tasks.mail import old_server_removed, queue_saved, refuse_other_server
from tests.unit.fake import SETTLED
from tests.unit.samples import MAIL_SERVERS, RELAY, own_postfix, settings

if TYPE_CHECKING:
    from baikalctl.settings.model import Settings

SERVERS = tuple(MAIL_SERVERS.values())


def taking() -> str:
    """Return the command that takes what waits."""
    return f"[ ! -x {paths.COMMAND} ] || {paths.COMMAND} mail take"


def machine(*installed: str, ours: str = "") -> Machine:
    """Return a machine with these packages besides the usual ones, and what was written down as ours."""
    return MachineFact().process([*SETTLED, *(f"installed={name} 1.0" for name in installed), f"mail={ours}"])


def chosen(wanted: str, found: Machine) -> list[str]:
    """Return the commands before packages change."""
    return [str(command) for command in queue_saved._inner(wanted=wanted.split(), machine=found)]


def left(wanted: str, found: Machine) -> list[str]:
    """Return the commands once the new one runs."""
    return [str(command) for command in old_server_removed._inner(wanted=wanted.split(), machine=found)]


def remembered(command: str) -> list[str]:
    """Run the command here, and return what a next run is told."""
    subprocess.run(["/bin/sh", "-euc", command], check=True, timeout=10)
    said = Path(paths.MAIL_SERVERS).read_text(encoding="ascii").strip()
    assert [path.name for path in Path(paths.MAIL).iterdir() if path.name != "kept"] == ["servers"]
    return list(MachineFact().process([*SETTLED, f"mail={said}"]).mail_servers)


@pytest.mark.usefixtures("host")
def test_a_first_mail_server_is_written_down_before_it_is_installed() -> None:
    """So that a run that breaks off in between knows it again."""
    shutil.rmtree(paths.MAIL)
    (command,) = chosen("nullmailer", machine())
    assert remembered(command) == ["nullmailer"]
    lift, retry, _ = left("nullmailer", machine())
    assert lift == f"rm -f {paths.MAIL_CHANGING}"
    # What was kept while mail was off.
    assert retry == f"{paths.COMMAND} mail retry || true"


@pytest.mark.parametrize("server", SERVERS)
def test_the_same_mail_server_needs_nothing(server: str) -> None:
    """A second run changes nothing."""
    same = machine(server, ours=server)
    assert chosen(server, same) == left(server, same) == []


def test_a_machine_without_mail_needs_nothing() -> None:
    """Nor one whose own mail server is none of ours."""
    for found in (machine(), machine("exim4-daemon-light"), machine("postfix")):
        assert chosen("", found) == left("", found) == []


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(("old", "new"), [SERVERS, SERVERS[::-1]])
def test_what_waits_is_kept_and_then_sent_by_the_new_server(old: str, new: str) -> None:
    """The old one goes only when the new one runs; until then both are ours."""
    found = machine(old, ours=old)
    take, remember = chosen(new, found)
    assert take == taking()
    assert remembered(remember) == sorted((old, new))
    purge, tidy, lift, retry, forget = left(new, found)
    assert lift == f"rm -f {paths.MAIL_CHANGING}"
    assert f" purge --yes {old}" in purge
    assert new not in shlex.split(purge)
    assert "nullmailer.service.d" in tidy
    assert retry == f"{paths.COMMAND} mail retry || true"
    assert remembered(forget) == [new]


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("old", SERVERS)
def test_where_mail_is_switched_off_what_waits_is_kept_and_nothing_is_sent(old: str) -> None:
    """And no server is ours any more."""
    found = machine(old, ours=old)
    assert chosen("", found) == [taking()]
    commands = left("", found)
    assert f" purge --yes {old}" in commands[0]
    assert not [command for command in commands if "mail retry" in command]
    assert remembered(commands[-1]) == []


def test_what_came_for_postfix_alone_goes_with_it() -> None:
    """What signs."""
    both = machine("postfix", "opendkim", ours="opendkim postfix")
    assert left("", both)[0].endswith(" purge --yes opendkim postfix")
    # What waits in Postfix is none of the signer's business.
    assert chosen("postfix", both) == []
    assert left("postfix", both)[0].endswith(" purge --yes opendkim")


@pytest.mark.usefixtures("host")
def test_a_run_that_broke_off_is_taken_up_again() -> None:
    """The old server may be gone already: apt takes it away for the new one; its queue was kept then."""
    between = machine("postfix", ours="nullmailer postfix")
    assert chosen("postfix", between) == []
    assert " purge --yes nullmailer" in left("postfix", between)[0]
    assert remembered(left("postfix", between)[-1]) == ["postfix"]
    before = machine("nullmailer", ours="nullmailer postfix")
    assert chosen("postfix", before) == [taking()]


@pytest.mark.usefixtures("host")
def test_taking_away_what_systemd_was_told_is_no_error_where_nothing_is(tmp_path: Path) -> None:
    """Nor where somebody has put a file of his own there."""
    tidy = left("", machine("nullmailer", ours="nullmailer"))[1]
    place = tmp_path / "nullmailer.service.d"
    command = tidy.replace("/etc/systemd/system/nullmailer.service.d", str(place))
    for _ in range(2):
        subprocess.run(["/bin/sh", "-euc", command], check=True, timeout=10)
        place.mkdir(exist_ok=True)
        (place / "own.conf").touch()
    assert (place / "own.conf").exists()


@pytest.mark.parametrize("name", [*CONFLICTING, *SERVERS])
@pytest.mark.parametrize("wanted", [settings(**RELAY), own_postfix()], ids=["relay", "postfix"])
def test_somebody_elses_mail_server_is_never_replaced(wanted: Settings, name: str) -> None:
    """Ours conflicts with every other, and apt would take that away without a word."""
    with pytest.raises(HostError) as caught:
        refuse_other_server(machine(name), wanted)
    said = str(caught.value)
    assert said.startswith(f'{name} is this machine\'s mail server, and mail = "{wanted.mail}" would put ')
    assert f"(apt-get remove {name})" in said
    refuse_other_server(machine(name), dataclasses.replace(wanted, mail="off"))


def test_a_mail_server_that_we_have_installed_is_nobody_elses() -> None:
    """Whichever of both is wanted now."""
    for name in SERVERS:
        for wanted in (settings(**RELAY), own_postfix()):
            refuse_other_server(machine(name, ours=name), wanted)
            refuse_other_server(machine(), wanted)


def test_a_signer_of_somebody_elses_is_left_alone() -> None:
    """Its configuration would be ours afterwards; without a selector, none is wanted."""
    with pytest.raises(HostError, match="opendkim is installed here, and not by this deploy"):
        refuse_other_server(machine("opendkim"), own_postfix())
    refuse_other_server(machine("opendkim"), dataclasses.replace(own_postfix(), dkim_selector=""))
    refuse_other_server(machine("opendkim"), settings(**RELAY))


def test_ours_beside_somebody_elses_is_still_refused() -> None:
    """The machine can't have both, so what was written down is old."""
    with pytest.raises(HostError, match="exim4-daemon-light is this machine's mail server"):
        refuse_other_server(machine("exim4-daemon-light", ours="nullmailer"), settings(**RELAY))
