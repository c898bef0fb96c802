"""TLS: where the certificate comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from baikalctl.settings import validators
from baikalctl.settings.fields import define
from baikalctl.settings.value_types import Choice, Number, SecretValue, Text

if TYPE_CHECKING:
    from baikalctl.settings.secret import Secret


@dataclass(frozen=True, kw_only=True)
class Tls:
    """How the server proves who it is."""

    tls: str = define(
        Choice("letsencrypt", "files", "selfsigned", "off"),
        "selfsigned",
        area="TLS",
        meaning="Where the certificate comes from; off serves plain HTTP, for a proxy that ends TLS in front.",
    )
    tls_certificate: str = define(
        Text("a path on the host", validators.host_path, empty=True),
        "",
        area="TLS",
        meaning='With tls = "files": path on the host of the certificate and its chain, PEM.',
    )
    tls_key: str = define(
        Text("a path on the host", validators.host_path, empty=True),
        "",
        area="TLS",
        meaning='With tls = "files": path on the host of the private key, PEM.',
    )
    acme_email: str = define(
        Text("an e-mail address", validators.email_address, empty=True),
        "",
        area="TLS",
        meaning='With tls = "letsencrypt": the address where the CA may write to you.',
    )
    acme_server: str = define(
        Text("an ACME server", validators.acme_server),
        "letsencrypt",
        area="TLS",
        meaning="The CA: letsencrypt, staging (its rehearsal, which no client trusts), or an ACME directory's address.",
    )
    acme_ca: str = define(
        Text("a path on the host", validators.host_path, empty=True),
        "",
        area="TLS",
        meaning="Path on the host of the CA that acme_server's own HTTPS is checked with, PEM. Empty: the system's.",
    )
    acme_key_type: str = define(Choice("ecdsa", "rsa"), "ecdsa", area="TLS", meaning="Kind of the certificate's key.")
    acme_eab_key_id: str = define(
        Text("a key's id", validators.key_id, empty=True),
        "",
        area="TLS",
        meaning="Id of the external account's key, for a CA that wants one.",
    )
    acme_eab_hmac_key: Secret | None = define(
        SecretValue(validators.base64url, optional=True),
        None,
        area="TLS",
        meaning="The external account's key, in base64url as the CA shows it.",
    )
    acme_dns_plugin: str = define(
        Text("a plugin of certbot", validators.dns_plugin, empty=True),
        "",
        area="TLS",
        meaning="Certbot's DNS plugin, such as rfc2136, where port 80 isn't reached from outside. Empty: HTTP-01.",
    )
    acme_dns_credentials: Secret | None = define(
        SecretValue(optional=True, lines=True),
        None,
        area="TLS",
        meaning="Contents of the plugin's credentials file.",
    )
    acme_dns_propagation_s: int = define(
        Number(0, 900, "seconds"),
        0,
        area="TLS",
        meaning="How long the plugin waits for its record to be seen, in seconds; 0 for its own time.",
    )
    acme_dns_hook: str = define(
        Text("a path on the host", validators.host_path, empty=True),
        "",
        area="TLS",
        meaning="In place of a plugin: path on the host of a program that is called with add and with remove.",
    )

    @property
    def acme_directory(self) -> str:
        """The address of the CA's ACME directory."""
        return validators.ACME_SERVERS.get(self.acme_server, self.acme_server)
