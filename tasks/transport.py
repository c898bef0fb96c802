"""The SSH connection, without the wait that Paramiko leaves in it."""

from __future__ import annotations

import socket
from typing import Any

from paramiko import Transport


def without_delay(connection: socket.socket, **arguments: Any) -> Transport:  # noqa: ANN401 - Paramiko's own
    """Return Paramiko's transport over ``connection`` with Nagle's algorithm off, as OpenSSH's client has it.

    With it on, every remote command waits for a delayed acknowledgement: 48 ms instead of 3.5 on a local link.
    """
    if isinstance(connection, socket.socket):  # a jump host's channel is none
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Transport(connection, **arguments)
