"""Mail settings: how Baïkal's invitations are sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from baikalctl.settings import validators
from baikalctl.settings.fields import define
from baikalctl.settings.value_types import Choice, Number, SecretValue, Text

if TYPE_CHECKING:
    from baikalctl.settings.secret import Secret

SMTP_PORTS = {"starttls": 587, "tls": 465, "none": 25}
"""The default port of a relay: submission with STARTTLS, submission with implicit TLS (RFC 8314), SMTP."""


@dataclass(frozen=True, kw_only=True)
class Mail:
    """Whether invitations are sent, from which address, and through which relay."""

    AREA: ClassVar[str] = "mail"

    mail: str = define(
        Choice("off", "relay", "postfix"),
        "off",
        "How invitations are sent: off (not at all; Baïkal reports this to clients), relay (through the SMTP server "
        "relay_host) or postfix (by a mail server that is installed on this machine; machines only).",
    )
    mail_from: str = define(
        Text("an e-mail address", validators.sender, empty=True),
        "",
        "Sender address of invitations. Replies go to the organizer (Reply-To); messages that can't be delivered return "
        "to this address. Empty: noreply@ and the host name.",
    )
    relay_host: str = define(
        Text("a host name", validators.relay_host, empty=True),
        "",
        'Host name of the SMTP server that sends all mail. Required with mail = "relay". With mail = "postfix", empty '
        "means that Postfix delivers directly.",
    )
    relay_port: int = define(
        Number(0, 65535),
        0,
        "Port of the relay. 0: the default port of relay_tls, 587 with starttls, 465 with tls, 25 with none.",
    )
    relay_tls: str = define(
        Choice(*SMTP_PORTS),
        "starttls",
        "Encryption of the connection to the relay: starttls, tls (from the first byte) or none.",
    )
    relay_user: str = define(
        Text("a login name", validators.login, empty=True), "", "Login name at the relay. Empty: no login."
    )
    relay_password: Secret | None = define(
        SecretValue(validators.printable, optional=True), None, "Password of relay_user."
    )
    relay_ca: str = define(
        Text("a path on the host", validators.host_path, empty=True),
        "",
        "Path on the host of the CA certificate (PEM) that signed the relay's certificate. Empty: the system's CAs.",
    )
    dkim_selector: str = define(
        Text("a DKIM selector", validators.selector, empty=True),
        "baikal",
        'With mail = "postfix": DKIM selector, the label before ._domainkey in the DNS. Empty: mail is not signed.',
    )

    @property
    def smtp_port(self) -> int:
        """The port of the relay."""
        return self.relay_port or SMTP_PORTS[self.relay_tls]
