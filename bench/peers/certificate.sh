#!/bin/sh
# The self-signed certificate for nginx, renewed a month before it expires. Usage: baikal-certificate HOSTNAME
set -eu

hostname=$1
certificate=/var/lib/baikal/tls/selfsigned-$hostname

if openssl x509 -checkend 2592000 -noout -in "$certificate.pem" >/dev/null 2>&1; then
    exit 0
fi
umask 077
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 397 \
    -keyout "$certificate.key.new" -out "$certificate.pem.new" \
    -subj "/CN=$hostname" -addext "subjectAltName=DNS:$hostname" \
    -addext "basicConstraints=critical,CA:FALSE" -addext "extendedKeyUsage=serverAuth"
cat "$certificate.key.new" >>"$certificate.pem.new"
rm "$certificate.key.new"
# An additional file that the site includes: empty, because browsers don't trust the certificate.
: >"$certificate.conf"
mv "$certificate.pem.new" "$certificate.pem"
systemctl try-reload-or-restart nginx
