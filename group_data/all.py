"""Every setting, its default and what it means; inventory.py says what differs on a host.

The same list with environment variables and what each takes: docs/settings.md.
"""

from tasks.ssh import prompt

# --- Identity

# The name that clients type, such as cal.example.org. Every machine needs one; an image doesn't.
hostname = ""
# Further names that clients may type; the certificate is for all of them.
hostnames = []
# Time zone of the server, as Area/City.
timezone = "UTC"

# --- Baïkal

# Which release of Baïkal to run.
baikal_version = "0.12.1"
# A release's zip of your own: a path on this machine or an address. Empty: the official one.
baikal_archive = ""
# Checksum of the zip, if it isn't the official one. Needed for an address with an unknown release.
baikal_sha256 = ""
# Who downloads the release: this machine, once for all hosts, or every host by itself.
baikal_download = "here"
# Password of `admin` on the /admin/ pages.
admin_password = {"env": "BAIKAL_ADMIN_PASSWORD"}
# How calendar clients log in. Several get digest wrong (DAVx⁵, Windows 10); keep basic with TLS.
dav_auth = "basic"
# Serve calendars.
caldav = True
# Serve address books.
carddav = True
# Accounts with their calendars, address books and shares; see docs/users.md.
users = []

# --- Database

# What keeps the data: sqlite (a file on the host), mysql (MariaDB or MySQL), pgsql (PostgreSQL).
database = "sqlite"
# The database server; mysql and pgsql need one. local: installed on this machine by the same deploy, without network and
# password (machines only).
database_host = ""
# Port of the database server; 0 for what goes with it: 3306 with mysql, 5432 with pgsql.
database_port = 0
# Name of the database there.
database_name = "baikal"
# Account that the database is used as; it needs to own its tables, and nothing else.
database_user = "baikal"
# Password of database_user.
database_password = None
# Whether the server must prove who it is, by TLS, or is spoken to in the clear.
database_tls = "verify"
# Path on the host of the CA that the server's certificate is checked with, PEM. Empty: the system's.
database_ca = ""

# --- Web

# Port of plain HTTP.
http_port = 80
# Port of HTTPS.
https_port = 443
# Path that the server lives under, such as /calendars; empty for the root.
base_path = ""
# Networks of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.
trusted_proxies = []
# Networks that may reach /admin/; empty for all.
admin_allow = []
# Largest request, in MiB; address books with photos are large.
upload_limit_mb = 100
# Longest that one request may take, in seconds.
request_timeout_s = 300

# --- TLS

# Where the certificate comes from; off serves plain HTTP, for a proxy that ends TLS in front.
tls = "selfsigned"
# With tls = "files": path on the host of the certificate and its chain, PEM.
tls_certificate = ""
# With tls = "files": path on the host of the private key, PEM.
tls_key = ""
# With tls = "letsencrypt": the address where the CA may write to you.
acme_email = ""
# The CA: letsencrypt, staging (its rehearsal, which no client trusts), or an ACME directory's address.
acme_server = "letsencrypt"
# Path on the host of the CA that acme_server's own HTTPS is checked with, PEM. Empty: the system's.
acme_ca = ""
# Kind of the certificate's key.
acme_key_type = "ecdsa"
# Id of the external account's key, for a CA that wants one.
acme_eab_key_id = ""
# The external account's key, in base64url as the CA shows it.
acme_eab_hmac_key = None
# Certbot's DNS plugin, such as rfc2136, where port 80 isn't reached from outside. Empty: HTTP-01.
acme_dns_plugin = ""
# Contents of the plugin's credentials file.
acme_dns_credentials = None
# How long the plugin waits for its record to be seen, in seconds; 0 for its own time.
acme_dns_propagation_s = 0
# In place of a plugin: path on the host of a program that is called with add and with remove.
acme_dns_hook = ""

# --- Mail

# How invitations leave: off (none do, and clients are told so), relay (through relay_host, without a mail server here),
# postfix (a mail server of this machine's own; machines only).
mail = "off"
# The address that invitations come from, the organiser's being their Reply-To; it also gets what can't be delivered.
# Empty: noreply@ the host name.
mail_from = ""
# The SMTP server that takes all mail. mail = "relay" needs one; without, Postfix delivers by itself.
relay_host = ""
# Port of the relay; 0 for what goes with relay_tls: 587 with starttls, 465 with tls, 25 with none.
relay_port = 0
# How the relay is spoken to: starttls, tls (from the first byte on), or none (in the clear).
relay_tls = "starttls"
# Name to log in to the relay with; empty where it asks for none.
relay_user = ""
# Password of relay_user.
relay_password = None
# Path on the host of the CA that the relay's certificate is checked with, PEM. Empty: the system's.
relay_ca = ""
# With mail = "postfix": name of the DKIM key in the DNS, before ._domainkey. Empty: nothing is signed.
dkim_selector = "baikal"

# --- Backup

# Whether archives are made by the clock; by hand they always can be.
backup = True
# When: a time of day in the server's time zone, or hourly.
backup_schedule = "03:15"
# Of how many days the last archive is kept.
backup_keep_daily = 7
# Of how many weeks the last archive is kept.
backup_keep_weekly = 4
# Of how many months the last archive is kept.
backup_keep_monthly = 12
# Where restic keeps the archives as well, such as sftp:user@host:/srv/baikal. Empty: nowhere.
restic_repository = ""
# What the repository is encrypted with; without it, nobody reads it again.
restic_password = None
# What restic is told besides, a line NAME=value each, such as AWS_ACCESS_KEY_ID=….
restic_credentials = None

# --- Fleet

# How many hosts are deployed to at a time, such as [1, 10, "25%"]; the last size is repeated. Empty: all at once.
batches = []

# --- pyinfra itself

# SSH that waits for nothing, and notices when a host is gone: a run with nothing to do takes a third of the time.
ssh_paramiko_connect_kwargs = {"transport_factory": prompt}
# How long one command may take on a host, in seconds: a host that hangs fails by itself and doesn't hold up the others.
_timeout = 1800
