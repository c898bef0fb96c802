"""What a host is told of the settings: all that ``baikalctl`` acts on there, without any password.

Passwords become the verifiers that Baïkal keeps of them anyway, so a host holds nothing new that is worth stealing.
The file is written by the deploy, read by every verb, and readable by root alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baikalctl import paths
from baikalctl.desired.data import Backup, Database, declare_backup, declare_database, without_secrets
from baikalctl.errors import HostError
from baikalctl.settings.users import Collection, Share, User

if TYPE_CHECKING:
    from collections.abc import Mapping

    from baikalctl.settings.model import Settings
    from baikalctl.settings.secret import Secret


REALM = "BaikalDAV"
"""Baïkal's ``auth_realm``, which is part of every hash (Core/Frameworks/Baikal/Model/Config/Standard.php)."""


@dataclass(frozen=True, kw_only=True)
class DeclaredUser:
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
class Asking:
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
class Declared:
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
    asking: Asking | None
    mail: Mail
    database: Database
    backup: Backup
    settings: Mapping[str, object]
    """What was declared of this host, by name, without secrets: archives keep it."""
    services: tuple[str, ...]
    users: tuple[DeclaredUser, ...]

    def read_by_nginx(self, root: str = "") -> tuple[str, ...]:
        """Return the files of ours that nginx reads; ``root`` stands before the paths of our configuration."""
        pair = (f"{self.served}.pem", f"{self.served}.conf") if self.served else ()
        return (f"{root}{paths.SITE}", *pair)

    def to_json(self) -> str:
        """Return the text of the host's ``declared.json``."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Declared:
        """Return what :meth:`to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        fields["users"] = tuple(
            DeclaredUser(
                **dict(
                    user,
                    calendars=tuple(_collection(item) for item in user["calendars"]),
                    address_books=tuple(_collection(item) for item in user["address_books"]),
                )
            )
            for user in fields["users"]
        )
        fields |= {name: tuple(fields[name]) for name in ("names", "services")}
        fields["asking"] = Asking(**fields["asking"]) if fields["asking"] else None
        relay = fields["mail"]["relay"]
        fields["database"] = Database(**fields["database"])
        fields["backup"] = Backup(**fields["backup"])
        fields["mail"] = Mail(**fields["mail"] | {"relay": Relay(**relay) if relay else None})
        return cls(**fields)

    @classmethod
    def on_this_host(cls) -> Declared:
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


def declare(settings: Settings, services: tuple[str, ...] = (), realm: str = REALM, root: str = "") -> Declared:
    """Return what the host is told of ``settings``.

    ``services`` are the units that serve it, ``realm`` is what the data's passwords were made with, and ``root`` stands
    before the paths of our configuration.
    """
    tls = settings.tls != "off"
    acme = settings.tls == "letsencrypt"
    return Declared(
        version=settings.baikal_version,
        hostname=settings.hostname,
        names=settings.names,
        scheme="https" if tls else "http",
        port=settings.https_port if tls else settings.http_port,
        base_path=settings.base_path,
        realm=realm,
        admin_hash=_admin_hash(settings.admin_password, realm),
        system={
            "timezone": settings.timezone,
            "cal_enabled": settings.caldav,
            "card_enabled": settings.carddav,
            "dav_auth_type": settings.dav_auth.capitalize(),
            "base_uri": f"{settings.base_path}/" if settings.base_path else "",
            # With nothing there, Baïkal sends none, and tells clients that nobody was told (Core/Server.php).
            "invite_from": "" if settings.mail == "off" else settings.sender,
        },
        tls=settings.tls,
        # Of this setting and name alone: until a change has passed every check, the old pair is what serves.
        served=f"{paths.TLS}/{settings.tls}-{settings.hostname}" if tls else "",
        tls_certificate=settings.tls_certificate,
        tls_key=settings.tls_key,
        authority=settings.acme_ca if acme else "",
        asking=Asking(
            server=settings.acme_directory,
            key_type=settings.acme_key_type,
            configuration=f"{root}{paths.CERTBOT}",
            by_dns=bool(settings.acme_dns_plugin or settings.acme_dns_hook),
        )
        if acme
        else None,
        mail=_mail(settings, root),
        database=declare_database(settings, root),
        backup=declare_backup(settings, root),
        settings=without_secrets(settings),
        services=services,
        users=tuple(_declared_user(user, realm) for user in settings.users),
    )


def _mail(settings: Settings, root: str) -> Mail:
    """Return how invitations leave."""
    relay = None
    if settings.mail != "off" and settings.relay_host:
        relay = Relay(
            host=settings.relay_host,
            port=settings.smtp_port,
            tls=settings.relay_tls,
            ca=settings.relay_ca,
            user=settings.relay_user,
            password=f"{root}{paths.RELAY_PASSWORD}" if settings.relay_password else "",
        )
    selector = settings.dkim_selector if settings.mail == "postfix" else ""
    return Mail(mode=settings.mail, sender=settings.sender, relay=relay, selector=selector)


def _admin_hash(password: Secret | None, realm: str) -> str:
    """Return Baïkal's ``admin_passwordhash`` (BaikalAdmin/Core/Auth.php, hashAdminPassword)."""
    return hashlib.sha256(f"admin:{realm}:{password.reveal()}".encode()).hexdigest() if password else ""


def _declared_user(user: User, realm: str) -> DeclaredUser:
    """Replace the password by ``digesta1`` (Baikal/Model/User.php, getPasswordHashForPassword; RFC 2617's A1)."""
    plain = user.password.reveal() if user.password else ""
    digest = hashlib.md5(f"{user.name}:{realm}:{plain}".encode(), usedforsecurity=False).hexdigest() if plain else ""
    return DeclaredUser(
        name=user.name,
        display_name=user.display_name,
        displayed=user.displayed,
        email=user.email,
        digest=digest,
        calendars=user.calendars,
        address_books=user.address_books,
        present=user.present,
    )
