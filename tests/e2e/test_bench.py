"""The benchmarks compare equal results: a peer with a different result is an error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench import megabytes, recovery
from bench.contenders import Bench, BenchmarkError, Host, OurDeploy
from bench.peers.contending import IdiomaticPyinfra, ShellScript
from bench.peers.equality import refuse_differences, state_of
from bench.peers.payload import platform_of, wanted
from tests.lab.baking import BASE, baked
from tests.lab.corpus import SMALL
from tests.lab.corpus_rows import fill
from tests.lab.images import base_image
from tests.lab.server import Server
from tests.lab.sql import SqliteFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.engine import Engine
    from tests.lab.machine import Machine
    from tests.lab.release import Release


def test_peers_have_the_same_result_and_a_difference_is_an_error(
    engine: Engine, release: Release, boot: Callable[..., Machine], tmp_path: Path
) -> None:
    """Our deploy and the shell script, compared by the benchmark; then with one changed mode and no renewal."""
    bench = Bench(engine=engine, release=release, runs=1, say=print, ansible=Path("unused"))
    ours, theirs = boot(), boot()
    payload = wanted(tmp_path / "files", release, platform_of(ours))
    OurDeploy(bench).run([Host.of(ours)], payload)
    ShellScript(bench).run([Host.of(theirs)], payload)
    state = state_of(ours, release, payload)
    refuse_differences(state, state_of(theirs, release, payload), "shell script")
    theirs.run("chmod 755 /var/lib/baikal/Specific; rm /usr/local/sbin/baikal-certificate")
    theirs.run("systemctl stop baikal-certificate.timer")
    with pytest.raises(BenchmarkError, match="has a different result than ours; make them equal:") as raised:
        refuse_differences(state, state_of(theirs, release, payload), "shell script")
    lines = str(raised.value).splitlines()[1:]
    assert [line.partition(": ours")[0].strip() for line in lines] == [
        *("/var/lib/baikal/Specific", "services", "started by timers"),
    ]


def test_run_with_unexpected_changes_is_not_measured(
    engine: Engine, release: Release, boot: Callable[..., Machine], tmp_path: Path
) -> None:
    """A contender counts as unchanged only if its own output says so."""
    bench = Bench(engine=engine, release=release, runs=1, say=print, ansible=Path("unused"))
    machine = boot()
    payload = wanted(tmp_path / "files", release, platform_of(machine))
    contender = OurDeploy(bench)
    with pytest.raises(BenchmarkError, match="should have had no changes and had"):
        contender.unchanged([Host.of(machine)], payload)
    run = contender.unchanged([Host.of(machine)], payload, watched=True)
    assert run.changes == 0
    assert run.memory_mib > 20
    assert run.cpu_s > 0.1
    with pytest.raises(BenchmarkError, match=r"failed with status 1:\n(.|\n)*can't be reached|No hosts remaining"):
        IdiomaticPyinfra(bench).run([Host(machine, 1)], payload)


def test_groups_of_an_image_add_up_to_its_size(engine: Engine, release: Release) -> None:
    """The groups add up to the engine's size of the same images."""
    if "io.containerd.snapshotter" in engine.docker("info", "--format", "{{json .DriverStatus}}", check=False):
        pytest.skip("this engine also counts compressed layers")
    image, base = baked(engine, release), base_image(engine, BASE).tag
    groups = megabytes.by_group(engine, image, base)
    sizes = [int(engine.docker("image", "inspect", "-f", "{{.Size}}", tag)) for tag in (image, base)]
    assert sum(groups.values()) == pytest.approx((sizes[0] - sizes[1]) / megabytes.MB, rel=0.005)
    assert groups["PHP"] > 20
    assert groups["Baïkal"] > 1
    assert 5 < groups["certbot"] < groups["Python, Jinja2, PyYAML"]
    assert groups[megabytes.REST] < 5
    assert not set(groups) - {*megabytes.GROUPS, *megabytes.PLACES.values(), megabytes.REST}


def test_incomplete_restore_is_not_measured(engine: Engine, release: Release, boot: Callable[..., Machine]) -> None:
    """A restore counts only if all data is back, and a waiting time only if clients got no wrong answers."""
    machine = boot()
    server = Server(machine, release)
    assert server.deploy().status == 0
    kept = recovery.Deployment(server, SqliteFile(engine, machine.name), SMALL)
    fill(kept.holder, SMALL)
    machine.run("baikalctl backup")
    with recovery.Watcher(server, SMALL.names()[0]) as watcher:
        assert kept.back("baikalctl restore latest") > 0
    assert 0 < watcher.window() < 60
    with pytest.raises(BenchmarkError, match="true restored"):
        kept.back("true")
    with recovery.Watcher(server, SMALL.names()[0]) as watcher:
        machine.run("systemctl restart nginx")
    with pytest.raises(BenchmarkError, match=r"there was no 503|and not only with 207 and 503"):
        watcher.window()
