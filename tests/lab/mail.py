"""A mail relay for tests: it misbehaves on demand, keeps all messages, and records all commands."""

from __future__ import annotations

import base64
import dataclasses
import email
import email.policy
import hashlib
import io
import json
import secrets
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from tests.lab.certificates import Signer, self_signed
from tests.lab.container import LABELS
from tests.lab.engine import Engine, wait_until
from tests.lab.errors import LabError
from tests.lab.images import INSTALL, base_image, built_image
from tests.lab.mail_rules import ALIAS, CONTROL, CREDENTIALS, FOLDER, GOOD, SELF_SIGNED, WRONG_NAME, Rules
from tests.lab.removable import Removable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import EmailMessage

    from tests.lab.acme import Network


BASE: Final = "debian:13"
PACKAGES: Final = ("python3",)
PROGRAM: Final = ("mail_conversation.py", "mail_rules.py", "mail_server.py")
READY_LIMIT_S: Final = 20
USER: Final = "baikal@lab.test"
PASSWORD: Final = """pass word: "it's" #1 \\ 100% $HOME Müll"""
"""A password that needs escaping in every configuration file."""


EXECUTE: Final = f"""\
import shutil, socket, sys
control = socket.socket(socket.AF_UNIX)
control.connect("{CONTROL}")
control.sendall(sys.argv[1].encode())
control.shutdown(socket.SHUT_WR)
shutil.copyfileobj(control.makefile("rb"), sys.stdout.buffer)
"""
"""Sends the relay an order, inside its container, and prints the answer."""


@dataclass(frozen=True)
class Received:
    """An accepted message and its envelope."""

    mail_from: str
    rcpt_tos: list[str]
    options: list[str]
    """Parameters of MAIL, in capitals, such as BODY=8BITMIME."""
    port: int
    peer: str
    tls: str | None
    """Such as TLSv1.3."""
    user: str | None
    time: float
    """Seconds since 1970."""
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        """The message as parsed by Python."""
        return email.message_from_bytes(self.raw, policy=email.policy.default)

    def calendar(self) -> str:
        """Return its decoded text/calendar part; LabError unless there is exactly one."""
        parts = [part for part in self.message.walk() if part.get_content_type() == "text/calendar"]
        if len(parts) != 1:
            message = (
                f"a message has {len(parts)} parts of text/calendar:\n{self.raw.decode(errors='backslashreplace')}"
            )
            raise LabError(message)
        return str(parts[0].get_content())


@dataclass(frozen=True)
class Command:
    """A command to the relay, and the last line of its answer."""

    text: str
    """Without a password."""
    tls: bool
    answer: str


@dataclass(frozen=True)
class Login:
    """An AUTH command and its result."""

    mechanism: str
    user: str | None
    """None, as for the password, if the client stopped before sending it."""
    password_sha256: str | None
    tls: bool
    accepted: bool


@dataclass(frozen=True)
class Session:
    """A connection; ``ended`` is None while it is open."""

    port: int
    peer: str
    began: float
    ended: float | None
    tls: str | None
    fault: str
    """The error that ended it, if any, for example a certificate that the client rejected."""
    commands: list[Command]
    logins: list[Login]

    def verbs(self, *, tls: bool | None = None) -> list[str]:
        """Return the verbs of the commands: all, only those over TLS, or only those without."""
        commands = [command for command in self.commands if tls is None or command.tls is tls]
        return [command.text.partition(" ")[0].upper() for command in commands]


