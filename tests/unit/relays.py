"""A small SMTP server with configurable answers, which records the commands of its clients."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import socketserver
import ssl
import threading
from typing import TYPE_CHECKING

from cryptography import x509

from baikalctl.desired.state import DesiredState, Mail, Relay
from tests.unit.pairs import CA, ROOT, issue, pem, put, signed
from tests.unit.samples import declared

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

LOGIN, PASSWORD = "baikal@example.org", "a relay's own secret"
HERE = x509.DNSName("localhost")
GOOD = pem(signed(HERE), CA)
"""The chain of a relay with this name."""
UNSIGNED = pem(issue(HERE))


@dataclasses.dataclass(kw_only=True)
class Answers:
    """The server's answers. Without a ``greeting`` it never answers; with an empty one it closes the connection."""

    greeting: str | None = "220 relay ESMTP"
    starttls: bool = True
    encrypted: bool = False
    """Whether TLS begins with the connection."""
    login: str = "235 come in"
    methods: str = "LOGIN PLAIN"
    noop: str = "250 fine"
    quit: str = "221 bye"
    clear: list[str] = dataclasses.field(default_factory=list)
    """The commands that it has received without TLS."""
    heard: list[str] = dataclasses.field(default_factory=list)
    """The commands that it has received with TLS."""
    names: list[str] = dataclasses.field(default_factory=list)
    """The names in EHLO."""
    port: int = 0

    def answer(self, verb: str, words: list[str], *, secure: bool) -> str:
        """Return the answer to one command."""
        if verb == "EHLO":
            features = ["STARTTLS"] * (self.starttls and not secure) + [f"AUTH {self.methods}"] * bool(self.methods)
            return "\r\n".join(f"250-{feature}" for feature in ["relay", *features]) + "\r\n250 8BITMIME"
        if verb == "AUTH":
            right = base64.b64encode(f"\0{LOGIN}\0{PASSWORD}".encode()).decode()
            return self.login if words == ["PLAIN", right] else "535 5.7.8 no such login"
        return {"NOOP": self.noop, "QUIT": self.quit}.get(verb, "500 what?")


class Connection(socketserver.BaseRequestHandler):
    """One client's connection. After STARTTLS, the dialogue begins again."""

    server: Server

    def handle(self) -> None:
        """Answer until the client ends the connection, for example because it doesn't trust the certificate."""
        answers = self.server.answers
        with contextlib.suppress(OSError):
            if answers.greeting is None:
                self.server.done.wait(10)
            elif answers.encrypted:
                self.talk(self.secured(), answers.greeting)
            elif answers.greeting:
                self.talk(self.request, answers.greeting)

    def secured(self) -> ssl.SSLSocket:
        """Return the connection encrypted."""
        return self.server.context.wrap_socket(self.request, server_side=True)

    def talk(self, connection: socket.socket, greeting: str = "") -> None:
        """Answer each line."""
        secure = isinstance(connection, ssl.SSLSocket)
        answers = self.server.answers
        if greeting:
            connection.sendall(f"{greeting}\r\n".encode())
        for line in connection.makefile("r", newline="\r\n"):
            verb, *words = line.split()
            (answers.heard if secure else answers.clear).append(verb.upper())
            if verb.upper() == "EHLO":
                answers.names.append(words[0])
            elif verb.upper() == "STARTTLS":
                connection.sendall(b"220 ready\r\n")
                self.talk(self.secured())
                return
            connection.sendall((answers.answer(verb.upper(), words, secure=secure) + "\r\n").encode())


class Server(socketserver.ThreadingTCPServer):
    """The listening server."""

    daemon_threads = True

    def __init__(self, answers: Answers, context: ssl.SSLContext) -> None:
        """Listen on any free port."""
        super().__init__(("127.0.0.1", 0), Connection)
        self.answers, self.context, self.done = answers, context, threading.Event()
        answers.port = self.server_address[1]


@contextlib.contextmanager
def relaying(folder: Path, answers: Answers, chain: bytes = GOOD) -> Iterator[Answers]:
    """Run the server for as long as the block lasts, with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(put(folder / "relay.pem", chain))
    with Server(answers, context) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
        thread.start()
        try:
            yield answers
        finally:
            server.done.set()
            server.shutdown()
            thread.join()


def relay(folder: Path, port: int, **changed: object) -> Relay:
    """Return the settings for this server; write its root and password to ``folder``."""
    (folder / "root.pem").write_bytes(pem(ROOT))
    (folder / "password").write_text(f"{PASSWORD}\n", encoding="ascii")
    fields: dict[str, object] = {
        "host": "localhost",
        "port": port,
        "tls": "starttls",
        "ca": str(folder / "root.pem"),
        "user": LOGIN,
        "password": str(folder / "password"),
    }
    return Relay(**fields | changed)  # type: ignore[arg-type]


def mailing(
    mode: str, through: Relay | None = None, *, sender: str = "noreply@example.org", selector: str = ""
) -> DesiredState:
    """Return the state of a host that sends mail."""
    return dataclasses.replace(declared(), mail=Mail(mode=mode, sender=sender, relay=through, selector=selector))
