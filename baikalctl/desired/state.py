"""The desired state of a host, ``declared.json``: all that ``baikalctl`` needs on the host, without passwords.

Passwords of users are replaced by the hashes that Baïkal stores, so the file adds no secret to the host. The deploy
writes the file, every command reads it, and only root can read it.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.settings.users import Collection, Share

if TYPE_CHECKING:
    from collections.abc import Mapping


REALM = "BaikalDAV"
"""Baïkal's ``auth_realm``, which is part of every hash (Core/Frameworks/Baikal/Model/Config/Standard.php)."""


@dataclass(frozen=True, kw_only=True)
class DesiredUser:
    """An account: a :class:`User` with Baïkal's ``digesta1`` instead of the password."""

    name: str
    display_name: str
    displayed: bool
    email: str
    digest: str
    calendars: tuple[Collection, ...]
    address_books: tuple[Collection, ...]
    present: bool


@dataclass(frozen=True, kw_only=True)
class Acme:
    """How certificates are requested with ``tls = "letsencrypt"``."""

    server: str
    """Address of the ACME directory."""
    key_type: str
    configuration: str
    """The file that certbot reads."""
    by_dns: bool


@dataclass(frozen=True, kw_only=True)
class Relay:
    """The SMTP server that sends mail. Its password is in a separate file."""

    host: str
    port: int
    tls: str
    """``starttls``, ``tls`` or ``none``."""
    ca: str
    """The file with the CA of its certificate; empty for the system's CAs."""
    user: str
    password: str
    """The file with the password; empty without login."""


@dataclass(frozen=True, kw_only=True)
class Mail:
    """How invitations are sent."""

    mode: str
    """``off``, ``relay`` or ``postfix``."""
    sender: str
    """The sender's address, which also receives bounces."""
    relay: Relay | None
    selector: str
    """The DKIM selector; empty if invitations aren't signed."""

    @property
    def domain(self) -> str:
        """The sender's domain, which also signs (DKIM)."""
        return self.sender.rpartition("@")[2].lower()

    @property
    def key(self) -> str:
        """The file with the DKIM key, one for each selector and domain."""
        return f"{paths.DKIM}/{self.selector}.{self.domain}.pem"


@dataclass(frozen=True, kw_only=True)
class DesiredState:
    """The desired state of one host's Baïkal."""

    version: str
    hostname: str
    names: tuple[str, ...]
    """All host names, ``hostname`` first."""
    scheme: str
    port: int
    base_path: str
    realm: str
    admin_hash: str
    system: Mapping[str, object]
    tls: str
    served: str
    """The web server's files, without suffix: ``.pem`` has chain and key, ``.conf`` further directives."""
    tls_certificate: str
    tls_key: str
    authority: str
    """The file with the certificate of the operator's own CA; empty for a public CA."""
    asking: Acme | None
    mail: Mail
    database: Database
    backup: Backup
    settings: Mapping[str, object]
    """The settings by name, without secrets. Archives contain them."""
    services: tuple[str, ...]
    users: tuple[DesiredUser, ...]

    def read_by_nginx(self, root: str = "") -> tuple[str, ...]:
        """Return the deploy's files that nginx reads; ``root`` is the prefix of configuration paths."""
        pair = (f"{self.served}.pem", f"{self.served}.conf") if self.served else ()
        return (f"{root}{paths.SITE}", *pair)

    def to_json(self) -> str:
        """Return the text of the host's ``declared.json``."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> DesiredState:
        """Return the state that :meth:`to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        fields["users"] = tuple(
            DesiredUser(
                **dict(
                    user,
                    calendars=tuple(_collection(item) for item in user["calendars"]),
                    address_books=tuple(_collection(item) for item in user["address_books"]),
                )
            )
            for user in fields["users"]
        )
        fields |= {name: tuple(fields[name]) for name in ("names", "services")}
        fields["asking"] = Acme(**fields["asking"]) if fields["asking"] else None
        relay = fields["mail"]["relay"]
        fields["database"] = Database(**fields["database"])
        fields["backup"] = Backup(**fields["backup"])
        fields["mail"] = Mail(**fields["mail"] | {"relay": Relay(**relay) if relay else None})
        return cls(**fields)

    @classmethod
    def on_this_host(cls) -> DesiredState:
        """Return the state in ``declared.json``; raises :class:`HostError` if it can't be read."""
        try:
            return cls.from_json(Path(paths.DECLARED).read_text(encoding="utf-8"))
        except PermissionError:
            message = f"{paths.DECLARED} can only be read by root; run baikalctl as root, for example with sudo"
            raise HostError(message) from None
        except FileNotFoundError:
            message = f"{paths.DECLARED} does not exist, because this host has no deploy yet; run the deploy first"
            if Path(paths.LAID_OUT).is_dir():
                message = "this container is still starting, or waits for another container; see its log"
            raise HostError(message) from None
        except (ValueError, TypeError, KeyError):
            message = f"{paths.DECLARED} was written by another version of baikalctl; run the deploy again"
            raise HostError(message) from None


def _collection(fields: dict[str, Any]) -> Collection:
    return Collection(**dict(fields, share=tuple(Share(**share) for share in fields["share"])))


@dataclass(frozen=True, kw_only=True)
class Database:
    """The database of the data. A server's password is in a separate file."""

    backend: str
    """``sqlite``, ``mysql`` or ``pgsql``, as in baikal.yaml; with ``sqlite``, the other fields are empty."""
    local: bool
    """Whether the server is on this machine, and is reached through its Unix socket."""
    host: str
    port: int
    name: str
    user: str
    password: str
    """The file with the password; empty without login."""
    tls: bool
    """Whether TLS is used, and the server's certificate is verified."""
    ca: str
    """With TLS: the file with the CA of its certificate."""

    def reveal(self) -> str:
        """Return the password; empty if there is none. Raises :class:`HostError` if its file can't be read."""
        if not self.password:
            return ""
        try:
            return Path(self.password).read_text(encoding="ascii").removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is damaged"
            message = (
                f"the database's password can't be read in {self.password} ({reason}); run the deploy again, as root"
            )
            raise HostError(message) from None


@dataclass(frozen=True, kw_only=True)
class Backup:
    """When archives are made, how many are kept, and the restic repository."""

    on: bool
    """Whether archives are made on a schedule."""
    schedule: str
    """A time of day such as ``03:15``, or ``hourly``."""
    daily: int
    weekly: int
    monthly: int
    repository: str
    """The restic repository; empty if there is none."""
    password: str
    """The file with the password of the repository; empty if there is none."""
    credentials: str
    """The file with lines ``NAME=value`` for restic's environment; empty if there is none."""


def deployed_state() -> DesiredState | None:
    """Return the state of this host, or None in a container without settings."""
    try:
        other = Path(paths.DECLARED).is_file()
    except PermissionError:  # an ordinary user in a container, where its directory is root's
        return None
    return DesiredState.on_this_host() if other else None
