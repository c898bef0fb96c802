#!/bin/sh
# Restores the newest archive of backup.sh: without verification, trial run, or a copy of the old data.
set -eu

data=/var/lib/baikal
backups=/var/backups/baikal
php=$(systemctl list-units --plain --no-legend 'php*-fpm.service' | cut -d ' ' -f 1)

umask 077
work=$(mktemp -d "$backups/.new-XXXXXX")
trap 'rm -rf "$work"' EXIT
tar -xzf "$(find "$backups" -name 'baikal-*.tar.gz' | sort | tail -n 1)" -C "$work"
systemctl stop "$php"
rm -f "$data/Specific/db/db.sqlite-wal" "$data/Specific/db/db.sqlite-shm"
chown baikal:baikal "$work/db.sqlite" "$work/config/baikal.yaml"
mv "$work/db.sqlite" "$data/Specific/db/db.sqlite"
mv "$work/config/baikal.yaml" "$data/config/baikal.yaml"
cp -a "$work/tls/." "$data/tls/"
systemctl start "$php"
