"""What the benchmarks report, and the slow line that they measure over."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from typing import TYPE_CHECKING

import pytest

from bench import picture, report
from bench.report import OURS, Goal, Row, alternating
from bench.slow_line import slow_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROW = Row(
    section="One machine",
    name="nothing to change",
    unit="s",
    figures={OURS: [0.5, 0.4, 0.9], "ansible": [9.0, 8.0, 10.0]},
    goals=(Goal(at_most=0.6), Goal(compared_to="ansible", at_most=0.05), Goal(compared_to="ansible", at_least=0.01)),
)


def test_a_figure_is_its_median_beside_ours() -> None:
    """With the spread, so that noise can be seen."""
    lines = ROW.markdown().splitlines()
    assert "| baikal-deploy | 0.5 | 0.4 to 0.9 | 3 | 1.00 |" in lines
    assert "| ansible | 9 | 8 to 10 | 3 | 18.00 |" in lines


def test_a_goal_says_whether_it_is_met() -> None:
    """In the row, and all that aren't once more at the end."""
    assert [goal.met(ROW) for goal in ROW.goals] == [True, False, True]
    text = report.markdown([ROW], {"cores": "2"})
    assert "- met: at most 0.6 s; it is 0.5\n" in text
    assert "- **not met**: at most 0.05 × ansible; it is 0.0556 ×\n" in text
    assert text.rstrip().endswith(
        "2 of 3 are met.\n- nothing to change: **not met**: at most 0.05 × ansible; it is 0.0556 ×"
    )


def test_machines_read_the_same() -> None:
    """Every run of everybody, medians, and each goal's value."""
    told = json.loads(report.to_json([ROW], {"cores": "2"}))
    (row,) = told["rows"]
    assert told["machine"] == {"cores": "2"}
    assert row["figures"] == {OURS: [0.5, 0.4, 0.9], "ansible": [9.0, 8.0, 10.0]}
    assert row["medians"] == {OURS: 0.5, "ansible": 9.0}
    assert [(goal["met"], round(goal["value"], 3)) for goal in row["goals"]] == [
        (True, 0.5),
        (False, 0.056),
        (True, 0.056),
    ]


def test_contenders_take_turns() -> None:
    """So what disturbs the machine for a while disturbs all of them."""
    order: list[str] = []

    def measure(name: str) -> float:
        order.append(name)
        return float(len(order))

    figures = alternating({"a": lambda: measure("a"), "b": lambda: measure("b")}, 2, lambda _: None)
    assert order == ["a", "b", "a", "b"]
    assert figures == {"a": [1.0, 3.0], "b": [2.0, 4.0]}


def test_growth_is_drawn(tmp_path: Path) -> None:
    """As a picture for a document, without scripts; and nothing where nothing was measured."""
    rows = [
        Row(section="x", name="time: s", unit="s", figures={"10 hosts": [1.0], "100 hosts": [9.0]}, ours="10 hosts")
    ]
    picture.draw(rows, tmp_path / "scale.svg")
    text = (tmp_path / "scale.svg").read_text(encoding="utf-8")
    assert "time: s" in text
    assert "100 hosts" in text
    assert "script" not in text
    picture.draw([], tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()


@pytest.fixture
def echo() -> Iterator[int]:
    """Give a port of 127.0.0.1 that sends back what it gets."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(1024):
                self.request.sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_slow_line_delays_and_changes_nothing(echo: int) -> None:
    """Each answer takes a round trip, and what is sent together takes one together."""
    with slow_line(echo, 0.1) as port, socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(b"a")
        assert line.recv(10) == b"a"
        began = time.monotonic()
        for word in (b"b", b"c", b"d"):
            line.sendall(word)
        got = b""
        while len(got) < 3:
            got += line.recv(10)
        took = time.monotonic() - began
    assert got == b"bcd"
    assert 0.1 <= took < 0.25


def test_a_slow_line_hangs_up_at_both_ends(echo: int) -> None:
    """When one side has."""
    with slow_line(echo, 0.02) as port, socket.create_connection(("127.0.0.1", port)) as line:
        line.shutdown(socket.SHUT_WR)
        assert line.recv(10) == b""
