"""One connection of the test relay with a client (RFC 5321, 3207 and 4954)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import time
from typing import TYPE_CHECKING, Any, Final

from tests.lab.mail_rules import ALIAS, Listener

if TYPE_CHECKING:
    from tests.lab.mail_server import Relay

COMMAND_LIMIT: Final = 2048
# A path is in angle brackets right after the colon; blanks and brackets in it are quoted (RFC 5321, 4.1.2).
PATH: Final = re.compile(r'(?:FROM|TO):<((?:"(?:[^"\\]|\\.)*"|[^<>"\s])*)>((?: [^\s=]+(?:=\S+)?)*)', re.IGNORECASE)


class Conversation:
    """One connection, from its greeting to its end, and its record."""

    def __init__(
        self, relay: Relay, listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Open the record."""
        self.relay, self.listener, self.reader, self.writer = relay, listener, reader, writer
        self.hello = self.user = ""
        self.tls: str | None = None
        self.sender: str | None = None
        self.options: list[str] = []
        self.recipients: list[str] = []
        self.commands: list[dict[str, Any]] = []
        self.logins: list[dict[str, Any]] = []
        self.record: dict[str, Any] = {
            "port": listener.port,
            "peer": writer.get_extra_info("peername")[0],
            "began": time.time(),
            "ended": None,
            "tls": None,
            "fault": "",
            "commands": self.commands,
            "logins": self.logins,
        }
        relay.sessions.append(self.record)

    async def run(self) -> None:
        """Answer until the client or the relay closes the connection."""
        try:
            if self.listener.immediate:
                await self.secure()
            await self.answer(f"220 {ALIAS} ESMTP")
            while not self.writer.is_closing() and (line := await self.reader.readline()):
                command = line.decode(errors="surrogateescape").rstrip("\r\n")
                verb, _, rest = command.partition(" ")
                secret = verb.upper() == "AUTH" and rest.split(" ")[1:]
                shown = f"{verb} {rest.split(' ')[0]} ..." if secret else command
                self.commands.append({"text": shown, "tls": self.tls is not None, "answer": ""})
                if len(line) > COMMAND_LIMIT:
                    await self.answer("500 5.5.2 Line too long")
                    continue
                await self.execute(verb.upper(), rest)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:  # a TLS error is an OSError
            self.record["fault"] = repr(error)
        finally:
            self.record["ended"] = time.time()
            self.writer.close()

    async def answer(self, *lines: str) -> None:
        """Send an answer and record it with its command."""
        if self.commands:
            self.commands[-1]["answer"] = lines[-1]
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await self.writer.drain()

    async def secure(self) -> None:
        """Switch to TLS; earlier commands no longer count."""
        await self.writer.start_tls(self.relay.contexts[self.listener.certificate])
        self.tls = self.record["tls"] = self.writer.get_extra_info("ssl_object").version()
        self.hello, self.sender = "", None

    async def execute(self, verb: str, rest: str) -> None:
        """Execute a command."""
        match verb:
            case "EHLO" | "HELO":
                await self.greet(verb, rest)
            case "STARTTLS" if self.offers_starttls():
                await self.answer("220 2.0.0 Ready to start TLS")
                await self.secure()
            case "QUIT":
                await self.answer("221 2.0.0 Bye")
                self.writer.close()
            case "NOOP" | "RSET":
                self.sender = None if verb == "RSET" else self.sender
                await self.answer("250 2.0.0 Ok")
            case "AUTH" | "MAIL" | "RCPT" | "DATA":
                if refusal := self.out_of_order(verb):
                    await self.answer(refusal)
                else:
                    await {"AUTH": self.log_in, "MAIL": self.mail, "RCPT": self.rcpt, "DATA": self.data}[verb](rest)
            case _:
                await self.answer("502 5.5.2 Command not recognized")

    def offers_starttls(self) -> bool:
        """Whether STARTTLS is offered now."""
        return bool(self.listener.certificate) and self.relay.rules.starttls and self.tls is None

    def out_of_order(self, verb: str) -> str:
        """Return the error for a command that isn't allowed yet, or an empty one."""
        if not self.hello:
            return "503 5.5.1 Send EHLO first"
        if self.offers_starttls():
            return "530 5.7.0 Must issue a STARTTLS command first"
        if self.listener.certificate and verb != "AUTH" and not self.user:
            return "530 5.7.0 Authentication required"
        missing = {"RCPT": self.sender is None, "DATA": self.sender is None or not self.recipients}
        return "503 5.5.1 Bad sequence of commands" if missing.get(verb) else ""

    async def greet(self, verb: str, name: str) -> None:
        """Answer EHLO with the extensions."""
        self.hello, self.sender = name, None
        rules = self.relay.rules
        offers = [ALIAS, f"SIZE {self.relay.size_limit}", "ENHANCEDSTATUSCODES"]
        offers += ["8BITMIME"] * rules.eight_bit + ["SMTPUTF8"] * rules.smtputf8
        if self.offers_starttls():
            offers.append("STARTTLS")
        elif self.listener.certificate:
            offers.append(f"AUTH {' '.join(rules.mechanisms)}")
        if verb == "HELO":
            offers = [ALIAS]
        await self.answer(*(f"250{' ' if offer is offers[-1] else '-'}{offer}" for offer in offers))

    async def log_in(self, rest: str) -> None:
        """Read a name and a password and record them, the password as its SHA-256."""
        mechanism, _, initial = rest.partition(" ")
        mechanism = mechanism.upper()
        attempt: dict[str, Any] = {"mechanism": mechanism, "user": None, "password_sha256": None}
        self.logins.append(attempt | {"tls": self.tls is not None, "accepted": False})
        if mechanism not in self.relay.rules.mechanisms:
            await self.answer("504 5.5.4 Unrecognized authentication type")
            return
        try:
            if mechanism == "PLAIN":
                _, user, password = (
                    base64.b64decode(initial, validate=True) if initial else await self.challenge("")
                ).split(b"\0")
            else:
                user = base64.b64decode(initial, validate=True) if initial else await self.challenge("Username:")
                password = await self.challenge("Password:")
        except ValueError:  # also for what isn't base64
            await self.answer("501 5.5.2 Cannot decode that")
            return
        right = [user.decode(errors="replace"), password.decode(errors="replace")] == self.relay.credentials
        accepted = right and self.relay.rules.accept_credentials
        digest = hashlib.sha256(password).hexdigest()
        self.logins[-1] |= {"user": user.decode(errors="replace"), "password_sha256": digest, "accepted": accepted}
        self.user = user.decode(errors="replace") if accepted else ""
        await self.answer("235 2.7.0 Welcome" if accepted else "535 5.7.8 Username or password not accepted")

    async def challenge(self, question: str) -> bytes:
        """Return the client's answer to a challenge of AUTH."""
        await self.answer(f"334 {base64.b64encode(question.encode()).decode()}")
        return base64.b64decode((await self.reader.readline()).strip(), validate=True)

    def parsed(self, rest: str) -> tuple[str, list[str]] | str:
        """Return the address and the parameters of MAIL or RCPT, or the error for a malformed one."""
        match = PATH.fullmatch(rest)
        if not match:
            return "501 5.5.4 Syntax error in the address"
        address, options = match[1], match[2].upper().split()
        rules = self.relay.rules
        allowed = {"SIZE": True, "SMTPUTF8": rules.smtputf8, "BODY": rules.eight_bit, "AUTH": True}
        if not all(allowed.get(option.partition("=")[0]) for option in options):
            return "555 5.5.4 Unsupported option"
        if not address.isascii() and not rules.smtputf8:
            return "553 5.6.7 SMTPUTF8 is not supported here"
        return address, options

    async def mail(self, rest: str) -> None:
        """Begin a message."""
        match self.parsed(rest):
            case str(refusal):
                await self.answer(refusal)
            case address, options:
                self.sender, self.options, self.recipients = address, options, []
                await self.answer("250 2.1.0 Ok")

    async def rcpt(self, rest: str) -> None:
        """Accept or refuse a recipient."""
        rules = self.relay.rules
        match self.parsed(rest):
            case str(refusal):
                await self.answer(refusal)
            case address, _ if address in rules.refuse_recipients:
                await self.answer("550 5.1.1 No such user here")
            case _ if rules.defer_recipients > 0:
                rules.defer_recipients -= 1
                await self.answer("451 4.7.1 Greylisted, try again later")
            case address, _:
                self.recipients.append(address)
                await self.answer("250 2.1.5 Ok")

    async def data(self, _: str) -> None:
        """Accept or refuse the message itself."""
        await self.answer("354 End data with <CR><LF>.<CR><LF>")
        lines = []
        while (line := await self.reader.readuntil(b"\r\n")) != b".\r\n":
            lines.append(line.removeprefix(b"."))
        raw = b"".join(lines)
        refusal = self.relay.objection(raw, lines)
        if not refusal:
            envelope = {"mail_from": self.sender, "rcpt_tos": self.recipients, "options": self.options}
            arrived = {
                "port": self.listener.port,
                "peer": self.record["peer"],
                "tls": self.tls,
                "user": self.user or None,
            }
            text = base64.b64encode(raw).decode()
            self.relay.messages.append(envelope | arrived | {"time": time.time(), "raw": text})
        self.sender, self.recipients = None, []
        await self.answer(refusal or "250 2.0.0 Ok: accepted")
