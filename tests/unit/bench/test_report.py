"""The report of the benchmarks, and the slow connection that they use."""

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


def test_row_has_the_median_and_the_ratio_to_ours() -> None:
    """Also the lowest and the highest figure, so that readers see the noise."""
    lines = ROW.markdown().splitlines()
    assert "| baikal-deploy | 0.5 | 0.4 to 0.9 | 3 | 1.00 |" in lines
    assert "| ansible | 9 | 8 to 10 | 3 | 18.00 |" in lines


def test_report_has_whether_each_goal_is_met() -> None:
    """In its row. Goals that are not met are listed again at the end."""
    assert [goal.met(ROW) for goal in ROW.goals] == [True, False, True]
    text = report.markdown([ROW], {"cores": "2"})
    assert "- met: at most 0.6 s; it is 0.5\n" in text
    assert "- **not met**: at most 0.05 × ansible; it is 0.0556 ×\n" in text
    assert text.rstrip().endswith(
        "2 of 3 are met.\n- nothing to change: **not met**: at most 0.05 × ansible; it is 0.0556 ×"
    )


def test_json_report_has_the_same_content() -> None:
    """Every run of every tool, the medians, and the value of each goal."""
    loaded = json.loads(report.to_json([ROW], {"cores": "2"}))
    (row,) = loaded["rows"]
    assert loaded["machine"] == {"cores": "2"}
    assert row["figures"] == {OURS: [0.5, 0.4, 0.9], "ansible": [9.0, 8.0, 10.0]}
    assert row["medians"] == {OURS: 0.5, "ansible": 9.0}
    assert [(goal["met"], round(goal["value"], 3)) for goal in row["goals"]] == [
        (True, 0.5),
        (False, 0.056),
        (True, 0.056),
    ]


def test_tools_are_measured_in_turn() -> None:
    """So other load on the machine affects all tools."""
    order: list[str] = []

    def measure(name: str) -> float:
        order.append(name)
        return float(len(order))

    figures = alternating({"a": lambda: measure("a"), "b": lambda: measure("b")}, 2, lambda _: None)
    assert order == ["a", "b", "a", "b"]
    assert figures == {"a": [1.0, 3.0], "b": [2.0, 4.0]}


def test_growth_is_drawn_as_a_picture_without_scripts(tmp_path: Path) -> None:
    """Without figures, no file is written."""
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
    """Yield a port of 127.0.0.1 where a server returns all data that it receives."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(1024):
                self.request.sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_slow_line_delays_data_and_does_not_change_it(echo: int) -> None:
    """Each answer takes one round trip. Data that is sent together takes one round trip in total."""
    with slow_line(echo, 0.1) as port, socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(b"a")
        assert line.recv(10) == b"a"
        began = time.monotonic()
        for word in (b"b", b"c", b"d"):
            line.sendall(word)
        received = b""
        while len(received) < 3:
            received += line.recv(10)
        took = time.monotonic() - began
    assert received == b"bcd"
    assert 0.1 <= took < 0.25


def test_slow_line_is_closed_at_both_ends_if_one_side_closes_it(echo: int) -> None:
    """The client reads the end of the data."""
    with slow_line(echo, 0.02) as port, socket.create_connection(("127.0.0.1", port)) as line:
        line.shutdown(socket.SHUT_WR)
        assert line.recv(10) == b""
