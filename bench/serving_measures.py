"""What makes our server fast, one measure at a time: each is taken away by itself, from an otherwise whole server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.serving_standing import Standing


def without_indexes(ours: Standing) -> None:
    """Leave the schema as Baïkal has it: searches read whole tables."""
    names = ours.sql("SELECT name FROM sqlite_master WHERE type = 'index' AND name LIKE 'baikalctl%'")
    ours.sql(*(f"DROP INDEX {name}" for (name,) in names), "DELETE FROM sqlite_stat1")


def without_write_ahead_log(ours: Standing) -> None:
    """Keep SQLite's rollback journal: whoever writes shuts out everybody else."""
    ours.sql("PRAGMA journal_mode = DELETE")


def without_session_rule(ours: Standing) -> None:
    """Let Baïkal start a session for every DAV request, as it does by itself."""
    ours.edit(_pool(ours), r"^php_admin_value\[auto_prepend_file\].*\n")


def without_compiler(ours: Standing) -> None:
    """Leave out the just-in-time compiler, as the distribution does."""
    ours.edit(_ini(ours), r"^opcache\.jit.*\n")


def without_file_override(ours: Standing) -> None:
    """Let PHP ask the disk whether a class's file is there, though it holds it compiled."""
    # Said at the end, where it counts, rather than taken out: so this also holds for a template that doesn't say it.
    ours.edit(_ini(ours), r"\Z", "opcache.enable_file_override = 0\n")


def with_distributions_pool(ours: Standing) -> None:
    """Start PHP processes as the distribution's own pool does: as needed, up to five, however many cores there are."""
    ours.edit(_pool(ours), r"^pm = static\n", "pm = dynamic\n")
    ours.edit(
        _pool(ours),
        r"^pm\.max_children.*\n",
        "pm.max_children = 5\npm.start_servers = 2\npm.min_spare_servers = 1\npm.max_spare_servers = 3\n",
    )


MEASURES: Final[Mapping[str, Callable[[Standing], None]]] = {
    "without the indexes": without_indexes,
    "without the write-ahead log": without_write_ahead_log,
    "with sessions for DAV": without_session_rule,
    "without the just-in-time compiler": without_compiler,
    "without opcache's file override": without_file_override,
    "with the distribution's pool": with_distributions_pool,
}


def _pool(ours: Standing) -> str:
    return f"/etc/php/{ours.php}/fpm/pool.d/baikal.conf"


def _ini(ours: Standing) -> str:
    return f"/etc/php/{ours.php}/fpm/conf.d/99-baikal.ini"
