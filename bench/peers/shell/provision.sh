#!/bin/sh
# Baïkal on a new Debian, as in a HOWTO: run once, as root. The files to install are next to this script.
# Usage: provision.sh BAIKAL_VERSION PHP_VERSION HOSTNAME
set -eu

version=$1
php=$2
hostname=$3
here=$(dirname "$(readlink -f "$0")")
data=/var/lib/baikal

export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q install --yes --no-install-recommends \
    ca-certificates nginx openssl php-fpm php-mbstring php-sqlite3 php-xml python3 python3-jinja2 python3-yaml \
    tzdata

id baikal >/dev/null 2>&1 ||
    useradd --system --user-group --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin baikal

install -d -m 0755 /opt/baikal "$data" "$data/challenges" "$data/mail" /usr/local/lib/baikalctl
install -d -m 0711 "$data/maintenance"
install -d -m 0700 "$data/tls" "$data/acme" "$data/acme/issued"
install -d -m 0700 -o baikal -g baikal "$data/config" "$data/Specific" "$data/Specific/db" "$data/sessions" \
    "$data/mail/kept"

if [ ! -d "/opt/baikal/$version" ]; then
    rm -rf /opt/baikal/baikal
    python3 -m zipfile -e "$here/baikal.zip" /opt/baikal
    mv /opt/baikal/baikal "/opt/baikal/$version"
fi
ln -sfn "$version" /opt/baikal/current

install -m 0644 "$here/prepend.php" "$here/away.php" "$here/sessions.php" /usr/local/lib/baikalctl
install -m 0644 "$here/pool.conf" "/etc/php/$php/fpm/pool.d/baikal.conf"
install -m 0644 "$here/baikal.ini" "/etc/php/$php/fpm/conf.d/99-baikal.ini"
install -d -m 0755 "/etc/systemd/system/php$php-fpm.service.d"
install -m 0644 "$here/php-fpm.service.conf" "/etc/systemd/system/php$php-fpm.service.d/baikal.conf"
install -m 0644 "$here/site.conf" /etc/nginx/conf.d/baikal.conf
rm -f /etc/nginx/sites-enabled/default

install -m 0755 "$here/certificate.sh" /usr/local/sbin/baikal-certificate
install -m 0644 "$here/baikal-certificate.service" "$here/baikal-certificate.timer" /etc/systemd/system
/usr/local/sbin/baikal-certificate "$hostname"
install -m 0755 "$here/backup.sh" /usr/local/sbin/baikal-backup
install -m 0644 "$here/baikal-backup.service" "$here/baikal-backup.timer" /etc/systemd/system

# Baïkal rewrites its configuration and fills its database, so both are created once.
if [ ! -e "$data/config/baikal.yaml" ]; then
    install -m 0600 -o baikal -g baikal "$here/baikal.yaml" "$data/config/baikal.yaml"
fi
if [ ! -e "$data/Specific/db/db.sqlite" ]; then
    install -m 0600 -o baikal -g baikal /dev/null "$data/Specific/db/db.sqlite"
    runuser -u baikal -- python3 -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.stdin.read())' \
        "$data/Specific/db/db.sqlite" <"$here/database.sql"
fi
# Closes the web installer.
install -m 0600 -o baikal -g baikal /dev/null "$data/Specific/INSTALL_DISABLED"

"php-fpm$php" -t
nginx -t
systemctl daemon-reload
systemctl enable "php$php-fpm" nginx baikal-certificate.timer baikal-backup.timer
systemctl restart "php$php-fpm" nginx baikal-certificate.timer baikal-backup.timer

status=$(curl --silent --insecure --retry 5 --retry-connrefused --output /dev/null --write-out '%{http_code}' \
    https://127.0.0.1/dav.php/)
if [ "$status" != 401 ]; then
    echo "Baïkal answers $status to anonymous requests, not 401; the reason is in /var/log/nginx/error.log" >&2
    exit 1
fi
