"""Mail: how invitations leave the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from baikalctl.settings import validators
from baikalctl.settings.fields import define
from baikalctl.settings.value_types import Choice, Number, SecretValue, Text

if TYPE_CHECKING:
    from baikalctl.settings.secret import Secret

SMTP_PORTS = {"starttls": 587, "tls": 465, "none": 25}
"""Where a relay listens that doesn't say otherwise: submission with and without TLS from the start (RFC 8314), and SMTP."""


@dataclass(frozen=True, kw_only=True)
class Mail:
    """Who sends invitations, in whose name, and through which relay."""

    mail: str = define(
        Choice("off", "relay", "postfix"),
        "off",
        area="mail",
        meaning=(
            "How invitations leave: off (none do, and clients are told so), relay (through relay_host, without a mail "
            "server here), postfix (a mail server of this machine's own; machines only)."
        ),
    )
    mail_from: str = define(
        Text("an e-mail address", validators.sender, empty=True),
        "",
        area="mail",
        meaning=(
            "The address that invitations come from, the organiser's being their Reply-To; it also gets what can't be "
            "delivered. Empty: noreply@ the host name."
        ),
    )
    relay_host: str = define(
        Text("a host name", validators.relay_host, empty=True),
        "",
        area="mail",
        meaning='The SMTP server that takes all mail. mail = "relay" needs one; without, Postfix delivers by itself.',
    )
    relay_port: int = define(
        Number(0, 65535),
        0,
        area="mail",
        meaning="Port of the relay; 0 for what goes with relay_tls: 587 with starttls, 465 with tls, 25 with none.",
    )
    relay_tls: str = define(
        Choice(*SMTP_PORTS),
        "starttls",
        area="mail",
        meaning="How the relay is spoken to: starttls, tls (from the first byte on), or none (in the clear).",
    )
    relay_user: str = define(
        Text("a login name", validators.login, empty=True),
        "",
        area="mail",
        meaning="Name to log in to the relay with; empty where it asks for none.",
    )
    relay_password: Secret | None = define(
        SecretValue(validators.printable, optional=True), None, area="mail", meaning="Password of relay_user."
    )
    relay_ca: str = define(
        Text("a path on the host", validators.host_path, empty=True),
        "",
        area="mail",
        meaning="Path on the host of the CA that the relay's certificate is checked with, PEM. Empty: the system's.",
    )
    dkim_selector: str = define(
        Text("a DKIM selector", validators.selector, empty=True),
        "baikal",
        area="mail",
        meaning='With mail = "postfix": name of the DKIM key in the DNS, before ._domainkey. Empty: nothing is signed.',
    )

    @property
    def smtp_port(self) -> int:
        """The port at which the relay is spoken to."""
        return self.relay_port or SMTP_PORTS[self.relay_tls]
