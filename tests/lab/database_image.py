"""Images of the database servers for tests, each with an empty cluster, and how each server is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from tests.lab.images import INSTALL, base_image, built_image

if TYPE_CHECKING:
    from tests.lab.engine import Engine

BASE: Final = "debian:13"
FOLDER: Final = "/lab"
"""Folder of the server's certificate, its key and its CA."""
NAME: Final = "baikal"
"""Name of the database and of the account."""

Backend = Literal["mysql", "pgsql"]
"""The names in baikal.yaml."""


@dataclass(frozen=True)
class Kind:
    """How one kind of server is installed, run and queried."""

    title: str
    slug: str
    port: int
    packages: tuple[str, ...]
    recipe: str
    main: str
    """The shell script that the container runs."""
    stop_signal: str
    """The signal for a clean shutdown that doesn't wait for clients."""
    user: str
    """The system account that is the database's administrator over the socket, without a password."""
    connect: str
    """Python that makes ``connection``, by the distribution's driver, to the database ``name``."""
    many: str
    """Python that executes ``sql`` with each of ``values``, in few round trips."""

    @property
    def alias(self) -> str:
        """The server's host name on its network."""
        return f"{self.slug}.lab.test"

    def image(self, engine: Engine) -> str:
        """Return the tag of the server's image; it is built if it doesn't exist."""
        slug = f"{self.slug}:{BASE.replace(':', '-')}"
        return built_image(engine, base_image(engine, BASE).tag, slug, self.recipe, self.packages)


# Debian's settings are kept, except for the size of the log, which would be most of the image. Tests rely on
# durability: it is the server's default, and fsync is never off.
MARIADB_RECIPE: Final = f"""\
{INSTALL}rm -rf /var/lib/mysql
cat >/etc/mysql/mariadb.conf.d/99-lab.cnf <<'END'
[mariadbd]
bind_address = 0.0.0.0
innodb_log_file_size = 16M
innodb_flush_log_at_trx_commit = 1
ssl_ca = {FOLDER}/ca.pem
ssl_cert = {FOLDER}/certificate.pem
ssl_key = {FOLDER}/own.pem
END
mariadb-install-db --user=mysql --skip-test-db >/dev/null
mkdir -p /run/mysqld {FOLDER}
chown mysql: /run/mysqld
"""
MARIADB_MAIN: Final = f"""\
set -eu
install -o mysql -m 0600 {FOLDER}/key.pem {FOLDER}/own.pem
exec mariadbd --user=mysql
"""

POSTGRESQL_RECIPE: Final = f"""\
mkdir -p /etc/postgresql-common {FOLDER}
echo create_main_cluster = false >/etc/postgresql-common/createcluster.conf
{INSTALL}cd /
setpriv --reuid=postgres --regid=postgres --init-groups /usr/lib/postgresql/*/bin/initdb -D /var/lib/postgresql/lab \\
    --encoding=UTF8 --locale=C.UTF-8 --auth-local=peer --auth-host=scram-sha-256 >/dev/null
mkdir -p /run/postgresql
chown postgres: /run/postgresql
cat >>/var/lib/postgresql/lab/postgresql.conf <<'END'
listen_addresses = '0.0.0.0'
unix_socket_directories = '/run/postgresql'
fsync = on
ssl = on
ssl_ca_file = '{FOLDER}/ca.pem'
ssl_cert_file = '{FOLDER}/certificate.pem'
ssl_key_file = '{FOLDER}/own.pem'
END
"""
POSTGRESQL_MAIN: Final = f"""\
set -eu
install -o postgres -m 0600 {FOLDER}/key.pem {FOLDER}/own.pem
install -o postgres -m 0600 {FOLDER}/hba.conf /var/lib/postgresql/lab/pg_hba.conf
rm -f /var/lib/postgresql/lab/postmaster.pid
exec setpriv --reuid=postgres --regid=postgres --init-groups \\
    /usr/lib/postgresql/*/bin/postgres -D /var/lib/postgresql/lab
"""
"""After a power cut, the process id in postmaster.pid is that of the new server itself, as in every container."""

KINDS: Final[dict[Backend, Kind]] = {
    "mysql": Kind(
        title="MariaDB",
        slug="mariadb",
        port=3306,
        packages=("mariadb-server", "python3-pymysql"),
        recipe=MARIADB_RECIPE,
        main=MARIADB_MAIN,
        stop_signal="SIGTERM",
        user="root",
        connect="""\
import pymysql
connection = pymysql.connect(
    unix_socket="/run/mysqld/mysqld.sock", user="root", database=name or None, charset="utf8mb4")
""",
        many="cursor.executemany(sql, values)",
    ),
    "pgsql": Kind(
        title="PostgreSQL",
        slug="postgresql",
        port=5432,
        packages=("postgresql", "python3-psycopg2"),
        recipe=POSTGRESQL_RECIPE,
        main=POSTGRESQL_MAIN,
        stop_signal="SIGINT",
        user="postgres",
        connect="""\
import psycopg2
from psycopg2.extras import execute_batch
connection = psycopg2.connect(host="/run/postgresql", dbname=name or "postgres")
connection.autocommit = not name
""",
        many="execute_batch(cursor, sql, values, page_size=500)",
    ),
}

HBA: Final = """\
local all postgres peer
{host} {name} {name} 0.0.0.0/0 scram-sha-256
"""
"""PostgreSQL's pg_hba.conf: the account may connect to its own database; all others are refused."""

ACCOUNT: Final[dict[Backend, tuple[str, ...]]] = {
    "mysql": (
        f"CREATE DATABASE {NAME} CHARACTER SET utf8mb4",
        f"CREATE USER {NAME} IDENTIFIED BY %s REQUIRE {{tls}}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, TRIGGER ON {NAME}.* TO {NAME}",
    ),
    "pgsql": (
        f"CREATE ROLE {NAME} LOGIN PASSWORD %s",
        f"CREATE DATABASE {NAME} OWNER {NAME}",
        f"REVOKE ALL ON DATABASE {NAME}, postgres, template1 FROM PUBLIC",
    ),
}
"""Only the privileges that Baïkal and its migrations need on their one database."""

GRANTS: Final[dict[Backend, str]] = {
    "mysql": f"SHOW GRANTS FOR {NAME}",
    "pgsql": f"""\
SELECT 'OWNER OF ' || datname FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE rolname = '{NAME}'
UNION ALL SELECT privilege || ' ON ' || datname
    FROM pg_database, unnest(ARRAY['CONNECT', 'CREATE', 'TEMPORARY']) AS privilege
    WHERE datallowconn AND has_database_privilege('{NAME}', datname, privilege)
UNION ALL SELECT privilege FROM pg_roles, LATERAL (VALUES
    ('SUPERUSER', rolsuper), ('CREATEROLE', rolcreaterole), ('CREATEDB', rolcreatedb),
    ('REPLICATION', rolreplication), ('BYPASSRLS', rolbypassrls)) AS has(privilege, it_has)
    WHERE rolname = '{NAME}' AND it_has
UNION ALL SELECT 'MEMBER OF ' || roleid::regrole FROM pg_auth_members WHERE member = '{NAME}'::regrole
ORDER BY 1""",  # noqa: S608 - the name is ours
}
SESSIONS: Final[dict[Backend, str]] = {
    "mysql": "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'baikal'",
    "pgsql": "SELECT COUNT(*) FROM pg_stat_activity WHERE usename = 'baikal'",
}
