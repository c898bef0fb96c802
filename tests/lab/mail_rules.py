"""The ports of the test relay, and the rules that a test may change while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ALIAS: Final = "relay.lab.test"
FOLDER: Final = Path("/mail")
"""Directory in the relay's container."""
CREDENTIALS: Final = FOLDER / "credentials.json"
CONTROL: Final = FOLDER / "control"
"""The socket on which the running relay accepts orders."""
GOOD: Final = "good"
WRONG_NAME: Final = "wrong-name"
SELF_SIGNED: Final = "self-signed"


@dataclass(frozen=True)
class Listener:
    """A port; if it has a certificate, it requires TLS and then AUTH."""

    port: int
    certificate: str = ""
    """Name of a PEM file in the folder, with chain and key, without its extension."""
    immediate: bool = False
    """Whether the port has implicit TLS (RFC 8314) instead of STARTTLS."""


LISTENERS: Final = (
    Listener(25),
    *(Listener(587 + above, name) for above, name in ((0, GOOD), (1000, WRONG_NAME), (2000, SELF_SIGNED))),
    *(
        Listener(465 + above, name, immediate=True)
        for above, name in ((0, GOOD), (1000, WRONG_NAME), (2000, SELF_SIGNED))
    ),
)


@dataclass
class Rules:
    """Behaviour of the relay; by default, it accepts every message from clients with the password."""

    defer_recipients: int = 0
    """Answer 451 to this many recipients."""
    defer_messages: int = 0
    """Answer 451 to this many messages, after their data."""
    refuse_recipients: list[str] = field(default_factory=list)
    """Answer 550 to these addresses."""
    smtputf8: bool = True
    """Offer SMTPUTF8; without it, addresses and headers that aren't ASCII are refused."""
    eight_bit: bool = True
    """Offer 8BITMIME; without it, a message that isn't ASCII is refused."""
    mechanisms: list[str] = field(default_factory=lambda: ["PLAIN", "LOGIN"])
    """The mechanisms of AUTH that are offered and accepted."""
    starttls: bool = True
    """Offer and require STARTTLS; without it, AUTH is offered without TLS, as by a man in the middle."""
    accept_credentials: bool = True
    """Whether the right password is accepted."""
