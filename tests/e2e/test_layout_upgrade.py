"""Hosts with the flat modules of an earlier baikalctl are upgraded to packages; no old file is left."""

from __future__ import annotations

import shlex
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import pytest

from baikalctl import paths
from tests.conftest import REMOVED
from tests.lab.baking import baked_on, packages_alone
from tests.lab.clients import EVENT
from tests.lab.container import LABELS, Container, Volume
from tests.lab.deploying import REPOSITORY
from tests.lab.history import export_before_removal
from tests.lab.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.clients import Account
    from tests.lab.engine import Engine
    from tests.lab.machine import Machine
    from tests.lab.release import Release


COMPILE: Final = f"/usr/bin/python3 -m compileall -q {paths.LIBRARY}/baikalctl"
LIST: Final = ("find", f"{paths.LIBRARY}/baikalctl", "-printf", r"baikalctl/%P\n")


pytestmark = pytest.mark.usefixtures("flat")
"""First, so that no image is baked if the old commit is missing."""


@pytest.fixture(scope="session")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkout from before the modules became packages."""
    tree = tmp_path_factory.mktemp("flat")
    export_before_removal(REMOVED, tree)
    return tree


@pytest.fixture(scope="module")
def flat_image(engine: Engine, image: str, release: Release, flat: Path) -> Iterator[str]:
    """Yield an image that this earlier checkout has baked."""
    with packages_alone(engine, image) as base, baked_on(engine, base, release, flat) as tag:
        yield tag


class Program(NamedTuple):
    """The program of a checkout or a host, with paths such as ``baikalctl/cli.py``."""

    modules: set[str]
    directories: set[str]
    compiled: set[str]
    """The compiled modules, also those without a source."""

    @classmethod
    def of(cls, listing: str) -> Self:
        """Read what ``find`` prints."""
        names = {PurePath(name.rstrip("/")) for name in listing.split()}
        compiled = {name for name in names if name.parent.name == "__pycache__"}
        modules = {name for name in names if name.suffix == ".py"}
        directories = {name for name in names - compiled - modules if name.name != "__pycache__"}
        sources = {name.parent.with_name(f"{name.name.partition('.')[0]}.py") for name in compiled}
        return cls(*({str(name) for name in group} for group in (modules, directories, sources)))

    @classmethod
    def of_checkout(cls, tree: Path) -> Self:
        """Return the program that a checkout installs."""
        modules = {path.relative_to(tree) for path in (tree / "baikalctl").rglob("*.py")}
        return cls.of("\n".join(str(path) for module in modules for path in (module, *module.parents[:-1])))


def store(account: Account) -> None:
    """Store an event as a calendar client does."""
    account.calendar().save_event(EVENT.format(uid="stored-before", summary="Prüfung 🎉"))


def stored(account: Account) -> str:
    """Return the title of that event as a calendar client reads it."""
    return str(account.calendar().event_by_uid("stored-before").icalendar_component["SUMMARY"])


def test_machine_of_the_flat_layout_is_upgraded_by_one_deploy(
    boot: Callable[..., Machine], release: Release, flat: Path
) -> None:
    """Its events are served, no old module or compiled file is left, it is healthy, and a second run changes nothing."""
    machine = boot()
    old, new = Server(machine, release, tree=flat), Server(machine, release)
    outcome = old.deploy()
    assert outcome.status == 0, outcome.output
    machine.run(COMPILE)
    before = Program.of(machine.run(shlex.join(LIST)))
    assert before == Program.of_checkout(flat)._replace(compiled=before.modules)
    store(old.account())

    outcome = new.deploy()
    assert outcome.status == 0, outcome.output
    after = Program.of(machine.run(shlex.join(LIST)))
    assert after == Program.of_checkout(REPOSITORY)._replace(compiled=after.compiled)
    assert after.compiled <= after.modules
    assert stored(new.account()) == "Prüfung 🎉"
    assert new.check()["healthy"], new.check()

    outcome = new.deploy()
    assert outcome.status == 0, outcome.output
    assert outcome.changes == 0, outcome.changed


def test_volume_of_a_flat_image_is_served_by_an_image_of_this_tree(engine: Engine, image: str, flat_image: str) -> None:
    """A client finds the event that it stored before."""
    with Volume(engine) as volume:
        with Container.run(engine, flat_image, volume=volume) as container:
            container.execute("test", "-f", f"{paths.LIBRARY}/{REMOVED}")
            store(container.account())
            container.stop()
        with Container.run(engine, image, volume=volume) as container:
            container.execute("test", "!", "-e", f"{paths.LIBRARY}/{REMOVED}")
            assert stored(container.account()) == "Prüfung 🎉"


def test_image_that_is_baked_on_a_flat_one_has_every_module_compiled(
    engine: Engine, release: Release, flat_image: str
) -> None:
    """No file of the old layout is left."""
    command, *arguments = LIST
    with baked_on(engine, flat_image, release) as tag:
        listing = engine.docker("run", "--rm", *LABELS, "--entrypoint", command, tag, *arguments)
    baked = Program.of(listing)
    assert baked == Program.of_checkout(REPOSITORY)._replace(compiled=baked.modules)
