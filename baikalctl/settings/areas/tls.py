"""TLS settings: where the certificate comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from baikalctl.settings import validators
from baikalctl.settings.fields import define
from baikalctl.settings.value_types import Choice, Number, SecretValue, Text

if TYPE_CHECKING:
    from baikalctl.settings.secret import Secret


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Where the certificate comes from, and how it is requested from an ACME server."""

    AREA: ClassVar[str] = "TLS"

    tls: str = define(
        Choice("letsencrypt", "files", "selfsigned", "off"),
        "selfsigned",
        "Where the certificate comes from: letsencrypt (an ACME server), files (your own), selfsigned, or off (plain "
        "HTTP, for a reverse proxy that terminates TLS).",
    )
    tls_certificate: str = define(
        Text("a path on the host", validators.host_path, empty=True),
        "",
        'With tls = "files": path on the host of the certificate and its chain (PEM).',
    )
    tls_key: str = define(
        Text("a path on the host", validators.host_path, empty=True),
        "",
        'With tls = "files": path on the host of the private key (PEM).',
    )
    acme_email: str = define(
        Text("an e-mail address", validators.email_address, empty=True),
        "",
        'E-mail address for messages from the CA, such as "admin@example.org". Required with tls = "letsencrypt".',
    )
    acme_server: str = define(
        Text("an ACME server", validators.acme_server),
        "letsencrypt",
        "ACME server: letsencrypt, staging (Let's Encrypt's test server, which no client trusts), or the https address of "
        "an ACME directory.",
    )
    acme_ca: str = define(
        Text("a path on the host", validators.host_path, empty=True),
        "",
        "Path on the host of the CA certificate (PEM) that signed the certificate of acme_server itself. Empty: the "
        "system's CAs.",
    )
    acme_key_type: str = define(
        Choice("ecdsa", "rsa"), "ecdsa", "Type of the certificate's key. rsa is for old clients."
    )
    acme_eab_key_id: str = define(
        Text("a key's id", validators.key_id, empty=True),
        "",
        "Key ID of the external account binding, if the CA requires one.",
    )
    acme_eab_hmac_key: Secret | None = define(
        SecretValue(validators.base64url, optional=True),
        None,
        "HMAC key of the external account binding, in base64url as the CA shows it.",
    )
    acme_dns_plugin: str = define(
        Text("a plugin of certbot", validators.dns_plugin, empty=True),
        "",
        "Certbot's DNS plugin, such as rfc2136, if the CA can't reach port 80. Empty: the HTTP-01 challenge on port 80.",
    )
    acme_dns_credentials: Secret | None = define(
        SecretValue(optional=True, lines=True), None, "Content of the DNS plugin's credentials file."
    )
    acme_dns_propagation_s: int = define(
        Number(0, 900, "seconds"),
        0,
        "Time that the DNS plugin waits for its record to be visible, in seconds. 0: the plugin's own default.",
    )
    acme_dns_hook: str = define(
        Text("a path on the host", validators.host_path, empty=True),
        "",
        "Instead of a DNS plugin: path on the host of a program that is called with add and with remove.",
    )

    @property
    def acme_directory(self) -> str:
        """The address of the CA's ACME directory."""
        return validators.ACME_SERVERS.get(self.acme_server, self.acme_server)
