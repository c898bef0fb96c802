"""Tables of mistakes in a container's environment variables, and in its settings.toml."""

from __future__ import annotations

import datetime as dt

from tests.unit.settings.cases.common import SECRET, Refused

ENVIRONMENT = (
    Refused({"BAIKAL_HOSTNAM": "x"}, "BAIKAL_HOSTNAM: no such setting; did you mean BAIKAL_HOSTNAME?"),
    Refused(
        {"BAIKAL_ADMIN_PASWORD": SECRET},
        "BAIKAL_ADMIN_PASWORD: no such setting; did you mean BAIKAL_ADMIN_PASSWORD?",
    ),
    Refused({"BAIKAL_HOSTNAME_FILE": "/x"}, "BAIKAL_HOSTNAME_FILE: no such setting; did you mean BAIKAL_HOSTNAME?"),
    Refused(
        {"BAIKAL_BAIKAL_VERSION": "0.1"},
        "BAIKAL_BAIKAL_VERSION: is decided when the image is built; use an image with that release",
    ),
    Refused(
        {"BAIKAL_VERSION": "0.11.1"},
        "BAIKAL_VERSION: is decided when the image is built; use an image with that release",
    ),
    Refused({"BAIKAL_COLOUR": "x"}, "BAIKAL_COLOUR: no such setting; docs/settings.md lists all settings"),
    Refused(
        {"BAIKAL_HOSTNAME": ""},
        'hostname: is missing; set it to the name that clients connect to, such as "cal.example.org"',
    ),
    Refused(
        {"BAIKAL_HOSTNAME": "http://cal.example.org"},
        'hostname = "http://cal.example.org": has a scheme or a path; use only the name, such as "cal.example.org"',
    ),
    Refused(
        {"BAIKAL_HOSTNAME": "käl.example"},
        'hostname = "käl.example": has characters that are not ASCII; write xn--kl-via.example',
    ),
    Refused(
        {"BAIKAL_HOSTNAME": '"cal.example.org"'},
        'hostname = "\\"cal.example.org\\"": is not a host name: letters, digits, hyphens and dots only, such '
        "as cal.example.org",
    ),
    Refused({"BAIKAL_TIMEZONE": ""}, 'timezone = "": is empty or has control characters; it should be a time zone'),
    Refused(
        {"BAIKAL_TIMEZONE": "+02:00"},
        'timezone = "+02:00": is not a time zone of the IANA database; write it as "Europe/Berlin" or "UTC"',
    ),
    Refused(
        {"BAIKAL_ADMIN_PASSWORD": ""},
        "admin_password: is empty or has control characters or several lines; check the value",
    ),
    Refused(
        {"BAIKAL_ADMIN_PASSWORD": f"{SECRET}\n{SECRET}"},
        "admin_password: is empty or has control characters or several lines; check the value",
    ),
    Refused(
        {"BAIKAL_ADMIN_PASSWORD": SECRET, "BAIKAL_ADMIN_PASSWORD_FILE": "/proc/self/comm"},
        "admin_password: both BAIKAL_ADMIN_PASSWORD and BAIKAL_ADMIN_PASSWORD_FILE are set; remove one",
    ),
    Refused(
        {"BAIKAL_ADMIN_PASSWORD": SECRET, "BAIKAL_ADMIN_PASSWORD_FILE": "/not/there"},
        "admin_password: both BAIKAL_ADMIN_PASSWORD and BAIKAL_ADMIN_PASSWORD_FILE are set; remove one",
    ),
    Refused({"BAIKAL_DAV_AUTH": "ntlm"}, 'dav_auth = "ntlm": should be basic or digest'),
    Refused({"BAIKAL_CALDAV": "maybe"}, 'caldav = "maybe": should be true or false'),
    Refused({"BAIKAL_CARDDAV": ""}, 'carddav = "": should be true or false'),
    Refused({"BAIKAL_HTTP_PORT": "http"}, 'http_port = "http": should be a whole number from 1 to 65535'),
    Refused({"BAIKAL_HTTP_PORT": ""}, 'http_port = "": should be a whole number from 1 to 65535'),
    Refused({"BAIKAL_HTTP_PORT": "-1"}, 'http_port = "-1": should be a whole number from 1 to 65535'),
    Refused({"BAIKAL_HTTP_PORT": "８０"}, 'http_port = "８０": should be a whole number from 1 to 65535'),
    Refused({"BAIKAL_HTTP_PORT": "8080:80"}, 'http_port = "8080:80": should be a whole number from 1 to 65535'),
    Refused({"BAIKAL_HTTPS_PORT": "65536"}, 'https_port = "65536": should be a whole number from 1 to 65535'),
    Refused({"BAIKAL_HTTP_PORT": "443"}, "https_port = 443: is the same as http_port; set two different ports"),
    Refused(
        {"BAIKAL_BASE_PATH": "cal"},
        'base_path = "cal": should start with a slash and have letters, digits, - and _ only, such as /calendars',
    ),
    Refused(
        {"BAIKAL_TRUSTED_PROXIES": "10.0.0.1/8"},
        'trusted_proxies = "10.0.0.1/8": has "10.0.0.1/8", which is not a network (10.0.0.1/8 has host bits '
        "set); write it as 192.0.2.0/24 or 192.0.2.7",
    ),
    Refused(
        {"BAIKAL_ADMIN_ALLOW": '["10.0.0.0/8"]'},
        'admin_allow = "[\\"10.0.0.0/8\\"]": has "[\\"10.0.0.0/8\\"]", which is not a network '
        "('[\"10.0.0.0/8\"]' does not appear to be an IPv4 or IPv6 network); write it as 192.0.2.0/24 or "
        "192.0.2.7",
    ),
    Refused(
        {"BAIKAL_ADMIN_ALLOW": "10.0.0.0/8;fd00::/8"},
        'admin_allow = "10.0.0.0/8;fd00::/8": has "10.0.0.0/8;fd00::/8", which is not a network '
        "('10.0.0.0/8;fd00::/8' does not appear to be an IPv4 or IPv6 network); write it as 192.0.2.0/24 or "
        "192.0.2.7",
    ),
    Refused({"BAIKAL_TLS": "on"}, 'tls = "on": should be letsencrypt, files, selfsigned or off'),
    Refused(
        {"BAIKAL_TLS": "files", "BAIKAL_TLS_KEY": "/k"},
        'tls_certificate: is missing; tls = "files" needs both tls_certificate and tls_key',
    ),
    Refused(
        {"BAIKAL_TLS_KEY": "/k.pem"},
        'tls_key = "/k.pem": has no effect with tls = "selfsigned"; set tls = "files", or remove tls_key',
    ),
    Refused(
        {"BAIKAL_UPLOAD_LIMIT_MB": "100M"},
        'upload_limit_mb = "100M": should be a whole number from 1 to 2048 MiB',
    ),
    Refused(
        {"BAIKAL_HOSTNAMES": '["a.example.org"]'},
        'hostnames = "[\\"a.example.org\\"]": has "[\\"a.example.org\\"]", which is not a host name: letters, '
        "digits, hyphens and dots only, such as cal.example.org",
    ),
    Refused(
        {"BAIKAL_HOSTNAMES": "a.example.org;b.example.org"},
        'hostnames = "a.example.org;b.example.org": has "a.example.org;b.example.org", which is not a host '
        "name: letters, digits, hyphens and dots only, such as cal.example.org",
    ),
    Refused(
        {"BAIKAL_HOSTNAMES": "cal.example.org"},
        'hostnames[0] = "cal.example.org": is the same as hostname; list only additional names',
    ),
    Refused(
        {"BAIKAL_TLS": "letsencrypt"},
        'acme_email: is missing; tls = "letsencrypt" needs an e-mail address for messages from the CA',
    ),
    Refused(
        {"BAIKAL_ACME_EAB_HMAC_KEY": ""},
        "acme_eab_hmac_key: is empty or has control characters or several lines; check the value",
    ),
    Refused(
        {"BAIKAL_ACME_EAB_HMAC_KEY": f"{SECRET}/"},
        "acme_eab_hmac_key: is not base64url: letters, digits, - and _ only (instead of + and /); copy it as "
        "the CA shows it",
    ),
    Refused(
        {"BAIKAL_ACME_EAB_HMAC_KEY": SECRET, "BAIKAL_ACME_EAB_HMAC_KEY_FILE": "/not/there"},
        "acme_eab_hmac_key: both BAIKAL_ACME_EAB_HMAC_KEY and BAIKAL_ACME_EAB_HMAC_KEY_FILE are set; remove one",
    ),
    Refused(
        {"BAIKAL_ACME_DNS_PLUGIN": "rfc2136", "BAIKAL_ACME_DNS_CREDENTIALS_FILE": "/not/there"},
        "acme_dns_credentials: is read from the file /not/there, which cannot be read (No such file or directory)",
    ),
    Refused(
        {"BAIKAL_ACME_DNS_PROPAGATION_S": "60s"},
        'acme_dns_propagation_s = "60s": should be a whole number from 0 to 900 seconds',
    ),
    Refused({"BAIKAL_MAIL": "no"}, 'mail = "no": should be off, relay or postfix'),
    Refused(
        {"BAIKAL_MAIL": "postfix"},
        'mail = "postfix": is for machines only, and a container sends through a relay: set mail = "relay", '
        "and BAIKAL_RELAY_HOST to a Postfix in another container or on the host",
    ),
    Refused(
        {"BAIKAL_MAIL": "postfix", "BAIKAL_HOSTNAME": "calendar", "BAIKAL_RELAY_TLS": "none", "BAIKAL_RELAY_CA": "/ca"},
        'mail = "postfix": is for machines only, and a container sends through a relay: set mail = "relay", '
        "and BAIKAL_RELAY_HOST to a Postfix in another container or on the host",
    ),
    Refused(
        {"BAIKAL_MAIL": "relay"},
        'relay_host: is missing; mail = "relay" needs the name of the SMTP server that sends the mail',
    ),
    Refused(
        {"BAIKAL_MAIL": "relay", "BAIKAL_RELAY_HOST": "smtp:25"},
        'relay_host = "smtp:25": has a port; use only the name, such as "smtp.example.org", and set the port '
        "with relay_port",
    ),
    Refused(
        {"BAIKAL_RELAY_HOST": "smtp.example.org"},
        'relay_host = "smtp.example.org": has no effect with mail = "off"; set mail = "relay", or remove relay_host',
    ),
    Refused(
        {"BAIKAL_MAIL": "relay", "BAIKAL_RELAY_HOST": "smtp", "BAIKAL_RELAY_PORT": ""},
        'relay_port = "": should be a whole number from 0 to 65535',
    ),
    Refused(
        {"BAIKAL_RELAY_PASSWORD": ""},
        "relay_password: is empty or has control characters or several lines; check the value",
    ),
    Refused(
        {"BAIKAL_RELAY_PASSWORD": SECRET, "BAIKAL_RELAY_PASSWORD_FILE": "/not/there"},
        "relay_password: both BAIKAL_RELAY_PASSWORD and BAIKAL_RELAY_PASSWORD_FILE are set; remove one",
    ),
    Refused(
        {"BAIKAL_RELAY_PASSWORD": f"{SECRET}ä"},
        "relay_password: has characters outside printable ASCII, or a space at an end; choose another password "
        "at the relay",
    ),
    Refused(
        {"BAIKAL_RELAY_PASSWORD": SECRET},
        'relay_password: has no effect with mail = "off"; set mail = "relay", or remove relay_password',
    ),
    Refused(
        {"BAIKAL_DKIM_SELECTOR": "cal"},
        'dkim_selector = "cal": has no effect with mail = "off"; set mail = "postfix" (machines only), or '
        "remove dkim_selector",
    ),
    Refused({"BAIKAL_DATABASE": "mariadb"}, 'database = "mariadb": should be sqlite, mysql or pgsql'),
    Refused(
        {"BAIKAL_DATABASE": "pgsql"},
        'database_host: is missing; database = "pgsql" needs the name of the database server',
    ),
    Refused(
        {"BAIKAL_DATABASE": "mysql", "BAIKAL_DATABASE_HOST": "local", "BAIKAL_DATABASE_PORT": "1"},
        'database_host = "local": is for machines only, and a container has no database server; set '
        "BAIKAL_DATABASE_HOST to another container or host",
    ),
    Refused(
        {"BAIKAL_DATABASE": "mysql", "BAIKAL_DATABASE_HOST": "db"},
        "database_password: is missing; set it to the password of database_user",
    ),
    Refused(
        {"BAIKAL_DATABASE_PASSWORD": ""},
        "database_password: is empty or has control characters or several lines; check the value",
    ),
    Refused(
        {"BAIKAL_DATABASE_PASSWORD": SECRET, "BAIKAL_DATABASE_PASSWORD_FILE": "/not/there"},
        "database_password: both BAIKAL_DATABASE_PASSWORD and BAIKAL_DATABASE_PASSWORD_FILE are set; remove one",
    ),
    Refused(
        {"BAIKAL_RESTIC_REPOSITORY": f"s3:https://key:{SECRET}@s3.example.org/baikal"},
        "restic_repository: has a password in it, which isn't kept secret there; remove it, and put the whole "
        "address into restic_credentials, as a line RESTIC_REPOSITORY=… (with restic 0.16 or newer, "
        "RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD work too)",
    ),
    Refused(
        {"BAIKAL_RESTIC_REPOSITORY": "/srv/restic"},
        "restic_password: is missing; set the password that encrypts restic_repository, and keep a copy of it "
        "elsewhere",
    ),
    Refused({"BAIKAL_BACKUP_KEEP_DAILY": "all"}, 'backup_keep_daily = "all": should be a whole number from 0 to 1000'),
    Refused({"BAIKAL_USERS": "jo"}, "users: is not JSON; write a list of objects"),
    Refused({"BAIKAL_USERS": '{"name": "jo"}'}, 'users: should be a list of tables, such as [{"name": "jo", …}]'),
    Refused({"BAIKAL_USERS": ""}, "users: is not JSON; write a list of objects"),
    Refused(
        {"BAIKAL_USERS": f'[{{"name": "a b", "password": "{SECRET}"}}]'},
        'users[0].name = "a b": has a space, a colon or one of / \\ ? # %; no client can log in with such a '
        "name, so choose another",
    ),
    Refused(
        {"BAIKAL_USERS": '[{"name": "jo", "password": ""}]'},
        "users[0].password: is empty or has control characters or several lines; check the value",
    ),
)
FILE = (
    Refused({"hostnam": "x"}, "hostnam: no such setting; did you mean hostname?"),
    Refused({"admin_pasword": SECRET}, "admin_pasword: no such setting; did you mean admin_password?"),
    Refused(
        {"baikal_version": "0.11.1"},
        "baikal_version: is decided when the image is built; use an image with that release",
    ),
    Refused({"web": {"http_port": 80}}, "web: no such setting; docs/settings.md lists all settings"),
    Refused({"timezone": dt.date(2026, 1, 1)}, 'timezone = "2026-01-01": is not text, but date; put it in quotes'),
    Refused(
        {"admin_password": 12345},
        'admin_password: is a secret and must be a reference: {"env": "NAME"} or {"file": "path"}, so that it '
        "is never committed or shown",
    ),
    Refused(
        {"admin_password": ""},
        "admin_password: is empty or has control characters or several lines; check the value",
    ),
    Refused({"http_port": "80"}, 'http_port = "80": should be a whole number from 1 to 65535'),
    Refused(
        {"mail": "postfix"},
        'mail = "postfix": is for machines only, and a container sends through a relay: set mail = "relay", '
        "and BAIKAL_RELAY_HOST to a Postfix in another container or on the host",
    ),
    Refused(
        {"database": "pgsql", "database_host": "local"},
        'database_host = "local": is for machines only, and a container has no database server; set '
        "BAIKAL_DATABASE_HOST to another container or host",
    ),
    Refused(
        {"database_password": 12345},
        'database_password: is a secret and must be a reference: {"env": "NAME"} or {"file": "path"}, so that '
        "it is never committed or shown",
    ),
    Refused(
        {"restic_repository": f"rest:http://jo:{SECRET}@nas:8000/"},
        "restic_repository: has a password in it, which isn't kept secret there; remove it, and put the whole "
        "address into restic_credentials, as a line RESTIC_REPOSITORY=… (with restic 0.16 or newer, "
        "RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD work too)",
    ),
    Refused(
        {"relay_password": 12345},
        'relay_password: is a secret and must be a reference: {"env": "NAME"} or {"file": "path"}, so that it '
        "is never committed or shown",
    ),
)
