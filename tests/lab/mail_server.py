"""The program of the test relay, which runs in its container: it follows the rules and records everything."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from typing import Any, Final

from tests.lab.mail_conversation import Conversation
from tests.lab.mail_rules import CONTROL, CREDENTIALS, FOLDER, LISTENERS, Listener, Rules

MESSAGE_LIMIT: Final = 10 * 1024 * 1024
LINE_LIMIT: Final = 1000
"""Including the line break (RFC 5321, 4.5.3.1.6)."""
BARE: Final = re.compile(rb"(?<!\r)\n|\r(?!\n)")


class Relay:
    """All ports, their rules, and the records of their connections."""

    def __init__(self) -> None:
        """Read credentials and certificates from the folder."""
        self.rules = Rules()
        self.size_limit = MESSAGE_LIMIT
        self.credentials: list[str] = json.loads(CREDENTIALS.read_text(encoding="utf-8"))
        self.messages: list[dict[str, Any]] = []
        self.sessions: list[dict[str, Any]] = []
        self.contexts: dict[str, ssl.SSLContext] = {}
        self.listening: list[asyncio.Server] = []
        self.open: set[asyncio.StreamWriter] = set()
        for name in {listener.certificate for listener in LISTENERS} - {""}:
            self.contexts[name] = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.contexts[name].load_cert_chain(FOLDER / f"{name}.pem")

    def objection(self, raw: bytes, lines: list[bytes]) -> str:
        """Return the refusal of a message, or an empty string."""
        faults = {
            "550 5.6.0 A line ends with a bare CR or LF": BARE.search(raw),
            "550 5.6.0 A line is too long": any(len(line) > LINE_LIMIT for line in lines),
            "552 5.3.4 The message is too large": len(raw) > self.size_limit,
            "550 5.6.7 A header is not ASCII": not self.rules.smtputf8 and not raw.partition(b"\r\n\r\n")[0].isascii(),
            "550 5.6.1 The message is not ASCII": not self.rules.eight_bit and not raw.isascii(),
            "451 4.3.0 Try again later": self.rules.defer_messages > 0,
        }
        refusal = next((answer for answer, applies in faults.items() if applies), "")
        self.rules.defer_messages -= refusal.startswith("451")
        return refusal

    async def listen(self) -> None:
        """Open all ports."""
        for listener in LISTENERS:

            async def accept(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener: Listener = listener
            ) -> None:
                self.open.add(writer)
                await Conversation(self, listener, reader, writer).run()
                self.open.discard(writer)

            self.listening.append(await asyncio.start_server(accept, "0.0.0.0", listener.port, limit=MESSAGE_LIMIT))  # noqa: S104 - its container's own network

    def close(self) -> None:
        """Close all ports and all open connections."""
        for server in self.listening:
            server.close()
        for writer in self.open:
            writer.transport.abort()
        self.listening.clear()

    async def execute(self, order: dict[str, Any]) -> dict[str, Any]:
        """Execute an order of the lab and return the records so far."""
        if "rules" in order:
            self.rules = Rules(**order["rules"])
        if order.get("forget"):
            self.messages.clear()
            self.sessions.clear()
        if order.get("listening") is False:
            self.close()
        if order.get("listening") is True and not self.listening:
            await self.listen()
        return {"messages": self.messages, "sessions": self.sessions}


async def serve() -> None:
    """Serve until the container ends."""
    relay = Relay()

    async def execute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps(await relay.execute(json.loads(await reader.read()))).encode())
        await writer.drain()
        writer.close()

    await relay.listen()
    async with await asyncio.start_unix_server(execute, CONTROL) as control:
        await control.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
