"""Performance measures of our server, and functions that remove each one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.measured_server import MeasuredServer


def without_indexes(ours: MeasuredServer) -> None:
    """Use only Baïkal's schema: searches read whole tables."""
    names = ours.sql("SELECT name FROM sqlite_master WHERE type = 'index' AND name LIKE 'baikalctl%'")
    ours.sql(*(f"DROP INDEX {name}" for (name,) in names), "DELETE FROM sqlite_stat1")


def without_write_ahead_log(ours: MeasuredServer) -> None:
    """Use SQLite's rollback journal: each write blocks all other requests."""
    ours.sql("PRAGMA journal_mode = DELETE")


def without_session_rule(ours: MeasuredServer) -> None:
    """Let Baïkal start a session for every DAV request, which is its default."""
    ours.edit(_pool(ours), r"^php_admin_value\[auto_prepend_file\].*\n")


def without_compiler(ours: MeasuredServer) -> None:
    """Disable the just-in-time compiler, as the distribution does."""
    ours.edit(_ini(ours), r"^opcache\.jit.*\n")


def without_file_override(ours: MeasuredServer) -> None:
    """Let PHP check the disk for each class's file, although it has it compiled."""
    # Set at the end, where it takes effect, rather than removed: so this also works with a template without it.
    ours.edit(_ini(ours), r"\Z", "opcache.enable_file_override = 0\n")


def with_distributions_pool(ours: MeasuredServer) -> None:
    """Start PHP processes as the distribution's pool does: on demand, up to five, for any number of cores."""
    ours.edit(_pool(ours), r"^pm = static\n", "pm = dynamic\n")
    ours.edit(
        _pool(ours),
        r"^pm\.max_children.*\n",
        "pm.max_children = 5\npm.start_servers = 2\npm.min_spare_servers = 1\npm.max_spare_servers = 3\n",
    )


MEASURES: Final[Mapping[str, Callable[[MeasuredServer], None]]] = {
    "without the indexes": without_indexes,
    "without the write-ahead log": without_write_ahead_log,
    "with sessions for DAV": without_session_rule,
    "without the just-in-time compiler": without_compiler,
    "without opcache's file override": without_file_override,
    "with the distribution's pool": with_distributions_pool,
}


def _pool(ours: MeasuredServer) -> str:
    return f"/etc/php/{ours.php}/fpm/pool.d/baikal.conf"


def _ini(ours: MeasuredServer) -> str:
    return f"/etc/php/{ours.php}/fpm/conf.d/99-baikal.ini"
