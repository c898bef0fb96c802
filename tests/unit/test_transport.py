"""SSH's socket, without the wait."""

from __future__ import annotations

import runpy
import socket
from typing import TYPE_CHECKING

import paramiko
import pytest

from tasks.transport import without_delay
from tests.unit.samples import HOME

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    """Return a TCP connection to somebody on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as opened:
        yield opened


def test_every_packet_leaves_at_once(connection: socket.socket) -> None:
    """Nagle's algorithm is off, which Paramiko by itself doesn't do."""
    assert not connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    transport = without_delay(connection)
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert isinstance(transport, paramiko.Transport)
    assert transport.sock is connection


def test_what_paramiko_asks_for_is_passed_on(connection: socket.socket) -> None:
    """Its options for ciphers and GSS-API reach the transport."""
    transport = without_delay(connection, disabled_algorithms={"ciphers": ["aes128-cbc"]})
    assert transport.disabled_algorithms == {"ciphers": ["aes128-cbc"]}


def test_a_jump_hosts_channel_is_taken_as_it_is() -> None:
    """It is no socket, and has nothing to switch off."""
    channel = paramiko.Channel(1)
    assert without_delay(channel).sock is channel  # type: ignore[arg-type]


def test_group_data_gives_it_to_paramiko() -> None:
    """These arguments reach Paramiko's connect."""
    data = runpy.run_path(str(HOME / "group_data/all.py"))
    assert data["ssh_paramiko_connect_kwargs"] == {"transport_factory": without_delay}
