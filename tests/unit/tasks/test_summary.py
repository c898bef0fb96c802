"""The summary at the end of a run on many hosts."""

from __future__ import annotations

import re

from tasks.fleet.summary import Ending, lines


def shown(endings: dict[str, Ending], width: int = 100) -> list[str]:
    """Return the lines without colours."""
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines(endings, width)]


def test_two_hundred_hosts_can_be_read() -> None:
    """Hosts with the same ending are in one entry; hosts that changed or failed are named, unchanged ones are counted."""
    endings = {f"cal-{number:03}.example.org": Ending("unchanged") for number in range(200)}
    endings["cal-017.example.org"] = Ending("failed", "Install Baïkal 0.12.1: no space left on device")
    endings |= {f"cal-{number:03}.example.org": Ending("changed", "Upload configuration") for number in (20, 21, 22)}
    output = shown(endings)
    assert output[0] == "--> Summary of 200 hosts: 1 failed, 3 changed, 196 unchanged"
    assert output[1:5] == [
        "failed       cal-017.example.org",
        "                 Install Baïkal 0.12.1: no space left on device",
        "changed      cal-020.example.org, cal-021.example.org, cal-022.example.org",
        "                 Upload configuration",
    ]
    assert output[5] == "unchanged    all 196 others"
    assert len(output) == 7


def test_many_names_are_wrapped_and_complete() -> None:
    """Each can be searched for."""
    endings = {f"cal-{number:03}.example.org": Ending("not begun") for number in range(100)}
    output = shown(endings)
    assert all(len(line) <= 100 for line in output)
    assert all(name in "\n".join(output) for name in endings)


def test_different_reasons_are_separate_entries() -> None:
    """Each with its own hosts, in the order in which they come first."""
    endings = {"a": Ending("failed", "x"), "b": Ending("failed", "y"), "c": Ending("failed", "x")}
    assert shown(endings)[1:-1] == [
        "failed       a, c",
        "                 x",
        "failed       b",
        "                 y",
    ]


def test_summary_of_a_failed_run_ends_with_a_remedy() -> None:
    """That of a successful run has none."""
    advice = "Fix what failed and run again: hosts that are up to date don't change."
    assert shown({"a": Ending("not begun")})[-1] == advice
    assert shown({"a": Ending("unreachable", "why")})[-1] == advice
    assert advice not in shown({"a": Ending("changed", "x"), "b": Ending("unchanged")})


def test_a_narrow_window_wraps_no_name() -> None:
    """A name with hyphens is one word."""
    output = shown({f"a-very-long-host-name-{number}": Ending("unchanged") for number in range(3)}, 30)
    assert [line.split()[-1].rstrip(",") for line in output[1:]] == [f"a-very-long-host-name-{n}" for n in range(3)]
