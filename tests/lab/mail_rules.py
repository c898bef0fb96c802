"""What a mail relay for tests is like: its doors, and the rules that a test may change while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ALIAS: Final = "relay.lab.test"
FOLDER: Final = Path("/mail")
"""In the relay's container."""
CREDENTIALS: Final = FOLDER / "credentials.json"
CONTROL: Final = FOLDER / "control"
"""The socket where the running relay takes orders."""
GOOD: Final = "good"
WRONG_NAME: Final = "wrong-name"
SELF_SIGNED: Final = "self-signed"


@dataclass(frozen=True)
class Door:
    """A port; where it has a certificate, TLS and then AUTH are asked of those who come in by it."""

    port: int
    certificate: str = ""
    """The name of a PEM file in the folder, chain and key, without its ending."""
    immediate: bool = False
    """Whether TLS comes before all else (RFC 8314), and not by STARTTLS."""


DOORS: Final = (
    Door(25),
    *(Door(587 + above, name) for above, name in ((0, GOOD), (1000, WRONG_NAME), (2000, SELF_SIGNED))),
    *(Door(465 + above, name, immediate=True) for above, name in ((0, GOOD), (1000, WRONG_NAME), (2000, SELF_SIGNED))),
)


@dataclass
class Rules:
    """What the relay does; unless told otherwise, it takes every message from whoever has the password."""

    defer_recipients: int = 0
    """Answer 451 to so many recipients."""
    defer_messages: int = 0
    """Answer 451 to so many messages, at their ends."""
    refuse_recipients: list[str] = field(default_factory=list)
    """Answer 550 to these addresses."""
    smtputf8: bool = True
    """Offer SMTPUTF8; without, whatever is not ASCII in an address or a header is refused."""
    eight_bit: bool = True
    """Offer 8BITMIME; without, a message that is not ASCII is refused."""
    mechanisms: list[str] = field(default_factory=lambda: ["PLAIN", "LOGIN"])
    """Offer AUTH by these, and take no other."""
    starttls: bool = True
    """Offer STARTTLS and insist on it; without, AUTH is offered in clear, as it is by somebody between who listens."""
    accept_credentials: bool = True
    """Whether the right password is right."""
