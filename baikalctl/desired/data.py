"""What a host is told of its data: which database has it, and which copies of it are kept. No secret is among it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baikalctl import paths
from baikalctl.errors import HostError
from baikalctl.settings.users import Collection, User

if TYPE_CHECKING:
    from baikalctl.settings.model import Settings


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


def declare_database(settings: Settings, root: str = "") -> Database:
    """Return which database has the data; ``root`` stands before the paths of our configuration."""
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


def declare_backup(settings: Settings, root: str = "") -> Backup:
    """Return which copies of the data are kept; ``root`` stands before the paths of our configuration."""
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
    """Return the settings by name, as group data says them, without secrets and what only whoever deploys needs."""
    from baikalctl.settings.model import DEFINITIONS

    names = (name for name, definition in DEFINITIONS.items() if not definition.secret and not definition.machine_only)
    return {name: _plain(getattr(settings, name)) for name in names}


def _plain(value: object) -> object:
    """Return ``value`` as JSON gives it back."""
    if isinstance(value, User) and not value.present:
        return {"name": value.name, "state": "absent"}
    if isinstance(value, User):
        named = {"display_name": value.display_name} if value.displayed else {}
        calendars, books = ([_collection(item) for item in items] for items in (value.calendars, value.address_books))
        user: dict[str, Any] = {"name": value.name, **named, "calendars": calendars, "address_books": books}
        return user | ({"email": value.email} if value.email else {})
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _collection(item: Collection) -> dict[str, Any]:
    named = {"display_name": item.display_name} if item.displayed else {}
    optional = {"description": item.description, "color": item.color}
    shares = [{"with": share.principal, "access": share.access} for share in item.share]
    given = {name: text for name, text in optional.items() if text}
    return {"name": item.name, **named, **given} | ({"share": shares} if shares else {})
