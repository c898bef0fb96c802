"""One conversation of a mail relay for tests with whoever connects to it (RFC 5321, 3207 and 4954)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import time
from typing import TYPE_CHECKING, Any, Final

from tests.lab.mail_rules import ALIAS, Door

if TYPE_CHECKING:
    from tests.lab.mail_server import Relay

COMMAND_LIMIT: Final = 2048
# A path stands in angle brackets right behind the colon; blanks and brackets in it are quoted (RFC 5321, 4.1.2).
PATH: Final = re.compile(r'(?:FROM|TO):<((?:"(?:[^"\\]|\\.)*"|[^<>"\s])*)>((?: [^\s=]+(?:=\S+)?)*)', re.IGNORECASE)


class Conversation:
    """One connection, from its greeting to its end, and the record of it."""

    def __init__(self, relay: Relay, door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Open the record."""
        self.relay, self.door, self.reader, self.writer = relay, door, reader, writer
        self.hello = self.user = ""
        self.tls: str | None = None
        self.sender: str | None = None
        self.options: list[str] = []
        self.recipients: list[str] = []
        self.commands: list[dict[str, Any]] = []
        self.logins: list[dict[str, Any]] = []
        self.record: dict[str, Any] = {
            "port": door.port,
            "peer": writer.get_extra_info("peername")[0],
            "began": time.time(),
            "ended": None,
            "tls": None,
            "fault": "",
            "commands": self.commands,
            "logins": self.logins,
        }
        relay.sessions.append(self.record)

    async def hold(self) -> None:
        """Answer until the other side leaves, or is made to."""
        try:
            if self.door.immediate:
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
                await self.obey(verb.upper(), rest)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:  # a fault of TLS is an OSError
            self.record["fault"] = repr(error)
        finally:
            self.record["ended"] = time.time()
            self.writer.close()

    async def answer(self, *lines: str) -> None:
        """Send an answer and write it down beside its command."""
        if self.commands:
            self.commands[-1]["answer"] = lines[-1]
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await self.writer.drain()

    async def secure(self) -> None:
        """Go on in TLS; what was said before it counts no more."""
        await self.writer.start_tls(self.relay.contexts[self.door.certificate])
        self.tls = self.record["tls"] = self.writer.get_extra_info("ssl_object").version()
        self.hello, self.sender = "", None

    async def obey(self, verb: str, rest: str) -> None:
        """Do what a command asks for."""
        match verb:
            case "EHLO" | "HELO":
                await self.greet(verb, rest)
            case "STARTTLS" if self.may_secure():
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

    def may_secure(self) -> bool:
        """Tell whether STARTTLS is offered now."""
        return bool(self.door.certificate) and self.relay.rules.starttls and self.tls is None

    def out_of_order(self, verb: str) -> str:
        """Return the answer to a command before its time, if it is."""
        if not self.hello:
            return "503 5.5.1 Send EHLO first"
        if self.may_secure():
            return "530 5.7.0 Must issue a STARTTLS command first"
        if self.door.certificate and verb != "AUTH" and not self.user:
            return "530 5.7.0 Authentication required"
        missing = {"RCPT": self.sender is None, "DATA": self.sender is None or not self.recipients}
        return "503 5.5.1 Bad sequence of commands" if missing.get(verb) else ""

    async def greet(self, verb: str, name: str) -> None:
        """Say what is offered."""
        self.hello, self.sender = name, None
        rules = self.relay.rules
        offers = [ALIAS, f"SIZE {self.relay.size_limit}", "ENHANCEDSTATUSCODES"]
        offers += ["8BITMIME"] * rules.eight_bit + ["SMTPUTF8"] * rules.smtputf8
        if self.may_secure():
            offers.append("STARTTLS")
        elif self.door.certificate:
            offers.append(f"AUTH {' '.join(rules.mechanisms)}")
        if verb == "HELO":
            offers = [ALIAS]
        await self.answer(*(f"250{' ' if offer is offers[-1] else '-'}{offer}" for offer in offers))

    async def log_in(self, rest: str) -> None:
        """Take a name and a password and write down whose they were, the password as its SHA-256."""
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
                    base64.b64decode(initial, validate=True) if initial else await self.asked("")
                ).split(b"\0")
            else:
                user = base64.b64decode(initial, validate=True) if initial else await self.asked("Username:")
                password = await self.asked("Password:")
        except ValueError:  # what is not base64 is one as well
            await self.answer("501 5.5.2 Cannot decode that")
            return
        right = [user.decode(errors="replace"), password.decode(errors="replace")] == self.relay.credentials
        accepted = right and self.relay.rules.accept_credentials
        digest = hashlib.sha256(password).hexdigest()
        self.logins[-1] |= {"user": user.decode(errors="replace"), "password_sha256": digest, "accepted": accepted}
        self.user = user.decode(errors="replace") if accepted else ""
        await self.answer("235 2.7.0 Welcome" if accepted else "535 5.7.8 Username or password not accepted")

    async def asked(self, question: str) -> bytes:
        """Return what the other side answers to a question of AUTH."""
        await self.answer(f"334 {base64.b64encode(question.encode()).decode()}")
        return base64.b64decode((await self.reader.readline()).strip(), validate=True)

    def understood(self, rest: str) -> tuple[str, list[str]] | str:
        """Return the address and the parameters of MAIL or RCPT, or the answer to what is none."""
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
        match self.understood(rest):
            case str(refusal):
                await self.answer(refusal)
            case address, options:
                self.sender, self.options, self.recipients = address, options, []
                await self.answer("250 2.1.0 Ok")

    async def rcpt(self, rest: str) -> None:
        """Take a recipient, or not."""
        rules = self.relay.rules
        match self.understood(rest):
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
        """Take the message itself, or not."""
        await self.answer("354 End data with <CR><LF>.<CR><LF>")
        lines = []
        while (line := await self.reader.readuntil(b"\r\n")) != b".\r\n":
            lines.append(line.removeprefix(b"."))
        raw = b"".join(lines)
        refusal = self.relay.objection(raw, lines)
        if not refusal:
            envelope = {"mail_from": self.sender, "rcpt_tos": self.recipients, "options": self.options}
            arrived = {"port": self.door.port, "peer": self.record["peer"], "tls": self.tls, "user": self.user or None}
            text = base64.b64encode(raw).decode()
            self.relay.messages.append(envelope | arrived | {"time": time.time(), "raw": text})
        self.sender, self.recipients = None, []
        await self.answer(refusal or "250 2.0.0 Ok: taken")
