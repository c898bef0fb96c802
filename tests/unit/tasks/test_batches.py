"""Batches of hosts, run by pyinfra as people run it, on hosts that answer what a test has written down."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from baikalctl import paths
from baikalctl.baikal import release
from tasks.fleet.batches import split
from tests.lab.engine import wait_until
from tests.unit.fake import BARE, DEBIAN, ROOT, answers
from tests.unit.samples import HOME, PASSWORD, release_zip

if TYPE_CHECKING:
    from collections.abc import Mapping

FAILING: Mapping[Any, Any] = {f"{paths.COMMAND} apply": {"success": False, "stderr": "E: the disk is full"}}
NAMES = ("a", "b", "c", "d", "e")


class Ran:
    """A run of pyinfra's command line."""

    def __init__(self, status: int, out: str, err: str) -> None:
        """Keep the output, without colours."""
        self.status, self.out = status, out
        self.err = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err)

    @property
    def summary(self) -> list[str]:
        """The lines of the summary, stripped."""
        return [line.strip() for line in self.err.partition("--> Summary")[2].splitlines()]

    def begun(self) -> list[str]:
        """Return which host did which operation, as ``batch host``, in order, once for each."""
        seen: list[str] = []
        batch = ""
        for line in self.err.splitlines():
            if line.startswith("--> Starting operation: "):
                batch = line.removeprefix("--> Starting operation: ").partition(" |")[0]
            elif match := re.match(r"\s+\[@fake/(\w+)\]\s+(?:Success|No changes|Error|Skipped)", line):
                entry = f"{batch.partition(':')[0]} {match[1]}"
                if entry not in seen:
                    seen.append(entry)
        return seen


@pytest.fixture
def run(tmp_path: Path) -> Any:  # noqa: ANN401 - a function with many options
    """Give a function that deploys to the hosts of these names, with ``odd`` answers or data for some of them."""
    archive = release_zip(tmp_path / "baikal.zip")

    def deploy(
        *arguments: str,
        odd: Mapping[str, Mapping[str, Any]] | None = None,
        names: tuple[str, ...] = NAMES,
        before: str = "",
        interrupted: tuple[str, float] | None = None,
    ) -> Ran:
        delay = 0.3 if interrupted else 0
        data = {
            "fake_delay": delay,
            "fake_delay_jitter": 0,
            "baikal_archive": str(archive),
            "baikal_sha256": release.digest(archive),
            "hostname": "cal.example.org",
        }
        hosts = []
        for name in names:
            special = dict((odd or {}).get(name, {}))
            answered = special.pop("answers", {}) | answers(special.pop("machine", BARE))
            hosts.append((f"@fake/{name}", data | {"fake_responses": answered} | special))
        inventory = tmp_path / "inventory.py"
        inventory.write_text(f"hosts = {hosts!r}\n", encoding="utf-8")
        others = tmp_path / "others.py"
        others.write_text(before, encoding="utf-8")
        deploys = [*([str(others)] if before else []), "deploy.py"]
        command = [sys.executable, "-m", "pyinfra", str(inventory), *deploys, *(arguments or ["-y"])]
        environment = os.environ | {"BAIKAL_ADMIN_PASSWORD": PASSWORD, "PYINFRA_PROGRESS": "off", "COLUMNS": "100"}
        with subprocess.Popen(
            command, cwd=HOME, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            output = ""
            if interrupted:
                assert process.stderr is not None
                while interrupted[0] not in output:
                    output += process.stderr.readline()
                assert wait_until(lambda: _is_caught(process.pid, signal.SIGTERM), 30, 0.01)
                time.sleep(interrupted[1])  # the moment itself, not a wait for anything
                process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        return Ran(process.returncode, out, output + err)

    return deploy


def _is_caught(pid: int, number: int) -> bool:
    """Tell whether a process handles a signal by itself by now, as pyinfra does once deploy.py is loaded."""
    (mask,) = re.findall(r"^SigCgt:\s+(\w+)$", Path(f"/proc/{pid}/status").read_text(encoding="ascii"), re.MULTILINE)
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((), ["abcde"]),
        ((2,), ["ab", "cd", "e"]),
        ((1, 3), ["a", "bcd", "e"]),
        ((1, "40%"), ["a", "bc", "de"]),
        (("1%",), ["a", "b", "c", "d", "e"]),
        (("100%",), ["abcde"]),
        ((9,), ["abcde"]),
    ],
)
def test_hosts_are_split_in_their_order(sizes: tuple[int | str, ...], expected: list[str]) -> None:
    """The last size is repeated, a share is of all hosts, and no batch is empty."""
    assert ["".join(batch) for batch in split(list("abcde"), sizes)] == expected  # type: ignore[arg-type]


