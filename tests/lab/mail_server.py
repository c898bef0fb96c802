"""A mail relay that misbehaves as it is told and writes down all that it hears; what runs in its container."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from typing import Any, Final

from tests.lab.mail_conversation import Conversation
from tests.lab.mail_rules import CONTROL, CREDENTIALS, DOORS, FOLDER, Door, Rules

MESSAGE_LIMIT: Final = 10 * 1024 * 1024
LINE_LIMIT: Final = 1000
"""With its end (RFC 5321, 4.5.3.1.6)."""
BARE: Final = re.compile(rb"(?<!\r)\n|\r(?!\n)")


class Relay:
    """All doors, what is told of them and what came in by them."""

    def __init__(self) -> None:
        """Read what the folder holds."""
        self.rules = Rules()
        self.size_limit = MESSAGE_LIMIT
        self.credentials: list[str] = json.loads(CREDENTIALS.read_text(encoding="utf-8"))
        self.messages: list[dict[str, Any]] = []
        self.sessions: list[dict[str, Any]] = []
        self.contexts: dict[str, ssl.SSLContext] = {}
        self.listening: list[asyncio.Server] = []
        self.open: set[asyncio.StreamWriter] = set()
        for name in {door.certificate for door in DOORS} - {""}:
            self.contexts[name] = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.contexts[name].load_cert_chain(FOLDER / f"{name}.pem")

    def objection(self, raw: bytes, lines: list[bytes]) -> str:
        """Return the answer to a message that is not to be taken, or nothing."""
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
        """Open all doors."""
        for door in DOORS:

            async def come_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, door: Door = door) -> None:
                self.open.add(writer)
                await Conversation(self, door, reader, writer).hold()
                self.open.discard(writer)

            self.listening.append(await asyncio.start_server(come_in, "0.0.0.0", door.port, limit=MESSAGE_LIMIT))  # noqa: S104 - its container's own network

    def close(self) -> None:
        """Close all doors, in the face of whoever is in one."""
        for server in self.listening:
            server.close()
        for writer in self.open:
            writer.transport.abort()
        self.listening.clear()

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do what the lab asks for and return what came in so far."""
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

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps(await relay.obey(json.loads(await reader.read()))).encode())
        await writer.drain()
        writer.close()

    await relay.listen()
    async with await asyncio.start_unix_server(obey, CONTROL) as control:
        await control.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
