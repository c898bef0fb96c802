#!/bin/sh
# An archive of database, configuration and certificates; the last seven are kept.
set -eu

data=/var/lib/baikal
backups=/var/backups/baikal

umask 077
mkdir -p "$backups"
work=$(mktemp -d "$backups/.new-XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).backup(sqlite3.connect(sys.argv[2]))' \
    "$data/Specific/db/db.sqlite" "$work/db.sqlite"
tar -czf "$work/archive" -C "$work" db.sqlite -C "$data" config tls
mv "$work/archive" "$backups/baikal-$(date -u +%Y%m%dT%H%M%SZ).tar.gz"
find "$backups" -name 'baikal-*.tar.gz' | sort | head -n -7 | xargs -r rm --
