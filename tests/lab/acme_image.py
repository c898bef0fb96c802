"""Image and configuration of the ACME server for tests: pebble, nginx in front of it, bind, and a CA for its own HTTPS."""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, Final

from tests.lab.container import LABELS
from tests.lab.images import INSTALL, base_image, built_image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.lab.engine import Engine


BASE: Final = "debian:13"
PACKAGES: Final = ("bind9", "bind9-dnsutils", "curl", "nginx-light", "openssl", "pebble")
ALIAS: Final = "acme.lab.test"
ZONE: Final = "lab.test"
"""The only zone that bind serves."""

# An HTTPS certificate that also the strictest clients accept, and its CA; both are printed.
AUTHORITY: Final = f"""\
set -eu
cd /tmp
new='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30'
openssl req -x509 $new -keyout ca.key -out ca.crt -subj '/CN=The CA of the ACME server itself' \\
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
openssl req -x509 $new -keyout own.key -out own.crt -subj /CN={ALIAS} -CA ca.crt -CAkey ca.key \\
    -addext basicConstraints=critical,CA:FALSE -addext keyUsage=critical,digitalSignature \\
    -addext extendedKeyUsage=serverAuth -addext subjectAltName=DNS:{ALIAS},DNS:localhost,IP:127.0.0.1
cat ca.crt own.crt own.key
"""

# If pebble is killed by SIGKILL, it is started again; if it ends in another way, the container ends.
MAIN: Final = """\
set -eu
cd /acme
[ ! -f named.conf ] || named -c /acme/named.conf
pebble-challtestsrv -defaultIPv4 '' -defaultIPv6 '' -http01 '' -https01 '' -tlsalpn01 '' -dns01 :8053 >names.log 2>&1 &
nginx -p /acme -c nginx.conf
while :; do
    pebble -config pebble.json -dnsserver "$DNS_SERVER" >pebble.log 2>&1 &
    echo $! >pebble.pid
    wait $! || [ $? -eq 137 ]
done
"""

# Pebble builds its URLs from the Host header of the request. An `if` in place of the include would need no restart,
# but the time to wait is in a header, which can't have a variable from a file.
FRONT: Final = """\
user root;
pid front.pid;
error_log front.log;
events {}
http {
    access_log front-access.log;
    server {
        listen 14000 ssl;
        ssl_certificate own.crt;
        ssl_certificate_key own.key;
        include limit*.conf;
        location / {
            proxy_pass https://127.0.0.1:14001;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_next_upstream off;
        }
    }
}
"""
LIMIT: Final = """\
location = /order-plz {{
    error_page 429 /limited.json;
    return 429;
}}
location = /limited.json {{
    internal;
    root /acme;
    types {{}}
    default_type application/problem+json;
    add_header Retry-After {} always;
}}
"""
FRONT_STOP: Final = """\
[ -f front.pid ] || exit 0
pid=$(cat front.pid)
kill "$pid"
while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
rm -f front.pid
"""
FRONT_START: Final = """\
[ ! -f front.pid ] || exit 0
nginx -p /acme -c nginx.conf
while [ ! -s front.pid ]; do sleep 0.02; done
"""

NAMED: Final = """\
key "{name}" {{ algorithm {algorithm}; secret "{secret}"; }};
options {{
    directory "/acme";
    pid-file "/acme/named.pid";
    session-keyfile "/acme/session.key";
    listen-on port 53 {{ any; }};
    listen-on-v6 {{ none; }};
    recursion no;
    dnssec-validation no;
}};
controls {{ }};
zone "{zone}" {{ type master; file "/acme/zone"; allow-update {{ key "{name}"; }}; }};
"""
ZONE_FILE: Final = f"""\
$TTL 1
@ SOA ns.{ZONE}. hostmaster.{ZONE}. 1 60 60 60 1
@ NS ns.{ZONE}.
ns A 127.0.0.1
"""


def acme_image(engine: Engine) -> str:
    """Return the tag of the image of ACME servers; it is built if it doesn't exist."""
    slug = f"acme:{BASE.replace(':', '-')}"
    return built_image(engine, base_image(engine, BASE).tag, slug, INSTALL, PACKAGES)


@functools.cache
def authority(engine: Engine) -> tuple[str, str, str]:
    """Return, in PEM, a CA, and the server's certificate and key that it has signed."""
    output = engine.docker("run", "--rm", "-i", *LABELS, acme_image(engine), "sh", "-s", input=AUTHORITY)
    ca, certificate, key = re.findall(r"-----BEGIN [^-]+-----.*?-----END [^-]+-----\n", output, re.DOTALL)
    return ca, certificate, key


def server_files(validity_s: int, eab_keys: Mapping[str, str]) -> dict[str, str]:
    """Return the configuration of pebble and nginx; ``eab_keys`` are keys for external account binding, if required."""
    pebble = {
        "listenAddress": "127.0.0.1:14001",
        "managementListenAddress": "127.0.0.1:15000",
        "certificate": "/acme/own.crt",
        "privateKey": "/acme/own.key",
        "httpPort": 80,
        "tlsPort": 443,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": bool(eab_keys),
        "externalAccountMACKeys": eab_keys,
        "certificateValidityPeriod": validity_s,
    }
    return {"main": MAIN, "nginx.conf": FRONT, "pebble.json": json.dumps({"pebble": pebble})}


def limit_files(detail: str, retry_after_s: int) -> dict[str, str]:
    """Return the files that make nginx refuse new orders, as Let's Encrypt does above its rate limit (RFC 8555, 6.6)."""
    problem = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": detail, "status": 429}
    return {"limit.conf": LIMIT.format(retry_after_s), "limited.json": json.dumps(problem)}


def bind_files(name: str, algorithm: str, secret: str) -> dict[str, str]:
    """Return the configuration of a name server with one zone, which this key may change."""
    return {"named.conf": NAMED.format(zone=ZONE, name=name, algorithm=algorithm, secret=secret), "zone": ZONE_FILE}
