"""Tables of database settings: accepted and refused values, each refused one with the line that operators see."""

from __future__ import annotations

from tests.unit.settings.cases.common import MYSQL, PGSQL, SECRET, Refused, unchanged

PRINTABLE = "".join(map(chr, range(33, 127)))
ACCEPTED = {
    "database_password": unchanged("x", " x ", PRINTABLE),
    "database_host": {"DB.example.org.": "db.example.org", "local": "local"},
}
"""Texts by setting, and their normalised form."""
REFUSED_TEXTS = (
    ("database_password", "choose another password at the database server", "hünter2", "hunter2\x7f", "hun\x85ter2"),
)
"""A setting, words of the error, and the texts that it refuses."""
REFUSED = (
    Refused({"database": "mariadb"}, 'database = "mariadb": should be sqlite, mysql or pgsql'),
    Refused(
        {"database": "pgsql"},
        'database_host: is missing; database = "pgsql" needs the name of the database server, or "local" for a '
        "server on this machine",
    ),
    Refused(
        MYSQL | {"database_host": "db.example.org:3306"},
        'database_host = "db.example.org:3306": has a port; use only the name, such as "db.example.org", and '
        "set the port with database_port",
    ),
    Refused(
        PGSQL | {"database_host": "postgres://db.example.org"},
        'database_host = "postgres://db.example.org": has a scheme or a path; use only the name, such as '
        '"cal.example.org"',
    ),
    Refused(
        MYSQL | {"database_host": "localhost"},
        'database_host = "localhost": means a Unix socket to MySQL and the network to PostgreSQL; write '
        '"local" for a server that the deploy installs on this machine, or "127.0.0.1" for a server that you '
        "installed",
    ),
    Refused(
        PGSQL | {"database_port": "postgres"},
        'database_port = "postgres": should be a whole number from 0 to 65535',
    ),
    Refused(
        PGSQL | {"database_name": "x;host=evil"},
        'database_name = "x;host=evil": is not a name for a database: at most 63 letters, digits, _ and - '
        "only, such as baikal",
    ),
    Refused(
        PGSQL | {"database_name": ""},
        'database_name = "": is empty or has control characters; it should be a database\'s name',
    ),
    Refused(
        PGSQL | {"database_user": "jo doe"},
        'database_user = "jo doe": is not an account of a database: letters, digits and . _ - @ only; copy it '
        "as the provider of the server shows it",
    ),
    Refused(
        PGSQL | {"database_password": SECRET},
        'database_password: is a secret and must be a reference: {"env": "NAME"} or {"file": "path"}, so that '
        "it is never committed or shown",
    ),
    Refused(
        PGSQL | {"database_password": {"env": "LINES"}},
        "database_password: is empty or has control characters or several lines; check the environment variable LINES",
    ),
    Refused(
        MYSQL | {"database_password": {"env": "UMLAUT"}},
        "database_password: has characters outside printable ASCII; choose another password at the database server",
    ),
    Refused(
        MYSQL | {"database_password": None},
        "database_password: is missing; set it to the password of database_user",
    ),
    Refused(PGSQL | {"database_tls": "on"}, 'database_tls = "on": should be verify or off'),
    Refused(
        PGSQL | {"database_ca": "ca.pem"},
        'database_ca = "ca.pem": should be an absolute path on the host, of letters, digits and . _ - + @ only',
    ),
    Refused(
        PGSQL | {"database_ca": "/ca.pem", "database_tls": "off"},
        'database_ca = "/ca.pem": has no effect with database_tls = "off"; set database_tls = "verify", or '
        "remove database_ca",
    ),
    Refused(
        MYSQL | {"baikal_version": "0.10.1"},
        'database_tls = "verify": is not possible, because Baïkal 0.10.1 doesn\'t support TLS with MySQL: use '
        '0.11.1 or newer, or set database_tls = "off" if you trust the network between the two',
    ),
    Refused(
        {"database_host": "db.example.org"},
        'database_host = "db.example.org": has no effect with database = "sqlite"; set database = "mysql" or '
        '"pgsql", or remove database_host',
    ),
    Refused(
        {"database_host": "local"},
        'database_host = "local": has no effect with database = "sqlite"; set database = "mysql" or "pgsql", '
        "or remove database_host",
    ),
    Refused(
        {"database_port": 5432},
        'database_port = 5432: has no effect with database = "sqlite"; set database = "mysql" or "pgsql", or '
        "remove database_port",
    ),
    Refused(
        {"database_name": "dav"},
        'database_name = "dav": has no effect with database = "sqlite"; set database = "mysql" or "pgsql", or '
        "remove database_name",
    ),
    Refused(
        {"database_user": "dav"},
        'database_user = "dav": has no effect with database = "sqlite"; set database = "mysql" or "pgsql", or '
        "remove database_user",
    ),
    Refused(
        {"database_password": {"env": "GIVEN"}},
        'database_password: has no effect with database = "sqlite"; set database = "mysql" or "pgsql", or '
        "remove database_password",
    ),
    Refused(
        {"database_tls": "off"},
        'database_tls = "off": has no effect with database = "sqlite"; set database = "mysql" or "pgsql", or '
        "remove database_tls",
    ),
    Refused(
        {"database_ca": "/ca.pem"},
        'database_ca = "/ca.pem": has no effect with database = "sqlite"; set database = "mysql" or "pgsql", '
        "or remove database_ca",
    ),
    Refused(
        {"database": "mysql", "database_host": "local", "database_port": 3306},
        'database_port = 3306: has no effect with database_host = "local", whose Unix socket identifies the '
        "client; remove database_port",
    ),
    Refused(
        PGSQL | {"database_host": "local"},
        'database_password: has no effect with database_host = "local", whose Unix socket identifies the '
        "client; remove database_password",
    ),
    Refused(
        {"database": "pgsql", "database_host": "local", "database_user": "dav"},
        'database_user = "dav": has no effect with database_host = "local", whose Unix socket identifies the '
        "client; remove database_user",
    ),
    Refused(
        PGSQL | {"database": "postgresql", "database_ca": "/ca.pem", "database_port": 1},
        'database = "postgresql": should be sqlite, mysql or pgsql',
    ),
    Refused(
        {"database": "mysql", "database_host": "a b"},
        'database_host = "a b": is not a host name: letters, digits, hyphens and dots only, such as cal.example.org',
    ),
)
