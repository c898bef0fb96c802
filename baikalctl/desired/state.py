"""What a host is told of the settings: all that ``baikalctl`` acts on there, without any password.

Passwords become the verifiers that Baïkal keeps of them anyway, so a host holds nothing new that is worth stealing.
The file is written by the deploy, read by every verb, and readable by root alone.
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
    """An account as the host is told of it: a :class:`User` with Baïkal's ``digesta1`` in the password's place."""

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
    """How certificates are asked for with ``tls = "letsencrypt"``."""

    server: str
    """Address of the ACME directory."""
    key_type: str
    configuration: str
    """The file that certbot reads."""
    by_dns: bool


@dataclass(frozen=True, kw_only=True)
class Relay:
    """The SMTP server that mail leaves through; its password stands in a file of its own."""

    host: str
    port: int
    tls: str
    """``starttls``, ``tls`` or ``none``."""
    ca: str
    """The file that its certificate is checked with; nothing for the system's."""
    user: str
    password: str
    """The file that the password stands in; nothing where none is wanted."""


@dataclass(frozen=True, kw_only=True)
class Mail:
    """How invitations leave."""

    mode: str
    """``off``, ``relay`` or ``postfix``."""
    sender: str
    """The address that they come from, and that is told of what can't be delivered."""
    relay: Relay | None
    selector: str
    """The name in DNS of the key that they are signed with (DKIM); nothing where they aren't."""

    @property
    def domain(self) -> str:
        """The domain that they come from, and that signs for them."""
        return self.sender.rpartition("@")[2].lower()

    @property
    def key(self) -> str:
        """The file with the key that they are signed with: of this selector and domain alone, as the DNS has it."""
        return f"{paths.DKIM}/{self.selector}.{self.domain}.pem"


@dataclass(frozen=True, kw_only=True)
class DesiredState:
    """The desired state of one host's Baïkal."""

    version: str
    hostname: str
    names: tuple[str, ...]
    """All that clients may type, ``hostname`` first."""
    scheme: str
    port: int
    base_path: str
    realm: str
    admin_hash: str
    system: Mapping[str, object]
    tls: str
    served: str
    """What the web server reads, without suffix: ``.pem`` has chain and key, ``.conf`` what it is told besides."""
    tls_certificate: str
    tls_key: str
    authority: str
    """Of a certificate authority of one's own: the file with what it signs with."""
    asking: Acme | None
    mail: Mail
    database: Database
    backup: Backup
    settings: Mapping[str, object]
    """What was declared of this host, by name, without secrets: archives keep it."""
    services: tuple[str, ...]
    users: tuple[DesiredUser, ...]

    def read_by_nginx(self, root: str = "") -> tuple[str, ...]:
        """Return the files of ours that nginx reads; ``root`` stands before the paths of our configuration."""
        pair = (f"{self.served}.pem", f"{self.served}.conf") if self.served else ()
        return (f"{root}{paths.SITE}", *pair)

    def to_json(self) -> str:
        """Return the text of the host's ``declared.json``."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> DesiredState:
        """Return what :meth:`to_json` wrote."""
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
        """Return what the deploy left here; raises :class:`HostError` where it can't be read."""
        try:
            return cls.from_json(Path(paths.DECLARED).read_text(encoding="utf-8"))
        except PermissionError:
            message = f"{paths.DECLARED} is root's alone: run baikalctl as root, for example with sudo"
            raise HostError(message) from None
        except FileNotFoundError:
            message = f"{paths.DECLARED} is not there: this host was never deployed to; run the deploy first"
            if Path(paths.LAID_OUT).is_dir():
                message = "this container is still starting, or waits for another: its log tells"
            raise HostError(message) from None
        except (ValueError, TypeError, KeyError):
            message = f"{paths.DECLARED} can't be understood: it is of another version; run the deploy again"
            raise HostError(message) from None


def _collection(fields: dict[str, Any]) -> Collection:
    return Collection(**dict(fields, share=tuple(Share(**share) for share in fields["share"])))


@dataclass(frozen=True, kw_only=True)
class Database:
    """Which database has the data; a server's password stands in a file of its own."""

    backend: str
    """``sqlite``, ``mysql`` or ``pgsql``, as in baikal.yaml; of the first, nothing else is said."""
    local: bool
    """Whether the server is this machine's own, reached by its Unix socket."""
    host: str
    port: int
    name: str
    user: str
    password: str
    """The file that the password stands in; nothing where none is wanted."""
    tls: bool
    """Whether the server must prove who it is."""
    ca: str
    """The file that its certificate is checked with, where it must."""

    def reveal(self) -> str:
        """Return the password, or nothing where none is wanted; raises :class:`HostError` if its file can't be read."""
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
    """When archives are made, how many of them are kept, and where else."""

    on: bool
    """Whether they are made by the clock."""
    schedule: str
    """A time of day such as ``03:15``, or ``hourly``."""
    daily: int
    weekly: int
    monthly: int
    repository: str
    """That of restic; nothing where there is none."""
    password: str
    """The file with what the repository is encrypted with; nothing where there is none."""
    credentials: str
    """The file with lines ``NAME=value`` for restic's environment; nothing where there is none."""


def deployed_state() -> DesiredState | None:
    """Return what this host was told, or nothing in a container that was told nothing yet."""
    try:
        other = Path(paths.DECLARED).is_file()
    except PermissionError:  # an ordinary user in a container, where its directory is root's
        return None
    return DesiredState.on_this_host() if other else None
