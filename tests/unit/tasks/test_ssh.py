"""SSH's socket, without the wait."""

from __future__ import annotations

import runpy
import socket
from typing import TYPE_CHECKING

import paramiko
import pytest

from tasks.ssh import ASK_SECONDS, SILENCE_SECONDS, PromptSocket, prompt
from tests.unit.samples import HOME

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    """Return a TCP connection to a socket on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as opened:
        yield opened


def test_every_packet_leaves_at_once(connection: socket.socket) -> None:
    """Nagle's algorithm is off, which Paramiko by itself doesn't do."""
    assert not connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    transport = prompt(connection)
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert isinstance(transport, paramiko.Transport)
    assert transport.sock.getpeername() == connection.getpeername()


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="the system has no such option")
def test_what_arrives_is_acknowledged_at_once(connection: socket.socket) -> None:
    """Else sshd would withhold the first session for 40 ms; what arrives is passed on as it is."""
    asked: list[tuple[int, int]] = []

    class Watched:
        def recv(self, size: int) -> bytes:
            return b"x" * size

        def setsockopt(self, level: int, option: int, value: int) -> None:
            assert level == socket.IPPROTO_TCP
            asked.append((option, value))

    assert PromptSocket(Watched()).recv(3) == b"xxx"  # type: ignore[arg-type]
    assert asked == [(socket.TCP_QUICKACK, 1)]
    assert isinstance(prompt(connection).sock, PromptSocket)


def test_a_host_that_is_gone_is_noticed(connection: socket.socket) -> None:
    """Within a minute, where the system takes the option, also if neither side sends anything."""
    transport = prompt(connection)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == SILENCE_SECONDS * 1000
    assert getattr(transport.packetizer, "_Packetizer__keepalive_interval") == ASK_SECONDS  # noqa: B009 - Paramiko's own


def test_what_paramiko_asks_for_is_passed_on(connection: socket.socket) -> None:
    """Its options for ciphers and GSS-API reach the transport."""
    transport = prompt(connection, disabled_algorithms={"ciphers": ["aes128-cbc"]})
    assert transport.disabled_algorithms == {"ciphers": ["aes128-cbc"]}


def test_a_jump_hosts_channel_is_taken_as_it_is() -> None:
    """It is no socket, and has nothing to switch off."""
    channel = paramiko.Channel(1)
    assert prompt(channel).sock is channel


def test_group_data_gives_it_to_paramiko() -> None:
    """These arguments reach Paramiko's connect."""
    data = runpy.run_path(str(HOME / "group_data/all.py"))
    assert data["ssh_paramiko_connect_kwargs"] == {"transport_factory": prompt}
