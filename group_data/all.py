"""All settings with their defaults. The inventory (inventory.py) sets the values of a host.

docs/settings.md lists the same settings with their environment variables and allowed values.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # if pyinfra was called in another directory

from tasks.ssh import prompt

# --- Identity

# Host name that clients connect to, such as cal.example.org. Required, except for an image.
hostname = ""
# Additional host names of the server, such as ["dav.example.org"]. The certificate includes them.
hostnames = []
# Time zone of the server, as Area/City, such as Europe/Berlin.
timezone = "UTC"

# --- Baïkal

# Release of Baïkal to install.
baikal_version = "0.12.1"
# Your own copy of the release's zip: a path on this machine, or a web address. Empty: the official zip.
baikal_archive = ""
# SHA-256 of the zip. Required if baikal_archive is an address and the release is not one of the known ones.
baikal_sha256 = ""
# Where the zip is downloaded: here (by this machine, once for all hosts) or host (by each host itself).
baikal_download = "here"
# Password of the user `admin` on the /admin/ pages.
admin_password = {"env": "BAIKAL_ADMIN_PASSWORD"}
# HTTP authentication of clients. Some clients implement digest wrongly (DAVx⁵, Windows 10); use basic with TLS.
dav_auth = "basic"
# Serve calendars (CalDAV).
caldav = True
# Serve address books (CardDAV).
carddav = True
# Accounts with their calendars, address books and shares; see docs/users.md.
users = []

# --- Database

# Database for all data: sqlite (a file on the host), mysql (MariaDB or MySQL) or pgsql (PostgreSQL).
database = "sqlite"
# Host name of the database server; required with mysql and pgsql. local: this deploy installs the server on the same
# machine, without network access and password (machines only).
database_host = ""
# Port of the database server. 0: the default port, 3306 with mysql and 5432 with pgsql.
database_port = 0
# Name of the database on the server.
database_name = "baikal"
# Account on the database server. It must own the tables of Baïkal and needs no other privilege.
database_user = "baikal"
# Password of database_user.
database_password = None
# Connection to the database server: verify (TLS, and the certificate is checked) or off (not encrypted).
database_tls = "verify"
# Path on the host of the CA certificate (PEM) that signed the database server's certificate. Empty: the system's CAs.
database_ca = ""

# --- Web

# Port for HTTP.
http_port = 80
# Port for HTTPS.
https_port = 443
# URL path prefix of the server, such as /calendars. Empty: the root.
base_path = ""
# Networks of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto headers are trusted, such as ["10.0.0.0/8"].
trusted_proxies = []
# Networks that may open /admin/, such as ["192.0.2.0/24"]. Empty: all networks.
admin_allow = []
# Largest allowed request, in MiB. Address books with photos need large requests.
upload_limit_mb = 100
# Longest time for one request, in seconds.
request_timeout_s = 300

# --- TLS

# Where the certificate comes from: letsencrypt (an ACME server), files (your own), selfsigned, or off (plain HTTP, for
# a reverse proxy that terminates TLS).
tls = "selfsigned"
# With tls = "files": path on the host of the certificate and its chain (PEM).
tls_certificate = ""
# With tls = "files": path on the host of the private key (PEM).
tls_key = ""
# E-mail address for messages from the CA, such as "admin@example.org". Required with tls = "letsencrypt".
acme_email = ""
# ACME server: letsencrypt, staging (Let's Encrypt's test server, which no client trusts), or the https address of an
# ACME directory.
acme_server = "letsencrypt"
# Path on the host of the CA certificate (PEM) that signed the certificate of acme_server itself. Empty: the system's
# CAs.
acme_ca = ""
# Type of the certificate's key. rsa is for old clients.
acme_key_type = "ecdsa"
# Key ID of the external account binding, if the CA requires one.
acme_eab_key_id = ""
# HMAC key of the external account binding, in base64url as the CA shows it.
acme_eab_hmac_key = None
# Certbot's DNS plugin, such as rfc2136, if the CA can't reach port 80. Empty: the HTTP-01 challenge on port 80.
acme_dns_plugin = ""
# Content of the DNS plugin's credentials file.
acme_dns_credentials = None
# Time that the DNS plugin waits for its record to be visible, in seconds. 0: the plugin's own default.
acme_dns_propagation_s = 0
# Instead of a DNS plugin: path on the host of a program that is called with add and with remove.
acme_dns_hook = ""

# --- Mail

# How invitations are sent: off (not at all; Baïkal reports this to clients), relay (through the SMTP server relay_host)
# or postfix (by a mail server that is installed on this machine; machines only).
mail = "off"
# Sender address of invitations. Replies go to the organizer (Reply-To); messages that can't be delivered return to this
# address. Empty: noreply@ and the host name.
mail_from = ""
# Host name of the SMTP server that sends all mail. Required with mail = "relay". With mail = "postfix", empty means
# that Postfix delivers directly.
relay_host = ""
# Port of the relay. 0: the default port of relay_tls, 587 with starttls, 465 with tls, 25 with none.
relay_port = 0
# Encryption of the connection to the relay: starttls, tls (from the first byte) or none.
relay_tls = "starttls"
# Login name at the relay. Empty: no login.
relay_user = ""
# Password of relay_user.
relay_password = None
# Path on the host of the CA certificate (PEM) that signed the relay's certificate. Empty: the system's CAs.
relay_ca = ""
# With mail = "postfix": DKIM selector, the label before ._domainkey in the DNS. Empty: mail is not signed.
dkim_selector = "baikal"

# --- Backup

# Make archives on a schedule. `baikalctl backup` always works by hand.
backup = True
# When archives are made: a time of day in the time zone of `timezone`, such as "03:15", or "hourly".
backup_schedule = "03:15"
# Number of days for which the last archive of the day is kept.
backup_keep_daily = 7
# Number of weeks for which the last archive of the week is kept.
backup_keep_weekly = 4
# Number of months for which the last archive of the month is kept.
backup_keep_monthly = 12
# Restic repository that also receives each archive, such as sftp:user@host:/srv/baikal. Empty: none.
restic_repository = ""
# Password that encrypts the restic repository. Keep a copy elsewhere: without it the repository can't be read.
restic_password = None
# Environment variables for restic, one NAME=value per line, such as AWS_ACCESS_KEY_ID=….
restic_credentials = None

# --- Fleet

# Number of hosts to deploy to at the same time, such as [1, 10, "25%"]; the last size is repeated. Empty: all hosts at
# once.
batches = []

# --- pyinfra itself

# SSH without delays, and with a check that the host still answers: a run without changes takes a third of the time.
ssh_paramiko_connect_kwargs = {"transport_factory": prompt}
# Longest time for one command on a host, in seconds. A host that hangs fails, and the other hosts continue.
_timeout = 1800
