"""What is wanted: the one list of settings, each with its name, kind, default and meaning.

The names of group data and of environment variables, the validation, and the reference table in the documentation
all come from the definitions here.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from baikalctl import rules
from baikalctl.accounts import User, UsersValue, read_users
from baikalctl.contradictions import contradictions
from baikalctl.definition import Definition, define
from baikalctl.environment import PREFIX, read_environment
from baikalctl.faults import Fault, SettingsError, unknown
from baikalctl.kinds import Batches, Choice, Flag, Hostnames, Networks, Number, SecretValue, Text, describe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from baikalctl.secret import Secret

__all__ = ["DEFINITIONS", "PREFIX", "Settings"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that somebody can say about a server; immutable, and valid once it exists."""

    hostname: str = define(
        Text("a host name", rules.hostname, empty=True),
        "",
        area="identity",
        meaning="The name that clients type, such as cal.example.org. Every machine needs one; an image doesn't.",
    )
    hostnames: tuple[str, ...] = define(
        Hostnames(),
        (),
        area="identity",
        meaning="Further names that clients may type; the certificate is for all of them.",
        raw_default=[],
    )
    timezone: str = define(
        Text("a time zone", rules.timezone), "UTC", area="identity", meaning="Time zone of the server, as Area/City."
    )
    baikal_version: str = define(
        Text("a release", rules.release_version),
        "0.12.1",
        area="Baïkal",
        meaning="Which release of Baïkal to run.",
        machine_only=True,
    )
    baikal_archive: str = define(
        Text("a path or an address", rules.archive, empty=True),
        "",
        area="Baïkal",
        meaning="A release's zip of your own: a path on this machine or an address. Empty: the official one.",
        machine_only=True,
    )
    baikal_sha256: str = define(
        Text("a SHA-256", rules.checksum, empty=True),
        "",
        area="Baïkal",
        meaning="Checksum of the zip. Needed for an address with a release that isn't known here.",
        machine_only=True,
    )
    baikal_download: str = define(
        Choice("here", "host"),
        "here",
        area="Baïkal",
        meaning="Who downloads the release: this machine, once for all hosts, or every host by itself.",
        machine_only=True,
    )
    admin_password: Secret | None = define(
        SecretValue(),
        None,
        area="Baïkal",
        meaning="Password of `admin` on the /admin/ pages.",
        raw_default={"env": "BAIKAL_ADMIN_PASSWORD"},
    )
    dav_auth: str = define(
        Choice("basic", "digest"),
        "basic",
        area="Baïkal",
        meaning="How calendar clients log in. Several get digest wrong (DAVx⁵, Windows 10); keep basic with TLS.",
    )
    caldav: bool = define(Flag(), True, area="Baïkal", meaning="Serve calendars.")
    carddav: bool = define(Flag(), True, area="Baïkal", meaning="Serve address books.")
    users: tuple[User, ...] = define(
        UsersValue(),
        (),
        area="Baïkal",
        meaning="Accounts with their calendars, address books and shares; see docs/users.md.",
        raw_default=[],
    )
    http_port: int = define(Number(1, 65535), 80, area="web", meaning="Port of plain HTTP.")
    https_port: int = define(Number(1, 65535), 443, area="web", meaning="Port of HTTPS.")
    base_path: str = define(
        Text("a path", rules.base_path, empty=True),
        "",
        area="web",
        meaning="Path that the server lives under, such as /calendars; empty for the root.",
    )
    trusted_proxies: tuple[str, ...] = define(
        Networks(),
        (),
        area="web",
        meaning="Networks of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.",
        raw_default=[],
    )
    admin_allow: tuple[str, ...] = define(
        Networks(),
        (),
        area="web",
        meaning="Networks that may reach /admin/; empty for all.",
        raw_default=[],
    )
    upload_limit_mb: int = define(
        Number(1, 2048, "MiB"), 100, area="web", meaning="Largest request, in MiB; address books with photos are large."
    )
    request_timeout_s: int = define(
        Number(10, 3600, "seconds"), 300, area="web", meaning="Longest that one request may take, in seconds."
    )
    tls: str = define(
        Choice("letsencrypt", "files", "selfsigned", "off"),
        "selfsigned",
        area="TLS",
        meaning="Where the certificate comes from; off serves plain HTTP, for a proxy that ends TLS in front.",
    )
    tls_certificate: str = define(
        Text("a path on the host", rules.host_path, empty=True),
        "",
        area="TLS",
        meaning='With tls = "files": path on the host of the certificate and its chain, PEM.',
    )
    tls_key: str = define(
        Text("a path on the host", rules.host_path, empty=True),
        "",
        area="TLS",
        meaning='With tls = "files": path on the host of the private key, PEM.',
    )
    acme_email: str = define(
        Text("an e-mail address", rules.contact, empty=True),
        "",
        area="TLS",
        meaning='With tls = "letsencrypt": the address where the CA may write to you.',
    )
    acme_server: str = define(
        Text("an ACME server", rules.acme_server),
        "letsencrypt",
        area="TLS",
        meaning="The CA: letsencrypt, staging (its rehearsal, which no client trusts), or an ACME directory's address.",
    )
    acme_ca: str = define(
        Text("a path on the host", rules.host_path, empty=True),
        "",
        area="TLS",
        meaning="Path on the host of the CA that acme_server's own HTTPS is checked with, PEM. Empty: the system's.",
    )
    acme_key_type: str = define(Choice("ecdsa", "rsa"), "ecdsa", area="TLS", meaning="Kind of the certificate's key.")
    acme_eab_key_id: str = define(
        Text("a key's id", rules.key_id, empty=True),
        "",
        area="TLS",
        meaning="Id of the external account's key, for a CA that wants one.",
    )
    acme_eab_hmac_key: Secret | None = define(
        SecretValue(rules.base64url, optional=True),
        None,
        area="TLS",
        meaning="The external account's key, in base64url as the CA shows it.",
    )
    acme_dns_plugin: str = define(
        Text("a plugin of certbot", rules.dns_plugin, empty=True),
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
        Text("a path on the host", rules.host_path, empty=True),
        "",
        area="TLS",
        meaning="In place of a plugin: path on the host of a program that is called with add and with remove.",
    )
    batches: tuple[int | str, ...] = define(
        Batches(),
        (),
        area="fleet",
        meaning=(
            'How many hosts are deployed to at a time, such as [1, 10, "25%"]; the last size is repeated. '
            "Empty: all at once."
        ),
        raw_default=[],
        machine_only=True,
    )

    @property
    def names(self) -> tuple[str, ...]:
        """All names that clients may type, the main one first."""
        return tuple(name for name in (self.hostname, *self.hostnames) if name)

    @property
    def acme_directory(self) -> str:
        """The address of the CA's ACME directory."""
        return rules.ACME_SERVERS.get(self.acme_server, self.acme_server)

    @classmethod
    def from_data(cls, data: Mapping[str, object], *, image: bool = False) -> Settings:
        """Return the settings in pyinfra's host data; raises :class:`SettingsError` with every fault.

        ``image`` is for a target that is no running machine: it needs neither a host name nor passwords. Secrets are
        references, read from this process's environment and disk.
        """
        raw = {name: definition.raw_default for name, definition in DEFINITIONS.items()} | dict(data)
        if image:
            raw |= {name: None for name, definition in DEFINITIONS.items() if definition.secret} | {"users": []}
        return cls._validated(raw, [], os.environ, plain=False, complete=not image)

    @classmethod
    def from_env(cls, environ: Mapping[str, str], file: Mapping[str, object] | None = None) -> Settings:
        """Return the settings of a container; raises :class:`SettingsError` with every fault.

        ``environ`` has ``BAIKAL_*`` variables and, for secrets, ``BAIKAL_*_FILE``; ``file`` is a parsed settings.toml,
        which the environment overrides and in which secrets may stand plain.
        """
        faults: list[Fault] = []
        raw = read_environment(environ, file or {}, DEFINITIONS, faults)
        return cls._validated(raw, faults, environ, plain=True, complete=True)

    @classmethod
    def _validated(
        cls, raw: Mapping[str, object], faults: list[Fault], environ: Mapping[str, str], *, plain: bool, complete: bool
    ) -> Settings:
        values: dict[str, Any] = {}
        for name, given in raw.items():
            definition = DEFINITIONS.get(name)
            if definition is None:
                faults.append(Fault(name, unknown(name, DEFINITIONS)))
            elif any(fault.setting == name for fault in faults):
                continue
            elif isinstance(definition.kind, UsersValue):
                values[name] = read_users(given, faults, environ, plain=plain)
            elif complete or not (definition.secret and given is None):
                try:
                    values[name] = definition.read(given, environ, plain=plain)
                except ValueError as error:
                    faults.append(Fault(name, str(error), "" if definition.secret else describe(given)))
        wrong = {fault.setting for fault in faults}
        settings = cls(**{name: value for name, value in values.items() if name not in wrong})
        # A contradiction with what is wrong anyway would only be noise.
        for involved, fault in contradictions(settings, complete=complete):
            if not wrong.intersection((fault.setting, *involved)):
                faults.append(fault)
        if faults:
            raise SettingsError(faults)
        return settings


DEFINITIONS: dict[str, Definition] = {
    field.name: field.metadata["definition"] for field in dataclasses.fields(Settings)
}
"""Every setting by name, in the order in which people should read them."""
