"""A FastCGI request to PHP's socket on a machine, as another program could send it, without the web server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.lab.machine import Machine

CLIENT: Final = """
import glob, json, socket, struct, sys

def record(kind, content):
    return struct.pack("!BBHHBB", 1, kind, 1, len(content), 0, 0) + content

def pair(name, value):
    return struct.pack("!II", len(name) | 1 << 31, len(value) | 1 << 31) + name + value

parameters = b"".join(pair(name.encode(), value.encode()) for name, value in json.loads(sys.argv[1]).items())
client = socket.socket(socket.AF_UNIX)
client.connect(*glob.glob("/run/php/baikal-*.sock"))
client.sendall(record(1, struct.pack("!HB5x", 1, 0)) + record(4, parameters) + record(4, b"") + record(5, b""))
answer = client.makefile("rb")
while header := answer.read(8):
    _, kind, _, length, padding, _ = struct.unpack("!BBHHBB", header)
    content = answer.read(length + padding)[:length]
    if kind == 6:
        sys.stdout.buffer.write(content)
"""
"""A minimal FastCGI 1.0 client for one request."""


def ask_php(machine: Machine, script: str, account: str, **parameters: str) -> str:
    """Ask PHP, as ``account``, to run the file ``script``; return the answer with its headers."""
    parameters = {
        "SCRIPT_FILENAME": script,
        "SCRIPT_NAME": "/x.php",
        "REQUEST_URI": "/x.php",
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "HTTP_HOST": "localhost",
        **parameters,
    }
    command = ("exec", "-i", "-u", account, machine.name, "python3", "-", json.dumps(parameters))
    return machine.engine.docker(*command, input=CLIENT)