def test_each_batch_is_through_before_the_next_begins(run: Any) -> None:  # noqa: ANN401
    """All operations of the first batch, then all of the second; no host is reported as skipped."""
    ran = run("-y", "--data", 'batches=[1, "40%"]')
    assert ran.status == 0, ran.err
    order = [entry.rpartition(" ") for entry in ran.begun() if entry.startswith("Batch")]
    batches = [batch for batch, _, _ in order]
    assert batches == sorted(batches)
    hosts = {batch: {host for each, _, host in order if each == batch} for batch in batches}
    assert hosts == {"Batch 1 of 3": {"a"}, "Batch 2 of 3": {"b", "c"}, "Batch 3 of 3": {"d", "e"}}
    assert "Skipped" not in ran.err
    assert ran.summary[0] == "of 5 hosts: 5 changed"


def test_without_batches_all_go_together(run: Any) -> None:  # noqa: ANN401
    """And operations have their plain names."""
    ran = run()
    assert ran.status == 0
    assert "Batch" not in ran.err
    assert "After batch" not in ran.err


def test_a_batch_that_fails_stops_the_roll_out(run: Any) -> None:  # noqa: ANN401
    """The others of its batch are finished, those after it aren't begun, and status and summary tell all that."""
    ran = run("-y", "--data", "batches=2", odd={"c": {"answers": FAILING}})
    assert ran.status == 1
    assert "the run stops, because @fake/c failed; the following batches (1 host) are unchanged" in ran.err
    assert not [entry for entry in ran.begun() if entry.startswith("Batch 3")]
    assert "Traceback" not in ran.err
    assert ran.summary[0] == "of 5 hosts: 1 failed, 1 not begun, 3 changed"
    text = "\n".join(ran.summary)
    assert "failed       @fake/c\nApply settings: E: the disk is full" in text
    assert "not begun    @fake/e\n" in text
    assert "changed      @fake/a, @fake/b, @fake/d\nInstall packages" in text


def test_a_whole_batch_that_fails_stops_the_roll_out(run: Any) -> None:  # noqa: ANN401
    """Also if none of its hosts is left at the gate."""
    ran = run("-y", "--data", "batches=1", odd={"b": {"answers": FAILING}})
    assert ran.status == 1
    assert ran.summary[0] == "of 5 hosts: 1 failed, 3 not begun, 1 changed"


def test_some_hosts_may_fail_if_that_is_allowed(run: Any) -> None:  # noqa: ANN401
    """By pyinfra's own option: 25 % of four is one, and one of the first two is more than that."""
    ran = run("-y", "--data", "batches=4", "--fail-percent", "25", odd={"b": {"answers": FAILING}})
    assert ran.status == 1, "the exit status tells of the one"
    assert ran.summary[0] == "of 5 hosts: 1 failed, 4 changed"
    ran = run("-y", "--data", "batches=2", "--fail-percent", "25", odd={"b": {"answers": FAILING}})
    assert ran.status == 1
    assert ran.summary[0] == "of 5 hosts: 1 failed, 3 not begun, 1 changed"


@pytest.mark.parametrize("option", ["--serial", "--no-wait"])
def test_options_that_bypass_the_gates_are_refused(run: Any, option: str) -> None:  # noqa: ANN401
    """Before anything is touched."""
    ran = run("-y", "--data", "batches=2", option)
    assert ran.status == 1
    assert "batches: can't be combined with --serial or --no-wait; remove these options" in ran.err
    assert ran.begun() == []


