"""Wrong settings, each with the words that the error must have."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

SECRET = "hunter2-hunter2"
"""Stands wherever somebody wrote a secret in a wrong place or way; no message may repeat it."""


HMAC_KEY = "aHVudGVyMi1odW50ZXIy-_8"


CREDENTIALS = "dns_rfc2136_name = keyname.\ndns_rfc2136_secret = 4q4wM"


OPTIONAL = (
    *("database_password", "acme_eab_hmac_key", "acme_dns_credentials"),
    *("relay_password", "restic_password", "restic_credentials"),
)
"""The secrets that a server can do without."""


RELAYED: dict[str, object] = {"mail": "relay", "relay_host": "smtp.example.org"}
"""What is enough for mail to leave through a relay."""


SERVER: dict[str, object] = {"database_host": "db.example.org", "database_password": {"env": "GIVEN"}}


MYSQL, PGSQL = SERVER | {"database": "mysql"}, SERVER | {"database": "pgsql"}
"""What is enough for a database server."""


RESTIC: dict[str, object] = {"restic_repository": "/srv/restic", "restic_password": {"env": "GIVEN"}}


JO: dict[str, object] = {"name": "jo", "password": {"env": "GIVEN"}}


ANN: dict[str, object] = {"name": "ann", "password": {"env": "GIVEN"}}


class Wrong(NamedTuple):
    """Something that somebody wrote, and what the one line about it must have: setting, value, words of the remedy."""

    given: Mapping[str, object]
    setting: str
    value: str
    words: str


def calendar_data(**fields: object) -> dict[str, object]:
    """Return accounts of which the first has one calendar with these ``fields``."""
    return {"users": [JO | {"calendars": [{"name": "work"} | fields]}, ANN]}


def book_data(**fields: object) -> dict[str, object]:
    """Return an account with one address book with these ``fields``."""
    return {"users": [JO | {"address_books": [{"name": "friends"} | fields]}]}


WRONG_DATA = {
    # Names of settings
    "a misspelt name": Wrong({"hostnam": "x"}, "hostnam", "", "did you mean hostname?"),
    "a misspelt name with a secret": Wrong({"admin_pasword": SECRET}, "admin_pasword", "", "admin_password?"),
    "a name in capitals": Wrong({"Timezone": "UTC"}, "Timezone", "", "did you mean timezone?"),
    "a name with a hyphen": Wrong({"http-port": 80}, "http-port", "", "did you mean http_port?"),
    "an environment variable's name": Wrong({"BAIKAL_HOSTNAME": "x"}, "BAIKAL_HOSTNAME", "", "no such setting"),
    "a name like none": Wrong({"colour_of_the_sky": "x"}, "colour_of_the_sky", "", "there are acme_ca, "),
    # Identity
    "no host name": Wrong({"hostname": ""}, "hostname", "", "is missing; give the name that clients type"),
    "a host name with a scheme": Wrong(
        {"hostname": "https://cal.example.org"}, "hostname", '"https://cal.example.org"', "bare name"
    ),
    "a host name with a path": Wrong({"hostname": "example.org/cal"}, "hostname", '"example.org/cal"', "bare name"),
    "a host name with a port": Wrong({"hostname": "example.org:80"}, "hostname", '"example.org:80"', "https_port"),
    "an IPv6 address": Wrong({"hostname": "2001:db8::1"}, "hostname", '"2001:db8::1"', "has a port"),
    "a host name with an umlaut": Wrong({"hostname": "käl.example"}, "hostname", '"käl.example"', "xn--"),
    "a host name with an underscore": Wrong({"hostname": "my_cal.example"}, "hostname", '"my_cal.example"', "hyphens"),
    "a host name with a space": Wrong({"hostname": "my cal.example"}, "hostname", '"my cal.example"', "hyphens"),
    "a host name of spaces": Wrong({"hostname": "  "}, "hostname", '"  "', "should be a host name"),
    "a host name of two lines": Wrong({"hostname": "a\nb"}, "hostname", '"a\\nb"', "should be a host name"),
    "a wildcard": Wrong({"hostname": "*.example.org"}, "hostname", '"*.example.org"', "letters, digits"),
    "a host name that is a number": Wrong({"hostname": 7}, "hostname", "7", "--data guesses types"),
    "a host name that is a list": Wrong({"hostname": ["a.example"]}, "hostname", '["a.example"]', "put it in quotes"),
    "a host name that is nothing": Wrong({"hostname": None}, "hostname", "null", "put it in quotes"),
    "a time zone by its letters": Wrong({"timezone": "CEST+2!"}, "timezone", '"CEST+2!"', "Europe/Berlin"),
    "a time zone by its offset": Wrong({"timezone": "+02:00"}, "timezone", '"+02:00"', "Europe/Berlin"),
    "an empty time zone": Wrong({"timezone": ""}, "timezone", '""', "should be a time zone"),
    # The release
    "a release as a float": Wrong({"baikal_version": 0.1}, "baikal_version", "0.1", "quote it twice"),
    "a release with two numbers": Wrong({"baikal_version": "0.12"}, "baikal_version", '"0.12"', "0.12.1"),
    "a release with a letter": Wrong({"baikal_version": "v0.12.1"}, "baikal_version", '"v0.12.1"', "0.12.1"),
    "the newest release": Wrong({"baikal_version": "latest"}, "baikal_version", '"latest"', "0.12.1"),
    "a release that is broken": Wrong({"baikal_version": "0.11.0"}, "baikal_version", '"0.11.0"', "0.11.1"),
    "a release that is too old": Wrong({"baikal_version": "0.9.5"}, "baikal_version", '"0.9.5"', "0.10.1 or newer"),
    "a release that isn't known": Wrong({"baikal_version": "0.13.7"}, "baikal_version", '"0.13.7"', "baikal_archive"),
    "an archive by FTP": Wrong(
        {"baikal_archive": "ftp://example.org/b.zip"}, "baikal_archive", '"ftp://example.org/b.zip"', "http or https"
    ),
    "a file's address": Wrong({"baikal_archive": "file:///b.zip"}, "baikal_archive", '"file:///b.zip"', "local zip"),
    "a short checksum": Wrong({"baikal_sha256": "abc"}, "baikal_sha256", '"abc"', "as sha256sum prints them"),
    "a checksum with its kind": Wrong(
        {"baikal_sha256": "sha256:abc"}, "baikal_sha256", '"sha256:abc"', "64 hexadecimal digits"
    ),
    "a checksum that is missing": Wrong(
        {"baikal_version": "0.13.7", "baikal_archive": "https://example.org/b.zip"}, "baikal_sha256", "", "is missing"
    ),
    "an unknown way to download": Wrong({"baikal_download": "there"}, "baikal_download", '"there"', "here or host"),
    "hosts that are to download a local file": Wrong(
        {"baikal_download": "host", "baikal_archive": "/b.zip"}, "baikal_download", '"host"', "set it to here"
    ),
    # The administrator's password
    "a plain secret": Wrong({"admin_password": SECRET}, "admin_password", "", "must be a reference"),
    "a secret that --data made a number": Wrong({"admin_password": 12345}, "admin_password", "", '{"env": "NAME"}'),
    "no secret": Wrong({"admin_password": None}, "admin_password", "", "is missing; set it"),
    "an empty secret": Wrong({"admin_password": ""}, "admin_password", "", "must be a reference"),
    "a secret in a list": Wrong({"admin_password": [SECRET]}, "admin_password", "", "must be a reference"),
    "a secret under a wrong key": Wrong(
        {"admin_password": {"plain": SECRET}}, "admin_password", "", '"plain" is neith'
    ),
    "a reference to nowhere": Wrong({"admin_password": {}}, "admin_password", "", "must be a reference"),
    "a reference to a number": Wrong({"admin_password": {"env": 5}}, "admin_password", "", "must be a reference"),
    "two references": Wrong(
        {"admin_password": {"env": "GIVEN", "file": "/dev/null"}}, "admin_password", "", "must be a reference"
    ),
    "a variable that isn't set": Wrong(
        {"admin_password": {"env": "NOT_SET_ANYWHERE"}}, "admin_password", "", "NOT_SET_ANYWHERE, which is not set; exp"
    ),
    "a variable that is empty": Wrong({"admin_password": {"env": "EMPTY"}}, "admin_password", "", "look into the env"),
    "a variable of two lines": Wrong({"admin_password": {"env": "LINES"}}, "admin_password", "", "several lines"),
    "a variable's name with a dollar": Wrong(
        {"admin_password": {"env": "$GIVEN"}}, "admin_password", "", "names no environment variable"
    ),
    "a file that isn't there": Wrong(
        {"admin_password": {"file": "/not/there"}}, "admin_password", "", "/not/there, which cannot be read (No such"
    ),
    "a file that is a directory": Wrong(
        {"admin_password": {"file": "/"}}, "admin_password", "", "cannot be read (Is a"
    ),
    "a file that is empty": Wrong(
        {"admin_password": {"file": "/dev/null"}}, "admin_password", "", "the file /dev/null"
    ),
    "a file in nobody's home": Wrong(
        {"admin_password": {"file": "~nobody-of-this-name/secret"}}, "admin_password", "", "cannot be read"
    ),
    "a file with a NUL in its name": Wrong(
        {"admin_password": {"file": "a\0b"}}, "admin_password", "", "cannot be read"
    ),
    # What Baïkal serves
    "an unknown way to log in": Wrong({"dav_auth": "Basic"}, "dav_auth", '"Basic"', "basic or digest"),
    "a flag as text": Wrong({"caldav": "false"}, "caldav", '"false"', "without quotes"),
    "a flag as a number": Wrong({"carddav": 1}, "carddav", "1", "True or False"),
    "a flag as nothing": Wrong({"carddav": None}, "carddav", "null", "True or False"),
    "nothing to serve": Wrong({"caldav": False, "carddav": False}, "carddav", "false", "turn one on"),
    # The database
    "an unknown database": Wrong({"database": "mariadb"}, "database", '"mariadb"', "sqlite, mysql or pgsql"),
    "no database server": Wrong(
        {"database": "pgsql"}, "database_host", "", 'name of the database server, or "local" for one on this machine'
    ),
    "a database server with its port": Wrong(
        MYSQL | {"database_host": "db.example.org:3306"},
        "database_host",
        '"db.example.org:3306"',
        "and the port as database_port",
    ),
    "a database server with a scheme": Wrong(
        PGSQL | {"database_host": "postgres://db.example.org"},
        "database_host",
        '"postgres://db.example.org"',
        "bare name",
    ),
    "a database server called localhost": Wrong(
        MYSQL | {"database_host": "localhost"}, "database_host", '"localhost"', 'write "local" for a server that the'
    ),
    "a database server's port by name": Wrong(
        PGSQL | {"database_port": "postgres"}, "database_port", '"postgres"', "a whole number from 0 to 65535"
    ),
    "a database's name with a quote": Wrong(
        PGSQL | {"database_name": "x;host=evil"}, "database_name", '"x;host=evil"', "letters, digits, _ and - only"
    ),
    "a database without a name": Wrong(PGSQL | {"database_name": ""}, "database_name", '""', "a database's name"),
    "a database's account with a space": Wrong(
        PGSQL | {"database_user": "jo doe"}, "database_user", '"jo doe"', "copy it as the server's owner shows it"
    ),
    "a database's plain password": Wrong(
        PGSQL | {"database_password": SECRET}, "database_password", "", "must be a reference"
    ),
    "a database's password of two lines": Wrong(
        PGSQL | {"database_password": {"env": "LINES"}}, "database_password", "", "several lines"
    ),
    "a database's password with an umlaut": Wrong(
        MYSQL | {"database_password": {"env": "UMLAUT"}}, "database_password", "", "another password at the database"
    ),
    "no password of a database": Wrong(
        MYSQL | {"database_password": None}, "database_password", "", "the password that belongs to database_user"
    ),
    "a database's TLS in another word": Wrong(PGSQL | {"database_tls": "on"}, "database_tls", '"on"', "verify or off"),
    "a database's CA on a relative path": Wrong(
        PGSQL | {"database_ca": "ca.pem"}, "database_ca", '"ca.pem"', "absolute path"
    ),
    "a database's CA without TLS": Wrong(
        PGSQL | {"database_ca": "/ca.pem", "database_tls": "off"}, "database_ca", '"/ca.pem"', 'set database_tls = "ver'
    ),
    "TLS with MySQL and an old release": Wrong(
        MYSQL | {"baikal_version": "0.10.1"}, "database_tls", '"verify"', "take 0.11.1 or newer, or set database_tls"
    ),
    "a database server of a file": Wrong(
        {"database_host": "db.example.org"}, "database_host", '"db.example.org"', 'set database = "mysql" or "pgsql"'
    ),
    "a local database server of a file": Wrong(
        {"database_host": "local"}, "database_host", '"local"', 'no effect with database = "sqlite"'
    ),
    "a database's port of a file": Wrong({"database_port": 5432}, "database_port", "5432", "or take it away"),
    "a database's name of a file": Wrong({"database_name": "dav"}, "database_name", '"dav"', "or take it away"),
    "a database's account of a file": Wrong({"database_user": "dav"}, "database_user", '"dav"', "or take it away"),
    "a database's password of a file": Wrong(
        {"database_password": {"env": "GIVEN"}}, "database_password", "", 'no effect with database = "sqlite"'
    ),
    "a database's TLS of a file": Wrong({"database_tls": "off"}, "database_tls", '"off"', "or take it away"),
    "a database's CA of a file": Wrong({"database_ca": "/ca.pem"}, "database_ca", '"/ca.pem"', "or take it away"),
    "a port of a local database server": Wrong(
        {"database": "mysql", "database_host": "local", "database_port": 3306},
        "database_port",
        "3306",
        "whose socket knows who asks; take it away",
    ),
    "a password of a local database server": Wrong(
        PGSQL | {"database_host": "local"}, "database_password", "", 'no effect with database_host = "local"'
    ),
    "an account of a local database server": Wrong(
        {"database": "pgsql", "database_host": "local", "database_user": "dav"},
        "database_user",
        '"dav"',
        "take it away",
    ),
    "a misspelt database with all that is for one": Wrong(
        PGSQL | {"database": "postgresql", "database_ca": "/ca.pem", "database_port": 1},
        "database",
        '"postgresql"',
        "sqlite, mysql or pgsql",
    ),
    "a wrong database server without a password": Wrong(
        {"database": "mysql", "database_host": "a b"}, "database_host", '"a b"', "letters, digits, hyphens"
    ),
    # Backup
    "backups in another word": Wrong({"backup": "daily"}, "backup", '"daily"', "True or False"),
    "a time of day without a zero": Wrong({"backup_schedule": "3:15"}, "backup_schedule", '"3:15"', '"03:15", or "hou'),
    "a time of day that isn't": Wrong({"backup_schedule": "24:00"}, "backup_schedule", '"24:00"', "no time of day"),
    "a time of day of cron's": Wrong(
        {"backup_schedule": "15 3 * * *"}, "backup_schedule", '"15 3 * * *"', "no time of day"
    ),
    "no time of day": Wrong({"backup_schedule": ""}, "backup_schedule", '""', 'or "hourly"'),
    "a schedule of backups that are off": Wrong(
        {"backup": False, "backup_schedule": "hourly"}, "backup_schedule", '"hourly"', "with backup = false; turn it on"
    ),
    "fewer archives than none": Wrong({"backup_keep_daily": -1}, "backup_keep_daily", "-1", "from 0 to 1000"),
    "weeks as text": Wrong({"backup_keep_weekly": "4"}, "backup_keep_weekly", '"4"', "a whole number"),
    "all months": Wrong({"backup_keep_monthly": 1001}, "backup_keep_monthly", "1001", "from 0 to 1000"),
    "no archives at all": Wrong(
        dict.fromkeys(("backup_keep_daily", "backup_keep_weekly", "backup_keep_monthly"), 0),
        "backup_keep_monthly",
        "0",
        "keep at least one",
    ),
    "a repository with a password": Wrong(
        RESTIC | {"restic_repository": f"rest:https://jo:{SECRET}@backup.example.org/"},
        "restic_repository",
        "",
        "as a line RESTIC_REPOSITORY=…",
    ),
    "a repository on a relative path": Wrong(
        RESTIC | {"restic_repository": "srv/restic"}, "restic_repository", "", "an absolute path, or an address"
    ),
    "a repository of an unknown kind": Wrong(
        RESTIC | {"restic_repository": "ftp://backup.example.org/"}, "restic_repository", "", "starts with sftp:, rest:"
    ),
    "a repository of two lines": Wrong(
        RESTIC | {"restic_repository": f"/srv\n{SECRET}"}, "restic_repository", "", "control characters"
    ),
    "a repository without a password": Wrong(
        {"restic_repository": "/srv/restic"}, "restic_password", "", "which you keep elsewhere as well"
    ),
    "a repository's plain password": Wrong(
        RESTIC | {"restic_password": SECRET}, "restic_password", "", "must be a reference"
    ),
    "a repository's password without one": Wrong(
        {"restic_password": {"env": "GIVEN"}}, "restic_password", "", "without restic_repository; name the repository"
    ),
    "a repository's credentials without one": Wrong(
        {"restic_credentials": {"env": "VARIABLES"}}, "restic_credentials", "", "no effect without restic_repository"
    ),
    "a repository's plain credentials": Wrong(
        RESTIC | {"restic_credentials": f"A={SECRET}"}, "restic_credentials", "", "must be a reference"
    ),
    "a repository's credentials without names": Wrong(
        RESTIC | {"restic_credentials": {"env": "LINES"}}, "restic_credentials", "", "not NAME=value, the 1. one"
    ),
    # The web server
    "port 0": Wrong({"http_port": 0}, "http_port", "0", "from 1 to 65535"),
    "port 65536": Wrong({"https_port": 65536}, "https_port", "65536", "from 1 to 65535"),
    "a port as text": Wrong({"http_port": "80"}, "http_port", '"80"', "a whole number"),
    "a port as a flag": Wrong({"http_port": True}, "http_port", "true", "a whole number"),
    "a port as a float": Wrong({"http_port": 80.0}, "http_port", "80.0", "a whole number"),
    "a port as a list": Wrong({"http_port": [80]}, "http_port", "[80]", "a whole number"),
    "one port for both": Wrong({"http_port": 8080, "https_port": 8080}, "https_port", "8080", "two different ports"),
    "a path without a slash": Wrong({"base_path": "cal"}, "base_path", '"cal"', "start with a slash"),
    "a path with a space": Wrong({"base_path": "/my cal"}, "base_path", '"/my cal"', "/calendars"),
    "a path with a dot": Wrong({"base_path": "/dav.php"}, "base_path", '"/dav.php"', "letters, digits"),
    "a path with two slashes": Wrong({"base_path": "/a//b"}, "base_path", '"/a//b"', "start with a slash"),
    "a network with host bits": Wrong(
        {"trusted_proxies": ["10.0.0.1/8"]}, "trusted_proxies", '["10.0.0.1/8"]', "has host bits set"
    ),
    "a network without a list": Wrong(
        {"admin_allow": "10.0.0.0/8"}, "admin_allow", '"10.0.0.0/8"', "a list of networks"
    ),
    "a network by name": Wrong({"admin_allow": ["office"]}, "admin_allow", '["office"]', "write it as 192.0.2.0/24"),
    "a network as a number": Wrong({"admin_allow": [10]}, "admin_allow", "[10]", "has 10, which is no network"),
    "a mask that is too long": Wrong({"admin_allow": ["10.0.0.0/33"]}, "admin_allow", '["10.0.0.0/33"]', "192.0.2.7"),
    "an empty network": Wrong({"admin_allow": [""]}, "admin_allow", '[""]', 'has "", which is no network'),
    "an upload limit of nothing": Wrong({"upload_limit_mb": 0}, "upload_limit_mb", "0", "1 to 2048 MiB"),
    "an upload limit with a unit": Wrong({"upload_limit_mb": "1G"}, "upload_limit_mb", '"1G"', "1 to 2048 MiB"),
    "a time-out of a second": Wrong({"request_timeout_s": 1}, "request_timeout_s", "1", "10 to 3600 seconds"),
    # TLS
    "an unknown certificate": Wrong({"tls": "acme"}, "tls", '"acme"', "letsencrypt, files, selfsigned or off"),
    "TLS as a flag": Wrong({"tls": False}, "tls", "false", 'in quotes: "off"'),
    "files without a key": Wrong(
        {"tls": "files", "tls_certificate": "/c.pem"}, "tls_key", "", "needs both tls_certificate and tls_key"
    ),
    "files without a certificate": Wrong({"tls": "files", "tls_key": "/k.pem"}, "tls_certificate", "", "is missing"),
    "a key without files": Wrong({"tls_key": "/k.pem"}, "tls_key", '"/k.pem"', 'set tls = "files" or take it away'),
    "a certificate without TLS": Wrong(
        {"tls": "off", "tls_certificate": "/c.pem"}, "tls_certificate", '"/c.pem"', 'no effect with tls = "off"'
    ),
    "a key on a relative path": Wrong(
        {"tls": "files", "tls_certificate": "/c.pem", "tls_key": "k.pem"}, "tls_key", '"k.pem"', "absolute path"
    ),
    "a misspelt kind of TLS beside its files": Wrong(
        {"tls": "file", "tls_certificate": "/c.pem", "tls_key": "/k.pem"},
        "tls",
        '"file"',
        "letsencrypt, files, selfsigned or off",
    ),
    "a wrong port beside a right one": Wrong(
        {"http_port": "8080", "https_port": 80}, "http_port", '"8080"', "a whole number"
    ),
    "a wrong archive of a release that isn't known": Wrong(
        {"baikal_version": "0.13.7", "baikal_archive": "ftp://b.zip"},
        "baikal_archive",
        '"ftp://b.zip"',
        "http or https",
    ),
    # Further names
    "further names as text": Wrong(
        {"hostnames": "dav.example.org"}, "hostnames", '"dav.example.org"', 'a list of host names, such as ["'
    ),
    "further names as nothing": Wrong({"hostnames": None}, "hostnames", "null", "a list of host names"),
    "a further name twice": Wrong(
        {"hostnames": ["a.example.org", "A.example.org."]},
        "hostnames",
        '["a.example.org", "A.example.org."]',
        'has "A.example.org." twice; keep one',
    ),
    "a further name with a scheme": Wrong(
        {"hostnames": ["b.example.org", "https://a.example.org"]},
        "hostnames",
        '["b.example.org", "https://a.example.org"]',
        'has "https://a.example.org", which has a scheme or a path; give the bare name',
    ),
    "a further name with a wildcard": Wrong(
        {"hostnames": ["*.example.org"]}, "hostnames", '["*.example.org"]', "letters, digits, hyphens and dots only"
    ),
    "a further name that is empty": Wrong({"hostnames": [""]}, "hostnames", '[""]', 'has "", which is no host name'),
    "a further name of two lines": Wrong({"hostnames": ["a\nb"]}, "hostnames", '["a\\nb"]', "which is no host name"),
    "a further name that is a number": Wrong({"hostnames": [7]}, "hostnames", "[7]", "has 7, which is not text"),
    "a further name that is the main one": Wrong(
        {"hostnames": ["dav.example.org", "cal.example.org"]},
        "hostnames[1]",
        '"cal.example.org"',
        "is hostname already; list only the further names",
    ),
    # Let's Encrypt
    "no address for the CA": Wrong(
        {"tls": "letsencrypt"}, "acme_email", "", 'is missing; tls = "letsencrypt" needs the address where the CA may'
    ),
    "an address for the CA with a name": Wrong(
        {"acme_email": "Jo <jo@example.org>"}, "acme_email", '"Jo <jo@example.org>"', "write it bare"
    ),
    "an address for the CA of two lines": Wrong(
        {"acme_email": "jo@example.org\nserver = x"},
        "acme_email",
        '"jo@example.org\\nserver = x"',
        "control characters",
    ),
    "a CA by its name": Wrong({"acme_server": "zerossl"}, "acme_server", '"zerossl"', "the address of a directory"),
    "no CA": Wrong({"acme_server": ""}, "acme_server", '""', "should be an ACME server"),
    "a CA in the clear": Wrong(
        {"acme_server": "http://ca.example.org/"},
        "acme_server",
        '"http://ca.example.org/"',
        "give its https:// address",
    ),
    "a CA's certificate on a relative path": Wrong({"acme_ca": "ca.pem"}, "acme_ca", '"ca.pem"', "absolute path"),
    "an unknown kind of key": Wrong({"acme_key_type": "ed25519"}, "acme_key_type", '"ed25519"', "ecdsa or rsa"),
    "a key's id with a space": Wrong(
        {"acme_eab_key_id": "a b"}, "acme_eab_key_id", '"a b"', "copy it as the CA shows it"
    ),
    "a plain key": Wrong({"acme_eab_hmac_key": SECRET}, "acme_eab_hmac_key", "", "must be a reference"),
    "a key from a variable that isn't set": Wrong(
        {"acme_eab_hmac_key": {"env": "NOT_SET_ANYWHERE"}},
        "acme_eab_hmac_key",
        "",
        "NOT_SET_ANYWHERE, which is not set; exp",
    ),
    "a key of two lines": Wrong({"acme_eab_hmac_key": {"env": "LINES"}}, "acme_eab_hmac_key", "", "several lines"),
    "a key in another alphabet": Wrong(
        {"acme_eab_hmac_key": {"env": "BASE64"}, "acme_eab_key_id": "x"}, "acme_eab_hmac_key", "", "is not base64url"
    ),
    "a key without its id": Wrong(
        {"acme_eab_hmac_key": {"env": "GIVEN"}}, "acme_eab_key_id", "", "the id that the CA gave you with acme_eab_hmac"
    ),
    "an id without its key": Wrong(
        {"acme_eab_key_id": "kid"}, "acme_eab_hmac_key", "", "the key that the CA gave you with acme_eab_key_id"
    ),
    "a plugin by its package": Wrong(
        {"acme_dns_plugin": "dns-cloudflare"}, "acme_dns_plugin", '"dns-cloudflare"', 'the name that follows "dns-"'
    ),
    "plain credentials": Wrong(
        {"acme_dns_plugin": "rfc2136", "acme_dns_credentials": SECRET}, "acme_dns_credentials", "", "be a reference"
    ),
    "empty credentials": Wrong(
        {"acme_dns_plugin": "rfc2136", "acme_dns_credentials": {"env": "EMPTY"}},
        "acme_dns_credentials",
        "",
        "look into the environment variable EMPTY",
    ),
    "credentials without a plugin": Wrong(
        {"acme_dns_credentials": {"env": "LINES"}}, "acme_dns_credentials", "", "name the plugin, such as rfc2136"
    ),
    "a wait without a plugin": Wrong(
        {"acme_dns_propagation_s": 60}, "acme_dns_propagation_s", "60", "without acme_dns_plugin; name the plugin"
    ),
    "credentials of a hook": Wrong(
        {"acme_dns_credentials": {"env": "LINES"}, "acme_dns_hook": "/h"}, "acme_dns_credentials", "", "has no effect"
    ),
    "a wait that is too long": Wrong(
        {"acme_dns_plugin": "rfc2136", "acme_dns_propagation_s": 901},
        "acme_dns_propagation_s",
        "901",
        "0 to 900 sec",
    ),
    "keys that the plugin doesn't take": Wrong(
        {"acme_dns_plugin": "route53", "acme_dns_credentials": {"env": "LINES"}},
        "acme_dns_credentials",
        "",
        "give the keys as AWS wants them",
    ),
    "a hook beside a plugin": Wrong(
        {"acme_dns_plugin": "rfc2136", "acme_dns_hook": "/usr/local/bin/dns"},
        "acme_dns_hook",
        '"/usr/local/bin/dns"',
        "acme_dns_plugin is set as well; keep one of the two",
    ),
    "a hook with words after it": Wrong(
        {"acme_dns_hook": "/bin/dns --zone x"}, "acme_dns_hook", '"/bin/dns --zone x"', "absolute path"
    ),
    "a certificate of one's own beside Let's Encrypt's": Wrong(
        {"tls": "letsencrypt", "acme_email": "jo@example.org", "tls_key": "/k.pem"},
        "tls_key",
        '"/k.pem"',
        'has no effect with tls = "letsencrypt"',
    ),
    "a misspelt kind of TLS without an address for the CA": Wrong(
        {"tls": "letsencript", "hostname": "192.0.2.7"}, "tls", '"letsencript"', "letsencrypt, files, selfsigned or off"
    ),
    "a wrong plugin with credentials": Wrong(
        {"acme_dns_plugin": "RFC2136", "acme_dns_credentials": {"env": "LINES"}, "acme_dns_propagation_s": 5},
        "acme_dns_plugin",
        '"RFC2136"',
        "such as rfc2136",
    ),
    "a wrong address for the CA": Wrong(
        {"tls": "letsencrypt", "acme_email": "jo"}, "acme_email", '"jo"', "write it bare"
    ),
    "a wrong CA for a local name": Wrong(
        {"tls": "letsencrypt", "acme_email": "jo@example.org", "acme_server": "ca.lan", "hostname": "cal.lan"},
        "acme_server",
        '"ca.lan"',
        "the address of a directory",
    ),
    # Mail
    "an unknown way for mail": Wrong({"mail": "sendmail"}, "mail", '"sendmail"', "off, relay or postfix"),
    "mail as a flag": Wrong({"mail": False}, "mail", "false", 'in quotes: "off"'),
    "a sender with a name": Wrong(
        {"mail": "postfix", "mail_from": "Baïkal <cal@example.org>"},
        "mail_from",
        '"Baïkal <cal@example.org>"',
        "write it bare",
    ),
    "a sender without a full domain": Wrong(
        {"mail": "postfix", "mail_from": "root@localhost"}, "mail_from", '"root@localhost"', "has no full domain"
    ),
    "a sender of two lines": Wrong(
        {"mail": "postfix", "mail_from": "jo@example.org\nx"}, "mail_from", '"jo@example.org\\nx"', "control characters"
    ),
    "a sender of mail that is off": Wrong(
        {"mail_from": "cal@example.org"}, "mail_from", '"cal@example.org"', 'no effect with mail = "off"; set mail = "'
    ),
    "no sender for a host name of one label": Wrong(
        RELAYED | {"hostname": "calendar"}, "mail_from", "", "give an address that has one"
    ),
    "no sender for an IP address": Wrong({"mail": "postfix", "hostname": "192.0.2.7"}, "mail_from", "", "is missing"),
    "no relay": Wrong(
        {"mail": "relay"}, "relay_host", "", 'is missing; mail = "relay" needs the name of the SMTP serv'
    ),
    "no relay, with all that is for one": Wrong(
        {"mail": "relay", "relay_port": 25, "relay_user": "jo", "relay_password": {"env": "GIVEN"}, "relay_ca": "/ca"},
        "relay_host",
        "",
        "is missing",
    ),
    "a relay with its port": Wrong(
        {"mail": "relay", "relay_host": "smtp.example.org:587"},
        "relay_host",
        '"smtp.example.org:587"',
        "and the port as relay_port",
    ),
    "a relay with a scheme": Wrong(
        {"mail": "relay", "relay_host": "smtps://smtp.example.org"},
        "relay_host",
        '"smtps://smtp.example.org"',
        "has a scheme or a path",
    ),
    "a relay in brackets": Wrong(
        {"mail": "relay", "relay_host": "[smtp.example.org]"},
        "relay_host",
        '"[smtp.example.org]"',
        "letters, digits, hyphens",
    ),
    "a relay of mail that is off": Wrong(
        {"relay_host": "smtp.example.org"}, "relay_host", '"smtp.example.org"', 'set mail = "relay" or take it away'
    ),
    "a relay's port of mail that is off": Wrong({"relay_port": 2525}, "relay_port", "2525", 'set mail = "relay" or'),
    "a relay's TLS of mail that is off": Wrong({"relay_tls": "tls"}, "relay_tls", '"tls"', 'set mail = "relay" or'),
    "a relay's user of mail that is off": Wrong({"relay_user": "jo"}, "relay_user", '"jo"', 'set mail = "relay" or'),
    "a relay's password of mail that is off": Wrong(
        {"relay_password": {"env": "GIVEN"}}, "relay_password", "", 'no effect with mail = "off"; set mail = "relay"'
    ),
    "a relay's CA of mail that is off": Wrong(
        {"relay_ca": "/ca.pem"}, "relay_ca", '"/ca.pem"', 'set mail = "relay" or'
    ),
    "a relay's port by name": Wrong(
        RELAYED | {"relay_port": "submission"}, "relay_port", '"submission"', "a whole number from 0 to 65535"
    ),
    "a relay's port of Postfix without one": Wrong(
        {"mail": "postfix", "relay_port": 2525}, "relay_port", "2525", "without relay_host, as Postfix then delivers"
    ),
    "a relay's TLS of Postfix without one": Wrong(
        {"mail": "postfix", "relay_tls": "none"}, "relay_tls", '"none"', "name the relay or take it away"
    ),
    "a relay's user of Postfix without one": Wrong(
        {"mail": "postfix", "relay_user": "jo"}, "relay_user", '"jo"', "name the relay or take it away"
    ),
    "a relay's password of Postfix without one": Wrong(
        {"mail": "postfix", "relay_password": {"env": "GIVEN"}}, "relay_password", "", "name the relay or take it away"
    ),
    "a relay's CA of Postfix without one": Wrong(
        {"mail": "postfix", "relay_ca": "/ca.pem"}, "relay_ca", '"/ca.pem"', "name the relay or take it away"
    ),
    "an old name of TLS": Wrong(RELAYED | {"relay_tls": "ssl"}, "relay_tls", '"ssl"', "starttls, tls or none"),
    "a relay's user with a space": Wrong(
        RELAYED | {"relay_user": "jo doe", "relay_password": {"env": "GIVEN"}},
        "relay_user",
        '"jo doe"',
        "copy it as the relay's provider shows it",
    ),
    "a relay's user without a password": Wrong(
        RELAYED | {"relay_user": "jo"}, "relay_password", "", "give the password that belongs to relay_user"
    ),
    "a relay's password without a user": Wrong(
        RELAYED | {"relay_password": {"env": "GIVEN"}}, "relay_user", "", "give the name that relay_password belongs to"
    ),
    "a plain password of a relay": Wrong(
        RELAYED | {"relay_user": "jo", "relay_password": SECRET}, "relay_password", "", "must be a reference"
    ),
    "a relay's password of two lines": Wrong(
        RELAYED | {"relay_user": "jo", "relay_password": {"env": "LINES"}}, "relay_password", "", "several lines"
    ),
    "a relay's password with an umlaut": Wrong(
        RELAYED | {"relay_user": "jo", "relay_password": {"env": "UMLAUT"}},
        "relay_password",
        "",
        "choose another password at the relay",
    ),
    "a relay's password in the clear": Wrong(
        RELAYED | {"relay_tls": "none", "relay_user": "jo", "relay_password": {"env": "GIVEN"}},
        "relay_password",
        "",
        "would be sent in the clear with relay_tls",
    ),
    "a relay's password in the clear, from Postfix": Wrong(
        RELAYED | {"mail": "postfix", "relay_tls": "none", "relay_user": "jo", "relay_password": {"env": "GIVEN"}},
        "relay_password",
        "",
        "set relay_tls to starttls or tls, or take it away",
    ),
    "a relay's CA without TLS": Wrong(
        RELAYED | {"relay_tls": "none", "relay_ca": "/ca.pem"},
        "relay_ca",
        '"/ca.pem"',
        'no effect with relay_tls = "none"; set relay_tls to starttls or tls',
    ),
    "a relay's CA on a relative path": Wrong(RELAYED | {"relay_ca": "ca.pem"}, "relay_ca", '"ca.pem"', "absolute path"),
    "a DKIM selector of two labels": Wrong(
        {"mail": "postfix", "dkim_selector": "baikal._domainkey"},
        "dkim_selector",
        '"baikal._domainkey"',
        "such as baikal",
    ),
    "a DKIM selector of a relay": Wrong(
        RELAYED | {"dkim_selector": "cal"}, "dkim_selector", '"cal"', 'with mail = "relay"; set mail = "postfix", which'
    ),
    "no DKIM selector of mail that is off": Wrong(
        {"dkim_selector": ""}, "dkim_selector", '""', 'no effect with mail = "off"'
    ),
    "a misspelt way for mail with all that is for one": Wrong(
        {
            "mail": "smtp",
            "mail_from": "cal@example.org",
            "relay_host": "smtp.example.org",
            "relay_tls": "none",
            "relay_user": "jo",
            "relay_password": {"env": "GIVEN"},
            "dkim_selector": "cal",
        },
        "mail",
        '"smtp"',
        "off, relay or postfix",
    ),
    "a wrong relay of Postfix with what is for one": Wrong(
        {"mail": "postfix", "relay_host": "a b", "relay_user": "jo", "relay_ca": "/ca.pem"},
        "relay_host",
        '"a b"',
        "letters, digits, hyphens",
    ),
    "a wrong host name of mail without a sender": Wrong(RELAYED | {"hostname": "a_b"}, "hostname", '"a_b"', "hyphens"),
    "no host name of mail without a sender": Wrong(RELAYED | {"hostname": ""}, "hostname", "", "is missing; give"),
    # Accounts
    "users that are no list": Wrong({"users": {"jo": SECRET}}, "users", "", "a list of tables"),
    "users as text": Wrong({"users": f"jo:{SECRET}"}, "users", "", "a list of tables"),
    "users as nothing": Wrong({"users": None}, "users", "", "a list of tables"),
    "an account that is text": Wrong({"users": [f"jo:{SECRET}"]}, "users[0]", "", 'a table, such as {"name": …}'),
    "an account that is empty": Wrong({"users": [{}]}, "users[0].name", "", "is missing; it should be a user name"),
    "an account without a name": Wrong({"users": [{"password": {"env": "GIVEN"}}]}, "users[0].name", "", "is missing"),
    "an account without a password": Wrong(
        {"users": [{"name": "jo"}]}, "users[0].password", "", "should be a reference"
    ),
    "an account with a plain password": Wrong(
        {"users": [JO | {"password": SECRET}]}, "users[0].password", "", "must be a reference"
    ),
    "an account with a misspelt password": Wrong(
        {"users": [JO | {"pasword": SECRET}]}, "users[0].pasword", "", "did you mean password?"
    ),
    "an account's unknown key": Wrong({"users": [JO | {"quota": 5}]}, "users[0].quota", "", "there are address_books"),
    "a name with a colon": Wrong({"users": [JO | {"name": "a:b"}]}, "users[0].name", '"a:b"', "no client can log in"),
    "a name with a slash": Wrong({"users": [JO | {"name": "a/b"}]}, "users[0].name", '"a/b"', "no client can log in"),
    "a name with a space": Wrong({"users": [JO | {"name": "a b"}]}, "users[0].name", '"a b"', "no client can log in"),
    "a name of dots": Wrong({"users": [JO | {"name": ".."}]}, "users[0].name", '".."', "no client can log in"),
    "a name that is a number": Wrong({"users": [JO | {"name": 7}]}, "users[0].name", "7", "quote it twice"),
    "a name that is too long": Wrong(
        {"users": [JO | {"name": "x" * 51}]}, "users[0].name", f'"{"x" * 51}"', "longer than 50 bytes; shorten it"
    ),
    "twins": Wrong({"users": [JO, ANN, JO]}, "users[2].name", '"jo"', "is declared twice; keep one"),
    "an e-mail address with a name": Wrong(
        {"users": [JO | {"email": "Jo <jo@example.org>"}]}, "users[0].email", '"Jo <jo@example.org>"', "write it bare"
    ),
    "an e-mail address without a domain": Wrong(
        {"users": [JO | {"email": "jo"}]}, "users[0].email", '"jo"', "jo@example.org"
    ),
    "two e-mail addresses": Wrong(
        {"users": [JO | {"email": "a@b.c,d@e.f"}]}, "users[0].email", '"a@b.c,d@e.f"', "jo@example.org"
    ),
    "an unknown state": Wrong({"users": [JO | {"state": "gone"}]}, "users[0].state", '"gone"', "present or absent"),
    "calendars that are no list": Wrong(
        {"users": [JO | {"calendars": "work"}]}, "users[0].calendars", '"work"', "a list of tables"
    ),
    "a calendar that is text": Wrong(
        {"users": [JO | {"calendars": ["work"]}]}, "users[0].calendars[0]", "", 'a table, such as {"name": …}'
    ),
    "a calendar that is empty": Wrong(
        {"users": [JO | {"calendars": [{}]}]}, "users[0].calendars[0].name", "", "is missing; it should be"
    ),
    "a calendar without a name": Wrong(
        {"users": [JO | {"calendars": [{"color": "#FF0000"}]}]}, "users[0].calendars[0].name", "", "is missing"
    ),
    "a calendar with a slash": Wrong(
        calendar_data(name="a/b"), "users[0].calendars[0].name", '"a/b"', "use display_name"
    ),
    "a calendar with a colour by name": Wrong(
        calendar_data(color="red"), "users[0].calendars[0].color", '"red"', 'write "#RRGGBB"'
    ),
    "a calendar with a short colour": Wrong(
        calendar_data(color="#F00"), "users[0].calendars[0].color", '"#F00"', 'write "#RRGGBB"'
    ),
    "a calendar's unknown key": Wrong(
        calendar_data(colour="#FF0000"), "users[0].calendars[0].colour", "", "did you mean color?"
    ),
    "calendars that are twins": Wrong(
        {"users": [JO | {"calendars": [{"name": "a"}, {"name": "a"}]}]},
        "users[0].calendars[1].name",
        '"a"',
        "is declared twice",
    ),
    "a share with nobody": Wrong(
        calendar_data(share=[{"with": "eve"}]), "users[0].calendars[0].share[0].with", '"eve"', "declare the account"
    ),
    "a share with oneself": Wrong(
        calendar_data(share=[{"with": "jo"}]), "users[0].calendars[0].share[0].with", '"jo"', "own owner; remove it"
    ),
    "a share with somebody twice": Wrong(
        calendar_data(share=[{"with": "ann"}, {"with": "ann", "access": "write"}]),
        "users[0].calendars[0].share[1].with",
        '"ann"',
        "is named twice; keep one",
    ),
    "a share with somebody who is removed": Wrong(
        {"users": [*calendar_data(share=[{"with": "eve"}])["users"], {"name": "eve", "state": "absent"}]},  # type: ignore[misc]
        "users[0].calendars[0].share[0].with",
        '"eve"',
        "take the share away",
    ),
    "a share that doesn't say with whom": Wrong(
        calendar_data(share=[{"access": "read"}]), "users[0].calendars[0].share[0].with", "", "is missing"
    ),
    "a share that is empty": Wrong(
        calendar_data(share=[{}]), "users[0].calendars[0].share[0].with", "", "is missing; it should be"
    ),
    "a share that is text": Wrong(
        calendar_data(share=["ann"]), "users[0].calendars[0].share[0]", "", 'such as {"with": …}'
    ),
    "a share with unknown access": Wrong(
        calendar_data(share=[{"with": "ann", "access": "rw"}]),
        "users[0].calendars[0].share[0].access",
        '"rw"',
        "read or write",
    ),
    "an address book with a colour": Wrong(
        book_data(color="#FF0000"), "users[0].address_books[0].color", "", "no such setting; there are description, "
    ),
    "an address book with a share": Wrong(
        book_data(share=[{"with": "ann"}]), "users[0].address_books[0].share", "", "there are description, "
    ),
    "address books that are twins": Wrong(
        {"users": [JO | {"address_books": [{"name": "a"}, {"name": "a"}]}]},
        "users[0].address_books[1].name",
        '"a"',
        "is declared twice",
    ),
}


WRONG_ENVIRONMENT = {
    "a misspelt variable": Wrong({"BAIKAL_HOSTNAM": "x"}, "BAIKAL_HOSTNAM", "", "did you mean BAIKAL_HOSTNAME?"),
    "a misspelt secret": Wrong(
        {"BAIKAL_ADMIN_PASWORD": SECRET}, "BAIKAL_ADMIN_PASWORD", "", "did you mean BAIKAL_ADMIN_PASSWORD?"
    ),
    "a file for what is no secret": Wrong(
        {"BAIKAL_HOSTNAME_FILE": "/x"}, "BAIKAL_HOSTNAME_FILE", "", "did you mean BAIKAL_HOSTNAME?"
    ),
    "what the image decides": Wrong({"BAIKAL_BAIKAL_VERSION": "0.1"}, "BAIKAL_BAIKAL_VERSION", "", "choose an image"),
    "what a build is told": Wrong({"BAIKAL_VERSION": "0.11.1"}, "BAIKAL_VERSION", "", "choose an image"),
    "a name like none": Wrong({"BAIKAL_COLOUR": "x"}, "BAIKAL_COLOUR", "", "there are BAIKAL_ACME_CA, "),
    "no host name": Wrong({"BAIKAL_HOSTNAME": ""}, "hostname", "", "give the name that clients type"),
    "a host name with a scheme": Wrong(
        {"BAIKAL_HOSTNAME": "http://cal.example.org"}, "hostname", '"http://cal.example.org"', "bare name"
    ),
    "a host name with an umlaut": Wrong({"BAIKAL_HOSTNAME": "käl.example"}, "hostname", '"käl.example"', "xn--"),
    "quotes that Docker kept": Wrong(
        {"BAIKAL_HOSTNAME": '"cal.example.org"'}, "hostname", '"\\"cal.example.org\\""', "letters, digits"
    ),
    "an empty time zone": Wrong({"BAIKAL_TIMEZONE": ""}, "timezone", '""', "should be a time zone"),
    "a time zone by its offset": Wrong({"BAIKAL_TIMEZONE": "+02:00"}, "timezone", '"+02:00"', "Europe/Berlin"),
    "an empty secret": Wrong({"BAIKAL_ADMIN_PASSWORD": ""}, "admin_password", "", "look into the value"),
    "a secret of two lines": Wrong(
        {"BAIKAL_ADMIN_PASSWORD": f"{SECRET}\n{SECRET}"}, "admin_password", "", "several lines"
    ),
    "a secret in both ways": Wrong(
        {"BAIKAL_ADMIN_PASSWORD": SECRET, "BAIKAL_ADMIN_PASSWORD_FILE": "/proc/self/comm"},
        "admin_password",
        "",
        "both BAIKAL_ADMIN_PASSWORD and BAIKAL_ADMIN_PASSWORD_FILE are set; keep one",
    ),
    "a secret in both ways, one of them wrong": Wrong(
        {"BAIKAL_ADMIN_PASSWORD": SECRET, "BAIKAL_ADMIN_PASSWORD_FILE": "/not/there"},
        "admin_password",
        "",
        "both BAIKAL_ADMIN_PASSWORD and BAIKAL_ADMIN_PASSWORD_FILE are set; keep one",
    ),
    "an unknown way to log in": Wrong({"BAIKAL_DAV_AUTH": "ntlm"}, "dav_auth", '"ntlm"', "basic or digest"),
    "a flag that is a word": Wrong({"BAIKAL_CALDAV": "maybe"}, "caldav", '"maybe"', "true or false"),
    "a flag that is empty": Wrong({"BAIKAL_CARDDAV": ""}, "carddav", '""', "true or false"),
    "a port that is a word": Wrong({"BAIKAL_HTTP_PORT": "http"}, "http_port", '"http"', "a whole number"),
    "a port that is empty": Wrong({"BAIKAL_HTTP_PORT": ""}, "http_port", '""', "a whole number"),
    "a port that is negative": Wrong({"BAIKAL_HTTP_PORT": "-1"}, "http_port", '"-1"', "from 1 to 65535"),
    "a port in other digits": Wrong({"BAIKAL_HTTP_PORT": "８０"}, "http_port", '"８０"', "a whole number"),
    "a port mapping": Wrong({"BAIKAL_HTTP_PORT": "8080:80"}, "http_port", '"8080:80"', "a whole number"),
    "port 65536": Wrong({"BAIKAL_HTTPS_PORT": "65536"}, "https_port", '"65536"', "from 1 to 65535"),
    "one port for both": Wrong({"BAIKAL_HTTP_PORT": "443"}, "https_port", "443", "two different ports"),
    "a path without a slash": Wrong({"BAIKAL_BASE_PATH": "cal"}, "base_path", '"cal"', "start with a slash"),
    "a network with host bits": Wrong(
        {"BAIKAL_TRUSTED_PROXIES": "10.0.0.1/8"}, "trusted_proxies", '"10.0.0.1/8"', "has host bits set"
    ),
    "networks as JSON": Wrong(
        {"BAIKAL_ADMIN_ALLOW": '["10.0.0.0/8"]'}, "admin_allow", '"[\\"10.0.0.0/8\\"]"', "192.0.2.0/24"
    ),
    "networks between semicolons": Wrong(
        {"BAIKAL_ADMIN_ALLOW": "10.0.0.0/8;fd00::/8"}, "admin_allow", '"10.0.0.0/8;fd00::/8"', "192.0.2.0/24"
    ),
    "an unknown certificate": Wrong({"BAIKAL_TLS": "on"}, "tls", '"on"', "letsencrypt, files, selfsigned or off"),
    "files without any": Wrong({"BAIKAL_TLS": "files", "BAIKAL_TLS_KEY": "/k"}, "tls_certificate", "", "is missing"),
    "a key without files": Wrong({"BAIKAL_TLS_KEY": "/k.pem"}, "tls_key", '"/k.pem"', 'set tls = "files"'),
    "an upload limit with a unit": Wrong({"BAIKAL_UPLOAD_LIMIT_MB": "100M"}, "upload_limit_mb", '"100M"', "2048 MiB"),
    "further names as JSON": Wrong(
        {"BAIKAL_HOSTNAMES": '["a.example.org"]'}, "hostnames", '"[\\"a.example.org\\"]"', "letters, digits, hyphens"
    ),
    "further names between semicolons": Wrong(
        {"BAIKAL_HOSTNAMES": "a.example.org;b.example.org"}, "hostnames", '"a.example.org;b.example.org"', "hyphens"
    ),
    "a further name that is the main one": Wrong(
        {"BAIKAL_HOSTNAMES": "cal.example.org"}, "hostnames[0]", '"cal.example.org"', "is hostname already"
    ),
    "no address for the CA": Wrong({"BAIKAL_TLS": "letsencrypt"}, "acme_email", "", "where the CA may write to you"),
    "an empty key": Wrong({"BAIKAL_ACME_EAB_HMAC_KEY": ""}, "acme_eab_hmac_key", "", "look into the value"),
    "a key in another alphabet": Wrong(
        {"BAIKAL_ACME_EAB_HMAC_KEY": f"{SECRET}/"}, "acme_eab_hmac_key", "", "is not base64url"
    ),
    "a key in both ways": Wrong(
        {"BAIKAL_ACME_EAB_HMAC_KEY": SECRET, "BAIKAL_ACME_EAB_HMAC_KEY_FILE": "/not/there"},
        "acme_eab_hmac_key",
        "",
        "both BAIKAL_ACME_EAB_HMAC_KEY and BAIKAL_ACME_EAB_HMAC_KEY_FILE are set; keep one",
    ),
    "credentials that aren't there": Wrong(
        {"BAIKAL_ACME_DNS_PLUGIN": "rfc2136", "BAIKAL_ACME_DNS_CREDENTIALS_FILE": "/not/there"},
        "acme_dns_credentials",
        "",
        "the file /not/there, which cannot be read",
    ),
    "a wait with a unit": Wrong(
        {"BAIKAL_ACME_DNS_PROPAGATION_S": "60s"}, "acme_dns_propagation_s", '"60s"', "from 0 to 900 seconds"
    ),
    "mail that is off in another word": Wrong({"BAIKAL_MAIL": "no"}, "mail", '"no"', "off, relay or postfix"),
    "a mail server of its own": Wrong(
        {"BAIKAL_MAIL": "postfix"}, "mail", '"postfix"', "a Postfix beside it or on the host in BAIKAL_RELAY_HOST"
    ),
    "a mail server of its own, with more that is wrong then": Wrong(
        {"BAIKAL_MAIL": "postfix", "BAIKAL_HOSTNAME": "calendar", "BAIKAL_RELAY_TLS": "none", "BAIKAL_RELAY_CA": "/ca"},
        "mail",
        '"postfix"',
        'is for machines, and a container sends through a relay: set mail = "relay"',
    ),
    "no relay": Wrong({"BAIKAL_MAIL": "relay"}, "relay_host", "", "the name of the SMTP server that takes the mail"),
    "a relay with its port": Wrong(
        {"BAIKAL_MAIL": "relay", "BAIKAL_RELAY_HOST": "smtp:25"}, "relay_host", '"smtp:25"', "the port as relay_port"
    ),
    "a relay of mail that is off": Wrong(
        {"BAIKAL_RELAY_HOST": "smtp.example.org"}, "relay_host", '"smtp.example.org"', 'no effect with mail = "off"'
    ),
    "a relay's port that is empty": Wrong(
        {"BAIKAL_MAIL": "relay", "BAIKAL_RELAY_HOST": "smtp", "BAIKAL_RELAY_PORT": ""}, "relay_port", '""', "65535"
    ),
    "an empty password of a relay": Wrong({"BAIKAL_RELAY_PASSWORD": ""}, "relay_password", "", "look into the value"),
    "a relay's password in both ways": Wrong(
        {"BAIKAL_RELAY_PASSWORD": SECRET, "BAIKAL_RELAY_PASSWORD_FILE": "/not/there"},
        "relay_password",
        "",
        "both BAIKAL_RELAY_PASSWORD and BAIKAL_RELAY_PASSWORD_FILE are set; keep one",
    ),
    "a relay's password with an umlaut": Wrong(
        {"BAIKAL_RELAY_PASSWORD": f"{SECRET}ä"}, "relay_password", "", "choose another password at the relay"
    ),
    "a relay's password of mail that is off": Wrong(
        {"BAIKAL_RELAY_PASSWORD": SECRET}, "relay_password", "", 'no effect with mail = "off"'
    ),
    "a DKIM selector": Wrong(
        {"BAIKAL_DKIM_SELECTOR": "cal"}, "dkim_selector", '"cal"', "which only machines can have, or take it away"
    ),
    "an unknown database": Wrong({"BAIKAL_DATABASE": "mariadb"}, "database", '"mariadb"', "sqlite, mysql or pgsql"),
    "no database server": Wrong(
        {"BAIKAL_DATABASE": "pgsql"}, "database_host", "", "needs the name of the database server"
    ),
    "a database server of its own": Wrong(
        {"BAIKAL_DATABASE": "mysql", "BAIKAL_DATABASE_HOST": "local", "BAIKAL_DATABASE_PORT": "1"},
        "database_host",
        '"local"',
        "name one beside it in BAIKAL_DATABASE_HOST",
    ),
    "no password of a database": Wrong(
        {"BAIKAL_DATABASE": "mysql", "BAIKAL_DATABASE_HOST": "db"}, "database_password", "", "is missing; give the pass"
    ),
    "an empty password of a database": Wrong(
        {"BAIKAL_DATABASE_PASSWORD": ""}, "database_password", "", "look into the value"
    ),
    "a database's password in both ways": Wrong(
        {"BAIKAL_DATABASE_PASSWORD": SECRET, "BAIKAL_DATABASE_PASSWORD_FILE": "/not/there"},
        "database_password",
        "",
        "both BAIKAL_DATABASE_PASSWORD and BAIKAL_DATABASE_PASSWORD_FILE are set; keep one",
    ),
    "a repository with a password": Wrong(
        {"BAIKAL_RESTIC_REPOSITORY": f"s3:https://key:{SECRET}@s3.example.org/baikal"},
        "restic_repository",
        "",
        "give the whole address to restic_credentials",
    ),
    "a repository without a password": Wrong(
        {"BAIKAL_RESTIC_REPOSITORY": "/srv/restic"}, "restic_password", "", "is missing; restic_repository needs"
    ),
    "a number of archives that is a word": Wrong(
        {"BAIKAL_BACKUP_KEEP_DAILY": "all"}, "backup_keep_daily", '"all"', "from 0 to 1000"
    ),
    "users that are no JSON": Wrong({"BAIKAL_USERS": "jo"}, "users", "", "write a list of tables"),
    "users as a table": Wrong({"BAIKAL_USERS": '{"name": "jo"}'}, "users", "", "a list of tables"),
    "users as nothing": Wrong({"BAIKAL_USERS": ""}, "users", "", "write a list of tables"),
    "a user's wrong name": Wrong(
        {"BAIKAL_USERS": f'[{{"name": "a b", "password": "{SECRET}"}}]'}, "users[0].name", '"a b"', "log in with"
    ),
    "a user's empty password": Wrong(
        {"BAIKAL_USERS": '[{"name": "jo", "password": ""}]'}, "users[0].password", "", "is empty"
    ),
}


WRONG_FILE = {
    "a misspelt name": Wrong({"hostnam": "x"}, "hostnam", "", "did you mean hostname?"),
    "a misspelt secret": Wrong({"admin_pasword": SECRET}, "admin_pasword", "", "did you mean admin_password?"),
    "what the image decides": Wrong({"baikal_version": "0.11.1"}, "baikal_version", "", "choose an image"),
    "a table": Wrong({"web": {"http_port": 80}}, "web", "", "no such setting"),
    "a date": Wrong({"timezone": dt.date(2026, 1, 1)}, "timezone", '"2026-01-01"', "put it in quotes"),
    "a secret that is a number": Wrong({"admin_password": 12345}, "admin_password", "", "is a secret"),
    "an empty secret": Wrong({"admin_password": ""}, "admin_password", "", "is empty"),
    "a port as text": Wrong({"http_port": "80"}, "http_port", '"80"', "a whole number"),
    "a mail server of its own": Wrong({"mail": "postfix"}, "mail", '"postfix"', "is for machines, and a container"),
    "a database server of its own": Wrong(
        {"database": "pgsql", "database_host": "local"},
        "database_host",
        '"local"',
        "a container has no database server",
    ),
    "a database's password that is a number": Wrong({"database_password": 12345}, "database_password", "", "a secret"),
    "a repository with a password": Wrong(
        {"restic_repository": f"rest:http://jo:{SECRET}@nas:8000/"}, "restic_repository", "", "take it out"
    ),
    "a relay's password that is a number": Wrong({"relay_password": 12345}, "relay_password", "", "is a secret"),
}


VARIABLES = {
    "GIVEN": SECRET,
    "EMPTY": "",
    "LINES": f"{SECRET}\n{SECRET}",
    "BASE64": f"{SECRET}+",
    "UMLAUT": f"{SECRET}ä",
    "VARIABLES": f"A_KEY={SECRET}\nB_KEY={SECRET}",
}
"""What the tables refer to."""