@dataclass
class MailSink(Removable):
    """A relay with the address ``relay.lab.test``; as a context manager, removed at the end of the block.

    Port 25 accepts all mail, without TLS. 587 (STARTTLS) and 465 (implicit TLS) require AUTH and have a
    certificate signed by ``ca``. Plus 1000, the certificate is for another name; plus 2000, it is self-signed.
    """

    engine: Engine
    name: str
    """The container's."""
    ca: str
    """PEM."""
    user: str = USER
    password: str = field(default=PASSWORD, repr=False)

    @classmethod
    def start(
        cls, engine: Engine, network: Network, signer: Signer, *, user: str = USER, password: str = PASSWORD
    ) -> Self:
        """Start a relay and return when it listens; only one per network, since all have the same name.

        Raises LabError with the relay's log.
        """
        image = built_image(engine, base_image(engine, BASE).tag, f"mail:{BASE.replace(':', '-')}", INSTALL, PACKAGES)
        sink = cls(engine, f"baikal-lab-{secrets.token_hex(4)}", signer.pem, user, password)
        options = ("--network", network.name, "--network-alias", ALIAS, "--workdir", str(FOLDER))
        program = ("python3", "-m", "tests.lab.mail_server")
        try:
            engine.docker("create", "--init", "--name", sink.name, *LABELS, *options, image, *program)
            engine.docker("cp", "-", f"{sink.name}:/", input=_archive(sink._files(signer)))
            engine.docker("start", sink.name)
            sink._wait_until_ready()
        except BaseException:
            sink.remove()
            raise
        return sink

    @property
    def password_sha256(self) -> str:
        """SHA-256 of the right password, to compare with ``Login``."""
        return hashlib.sha256(self.password.encode()).hexdigest()

    def rules(self, **rules: Any) -> None:  # noqa: ANN401 - as Rules takes them
        """Replace all rules; TypeError if a rule doesn't exist."""
        self._order(rules=dataclasses.asdict(Rules(**rules)))

    def stop(self) -> None:
        """Close all connections, and refuse new ones until ``resume``; the rules stay."""
        self._order(listening=False)

    def resume(self) -> None:
        """Accept connections again."""
        self._order(listening=True)

    def forget(self) -> None:
        """Forget the messages and sessions so far."""
        self._order(forget=True)

    def messages(self) -> list[Received]:
        """Return the accepted messages, the oldest first."""
        return [
            Received(**{**message, "raw": base64.b64decode(message["raw"])}) for message in self._order()["messages"]
        ]

    def wait_for(self, count: int, limit_s: float = 30) -> list[Received]:
        """Wait until there are ``count`` messages, and return all; LabError with the sessions after the limit."""
        messages: list[Received] = []

        def arrived() -> bool:
            messages[:] = self.messages()
            return len(messages) >= count

        if not wait_until(arrived, limit_s):
            seen = "\n".join(map(str, self.sessions()[-5:]))
            message = f"{len(messages)} messages instead of {count} came in {limit_s:g} s; the last sessions:\n{seen}"
            raise LabError(message)
        return messages

    def sessions(self) -> list[Session]:
        """Return all connections so far, the oldest first."""
        return [
            Session(
                **{
                    **session,
                    "commands": [Command(**command) for command in session["commands"]],
                    "logins": [Login(**login) for login in session["logins"]],
                }
            )
            for session in self._order()["sessions"]
        ]

    def remove(self) -> None:
        """Remove the relay; a second call does nothing."""
        self.engine.docker("rm", "-f", "-v", self.name, check=False)

    def _files(self, signer: Signer) -> dict[str, str]:
        """Return the container's files in addition to its image, by path."""
        good, wrong, own = signer.issue(ALIAS), signer.issue("mail.elsewhere.test"), self_signed(ALIAS)
        pairs = {GOOD: good, WRONG_NAME: wrong, SELF_SIGNED: own}
        files = {f"{FOLDER}/{name}.pem": pair.chain + pair.key for name, pair in pairs.items()}
        files[str(CREDENTIALS)] = json.dumps([self.user, self.password])
        folder = Path(__file__).parent
        return files | {f"{FOLDER}/tests/lab/{name}": (folder / name).read_text(encoding="utf-8") for name in PROGRAM}

    def _wait_until_ready(self) -> None:
        def answers() -> bool:
            try:
                self._order()
            except LabError:
                return False
            return True

        if not wait_until(answers, READY_LIMIT_S, pause_s=0.05):
            message = f"the mail relay does not answer:\n{self.engine.docker('logs', self.name, check=False)}"
            raise LabError(message)

    def _order(self, **order: object) -> dict[str, Any]:
        """Send the relay an order and return its records."""
        command = ("exec", self.name, "python3", "-Sc", EXECUTE, json.dumps(order))
        answer: dict[str, Any] = json.loads(self.engine.docker(*command))
        return answer


def _archive(files: Mapping[str, str]) -> bytes:
    """Return a tar archive with these files, for the root directory."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, text in files.items():
            entry = tarfile.TarInfo(path.removeprefix("/"))
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return archive.getvalue()
