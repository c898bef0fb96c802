"""Build the desired state of a host from its settings. It has hashes and paths, but no passwords."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from baikalctl import paths
from baikalctl.desired.state import REALM, Acme, Backup, Database, DesiredState, DesiredUser, Mail, Relay
from baikalctl.settings.users import Collection, User

if TYPE_CHECKING:
    from baikalctl.settings.model import Settings
    from baikalctl.settings.secret import Secret


def _database(settings: Settings, root: str = "") -> Database:
    """Return the database of the data; ``root`` is the prefix of configuration paths."""
    server = settings.database != "sqlite"
    remote = server and not settings.local_server
    verified = remote and settings.database_tls == "verify"
    return Database(
        backend=settings.database,
        local=settings.local_server,
        host=settings.database_host if remote else "",
        port=settings.sql_port if remote else 0,
        name=settings.database_name if server else "",
        user=settings.database_user if server else "",
        password=f"{root}{paths.DATABASE_PASSWORD}" if settings.database_password else "",
        tls=verified,
        ca=(settings.database_ca or paths.AUTHORITIES) if verified else "",
    )


def _backup(settings: Settings, root: str = "") -> Backup:
    """Return which backups are kept; ``root`` is the prefix of configuration paths."""
    return Backup(
        on=settings.backup,
        schedule=settings.backup_schedule,
        daily=settings.backup_keep_daily,
        weekly=settings.backup_keep_weekly,
        monthly=settings.backup_keep_monthly,
        repository=settings.restic_repository,
        password=f"{root}{paths.RESTIC_PASSWORD}" if settings.restic_password else "",
        credentials=f"{root}{paths.RESTIC_CREDENTIALS}" if settings.restic_credentials else "",
    )


def without_secrets(settings: Settings) -> dict[str, object]:
    """Return the settings by name, as in group data, without secrets and without settings for the deploy only."""
    from baikalctl.settings.model import DEFINITIONS

    names = (name for name, definition in DEFINITIONS.items() if not definition.secret and not definition.machine_only)
    return {name: _plain(getattr(settings, name)) for name in names}


def _plain(value: object) -> object:
    """Return ``value`` in a form that JSON preserves."""
    if isinstance(value, User) and not value.present:
        return {"name": value.name, "state": "absent"}
    if isinstance(value, User):
        named = {"display_name": value.display_name} if value.displayed else {}
        calendars, books = (
            [_plain_collection(item) for item in items] for items in (value.calendars, value.address_books)
        )
        user: dict[str, Any] = {"name": value.name, **named, "calendars": calendars, "address_books": books}
        return user | ({"email": value.email} if value.email else {})
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _plain_collection(item: Collection) -> dict[str, Any]:
    named = {"display_name": item.display_name} if item.displayed else {}
    optional = {"description": item.description, "color": item.color}
    shares = [{"with": share.principal, "access": share.access} for share in item.share]
    value = {name: text for name, text in optional.items() if text}
    return {"name": item.name, **named, **value} | ({"share": shares} if shares else {})


def desired_state(
    settings: Settings, services: tuple[str, ...] = (), realm: str = REALM, root: str = ""
) -> DesiredState:
    """Return the desired state for ``settings``.

    ``services`` are the host's units, ``realm`` is the realm of the password hashes in the data, and ``root`` is the
    prefix of configuration paths.
    """
    tls = settings.tls != "off"
    acme = settings.tls == "letsencrypt"
    return DesiredState(
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
            # If it is empty, Baïkal sends no invitations, and reports this to clients (Core/Server.php).
            "invite_from": "" if settings.mail == "off" else settings.sender,
        },
        tls=settings.tls,
        # Named by setting and host name, so the old files stay in use until a change has passed every check.
        served=f"{paths.TLS}/{settings.tls}-{settings.hostname}" if tls else "",
        tls_certificate=settings.tls_certificate,
        tls_key=settings.tls_key,
        authority=settings.acme_ca if acme else "",
        asking=Acme(
            server=settings.acme_directory,
            key_type=settings.acme_key_type,
            configuration=f"{root}{paths.CERTBOT}",
            by_dns=bool(settings.acme_dns_plugin or settings.acme_dns_hook),
        )
        if acme
        else None,
        mail=_mail(settings, root),
        database=_database(settings, root),
        backup=_backup(settings, root),
        settings=without_secrets(settings),
        services=services,
        users=tuple(_user(user, realm) for user in settings.users),
    )


def _mail(settings: Settings, root: str) -> Mail:
    """Return how invitations are sent."""
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


def _user(user: User, realm: str) -> DesiredUser:
    """Replace the password by ``digesta1`` (Baikal/Model/User.php, getPasswordHashForPassword; RFC 2617's A1)."""
    plain = user.password.reveal() if user.password else ""
    digest = hashlib.md5(f"{user.name}:{realm}:{plain}".encode(), usedforsecurity=False).hexdigest() if plain else ""
    return DesiredUser(
        name=user.name,
        display_name=user.display_name,
        displayed=user.displayed,
        email=user.email,
        digest=digest,
        calendars=user.calendars,
        address_books=user.address_books,
        present=user.present,
    )
