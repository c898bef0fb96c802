"""Baïkal's deploy as a part of another one, with the example as it is in the repository."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from baikalctl import paths
from baikalctl.baikal import release
from tests.unit.fake import BARE, answers, settled, with_combined_answer
from tests.unit.samples import HOME, PASSWORD, release_zip

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = HOME / "examples/other-deploy"
FAKE = {"fake_delay": 0, "fake_delay_jitter": 0}


class Other:
    """The example in a folder of its own, with the submodule next to it."""

    def __init__(self, folder: Path) -> None:
        """Have the example's hosts answered by pyinfra's @fake connector."""
        self.folder = folder
        shutil.copy(EXAMPLE / "deploy.py", folder)
        (folder / "baikal-deploy").symlink_to(HOME)
        archive = release_zip(folder / "baikal.zip")
        self.release = {"baikal_archive": str(archive), "baikal_sha256": release.digest(archive)}
        self.settled = with_combined_answer(settled(archive))

    def run(
        self, calendars: dict[str, Any], *deploys: str, others: dict[str, dict[str, Any]] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run pyinfra on the example's inventory, with other data for its host with Baïkal."""
        example = runpy.run_path(str(EXAMPLE / "inventory.py"))
        ((_, data),) = example["calendars"]
        hosts = {
            "calendars": [
                (f"@fake/{name}", data | FAKE | {"baikal": data["baikal"] | self.release} | changed)
                for name, changed in {"cal": calendars, **(others or {})}.items()
            ],
            "websites": [(f"@fake/{name}", data | FAKE | {"fake_responses": {}}) for name, data in example["websites"]],
        }
        (self.folder / "inventory.py").write_text(
            "\n".join(f"{group} = {listed!r}" for group, listed in hosts.items()), encoding="utf-8"
        )
        command = [sys.executable, "-m", "pyinfra", "-y", "--json", "inventory.py", *(deploys or ["deploy.py"])]
        environment = os.environ | {"BAIKAL_ADMIN_PASSWORD": PASSWORD, "PYINFRA_PROGRESS": "off"}
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=60
        )


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Other:
    """Return the other deploy; it runs as a process of its own, with the account as it is."""
    monkeypatch.setattr(paths, "USER", "baikal")
    return Other(tmp_path)


def test_example_deploys_baikal_to_its_group_alone(other: Other) -> None:
    """The other hosts get the other application; data of that is no fault."""
    done = other.run({"fake_responses": with_combined_answer(answers(BARE))})
    assert done.returncode == 0, done.stderr
    operations = {each["name"] for each in json.loads(done.stdout)["plan"]}
    assert any(name.endswith("Install Baïkal") for name in operations), operations
    website = [line for line in done.stderr.splitlines() if "www.example.org" in line]
    assert not [line for line in website if "Error" in line]


def test_unchanged_host_of_another_deploy_makes_no_change(other: Other) -> None:
    """But for the example's own command, which runs each time on both hosts."""
    done = other.run({"fake_responses": other.settled})
    assert done.returncode == 0, done.stderr
    operations = json.loads(done.stdout)["results"]["operations"]
    changed = [each["name"] for each in operations if each["success"]]
    assert changed == ["Deploy the other application"]


def test_wrong_setting_in_the_data_baikal_stops_the_run(other: Other) -> None:
    """Before anything is changed, on any host."""
    done = other.run({"fake_responses": with_combined_answer(answers(BARE)), "baikal": {"hostnam": "cal.example.org"}})
    assert done.returncode != 0
    assert "nothing was changed on any host" in done.stderr
    assert "hostnam: " in done.stderr
    assert "app_port" not in done.stderr


def test_data_baikal_that_is_no_dictionary_is_one_line(other: Other) -> None:
    """With the form that it has."""
    done = other.run({"fake_responses": with_combined_answer(answers(BARE)), "baikal": "cal.example.org"})
    assert 'baikal: is not a dictionary; write {"hostname": "cal.example.org"}' in done.stderr
    assert "Traceback" not in done.stderr


def test_host_without_the_data_that_others_have_is_refused(other: Other) -> None:
    """Its settings would be mixed with data of other software."""
    (other.folder / "all.py").write_text(
        "from pyinfra import local\nlocal.include('baikal-deploy/deploy.py')\n", encoding="utf-8"
    )
    done = other.run({"fake_responses": with_combined_answer(answers(BARE))}, "all.py")
    assert done.returncode != 0
    assert "@fake/www.example.org has no data named baikal, but other hosts of this run have" in done.stderr


def test_overlay_next_to_the_inventory_is_used(other: Other) -> None:
    """A file in it that replaces none of our templates would have no effect, and is refused."""
    unknown = other.folder / "template_overlay/etc/nginx/baikal.conf"
    unknown.parent.mkdir(parents=True)
    unknown.touch()
    done = other.run({"fake_responses": with_combined_answer(answers(BARE))})
    assert done.returncode != 0
    assert "template_overlay/etc/nginx/baikal.conf: replaces no template; move it to" in done.stderr


def test_batches_stop_after_one_that_failed(other: Other) -> None:
    """Hosts of the other application are in no batch, and don't count."""
    batches = {"baikal": {"hostname": "cal.example.org", "batches": [1]} | other.release}
    failing = {f"{paths.COMMAND} apply": {"success": False}} | with_combined_answer(answers(BARE))
    second = {"second": batches | {"fake_responses": with_combined_answer(answers(BARE))}}
    done = other.run(batches | {"fake_responses": failing}, others=second)
    assert done.returncode != 0
    stopped = "the run stops, because @fake/cal failed; the following batches (1 host) are unchanged"
    assert stopped in done.stderr
    assert "not begun    @fake/second" in done.stderr