def test_batches_that_differ_between_hosts_are_refused(run: Any) -> None:  # noqa: ANN401
    """They are for the whole run."""
    ran = run(odd={"c": {"batches": [3]}})
    assert ran.status == 1
    output = "batches: differs between hosts; set it once, in group_data/all.py or with --data"
    assert sorted(line.strip() for line in ran.err.splitlines() if "batches: " in line) == [
        f"@fake/{name}: {output}" for name in NAMES
    ]
    assert ran.begun() == []


def test_no_wait_does_not_hide_a_failure(run: Any) -> None:  # noqa: ANN401
    """By itself pyinfra would end with 0."""
    ran = run("-y", "--no-wait", odd={"c": {"answers": FAILING}})
    assert ran.status == 1
    assert ran.summary[0] == "of 5 hosts: 1 failed, 4 changed"


def test_a_host_alone_needs_no_summary_unless_it_fails(run: Any) -> None:  # noqa: ANN401
    """For one host, pyinfra's table has everything; what it offers now is printed for few hosts."""
    ran = run(names=("a",))
    assert ran.summary == []
    assert "--> @fake/a is ready:\n    Address:     https://cal.example.org\n" in ran.err
    ran = run(names=("a",), odd={"a": {"answers": FAILING}})
    assert ran.status == 1
    assert ran.summary[0] == "of 1 host: 1 failed"
    assert "is ready" not in ran.err


def test_a_refused_run_has_no_summary(run: Any) -> None:  # noqa: ANN401
    """Nothing has begun, and every fault stands there already."""
    ran = run(odd={"b": {"http_port": 0}})
    assert ran.status == 1
    assert ran.summary == []
    assert "@fake/b: http_port = 0" in ran.err


def test_images_can_be_baked_in_batches_as_well(run: Any) -> None:  # noqa: ANN401
    """What isn't booted has fewer operations, and the batches hold."""
    image = [*DEBIAN, ROOT, "release="]
    odd = {name: {"machine": image} for name in NAMES}
    ran = run("-y", "--data", "batches=3", "--json", odd=odd)
    assert ran.status == 0, ran.err
    names = [operation["name"] for operation in json.loads(ran.out)["results"]["operations"]]
    assert len(names) == 4 + 1 + 4
    assert names[4] == "After batch 1 of 2: continue if all hosts are healthy"


OTHERS = """
from pyinfra.operations import server

server.shell(name="Another deploy", commands=["{command}"], _ignore_errors={ignored})
"""


def test_an_error_that_is_to_be_ignored_is_no_failure(run: Any) -> None:  # noqa: ANN401
    """Of another deploy file in the same run: neither the exit status nor the summary counts it."""
    ran = run(
        "-y",
        "--data",
        "batches=3",
        before=OTHERS.format(command="their-own", ignored=True),
        odd={"b": {"answers": {"their-own": {"success": False}}}},
    )
    assert ran.status == 0, ran.err
    assert ran.summary[0] == "of 5 hosts: 5 changed"


def test_ctrl_c_reports_the_interrupted_operation(run: Any) -> None:  # noqa: ANN401
    """A host where apt is running is not reported as unchanged."""
    ran = run("-y", "--data", "batches=3", interrupted=("Starting operation: Batch 1", 0.1))
    assert ran.status == 128 + signal.SIGINT
    assert ran.summary[0] == "of 5 hosts: 3 unfinished, 2 not begun"
    assert "stopped at: Install packages" in ran.summary
    assert "Traceback" not in ran.err


def test_ctrl_c_while_only_looking_ends_quietly(run: Any) -> None:  # noqa: ANN401
    """Nothing has begun, so there is nothing to sum up; and it is no success either."""
    ran = run("--dry", interrupted=("Loading: ", 0.1))
    assert ran.status == 128 + signal.SIGINT
    assert ran.summary == []
    assert "Traceback" not in ran.err
