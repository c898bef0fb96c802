"""Tables of TLS settings: accepted and refused values, each refused one with the line that operators see."""

from __future__ import annotations

from tests.unit.settings.cases.common import SECRET, Refused, unchanged

ACCEPTED = {
    "tls_key": unchanged("/etc/ssl/cal.pem", "/srv/a_b-c+d@e/key.pem"),
    "acme_email": unchanged(
        *("jo@example.org", "Jo.Do+ca-1@mail.example.org", "_x@xn--mller-kva.de", "admin@localhost"),
        "x" * 68 + "@example.org",
    ),
    "acme_server": unchanged(
        *("letsencrypt", "staging", "https://ca.example.org", "https://ca.lan:14000/dir", "https://192.0.2.7/acme/a_b"),
        *("https://[2001:db8::1]:9000/acme/acme/directory", "https://ca.example.org/a?b=c&d=%20"),
    ),
    "acme_eab_hmac_key": unchanged("aHVudGVyMg", "aHVudGVyMg==", "-_8", "AAAA"),
    "acme_eab_key_id": unchanged("V2VudGVyMg", "kid-1_~.:/+=@", "12345"),
    "acme_dns_plugin": unchanged("rfc2136", "cloudflare", "route53"),
}
"""Texts by setting, and their normalised form."""
REFUSED_TEXTS = (
    (
        "tls_key",
        "should be an absolute path on the host",
        *(
            "cal.pem",
            "/etc/ssl/my cal.pem",
            "/etc/../key",
            "/..",
            "/etc/..",
            "/etc/ssl/a;b",
            '/etc/"x"',
            "/etc/$x",
            "/",
        ),
        "~/key",
    ),
    (
        "acme_email",
        'write only the address, such as "jo@example.org"',
        *("jo", "@example.org", "jo@", "a@b@c", "jo@example.org,a@b", "jö@example.org", "-jo@a"),
        "x" * 69 + "@example.org",
    ),
    (
        "acme_server",
        "letsencrypt, staging, or the address of a directory",
        *("LetsEncrypt", "ca.example.org", "ftp://ca.example.org/", "https://", "https:///directory", "//ca/"),
        *("https://jo:secret@ca.example.org/", "https://ca.example.org/ x", "https://ca.example.org/#x", "HTTPS://ca"),
        *("https://ca.example.org:port/", "https://käl.example/", 'https://ca"/', "https://ca:0/", "https://ca:65536/"),
    ),
    ("acme_server", "use the https:// address", "http://ca.example.org/directory"),
    (
        "acme_eab_hmac_key",
        "is not base64url",
        *("hunter2+", "hunter2/", "hunter2 hunter2", "hunte", "====", "hunter=2", "hünter2"),
    ),
)
"""A setting, words of the error, and the texts that it refuses."""
REFUSED = (
    Refused({"tls": "acme"}, 'tls = "acme": should be letsencrypt, files, selfsigned or off'),
    Refused({"tls": False}, 'tls = false: should be letsencrypt, files, selfsigned or off (in quotes: "off")'),
    Refused(
        {"tls": "files", "tls_certificate": "/c.pem"},
        'tls_key: is missing; tls = "files" needs both tls_certificate and tls_key',
    ),
    Refused(
        {"tls": "files", "tls_key": "/k.pem"},
        'tls_certificate: is missing; tls = "files" needs both tls_certificate and tls_key',
    ),
    Refused(
        {"tls_key": "/k.pem"},
        'tls_key = "/k.pem": has no effect with tls = "selfsigned"; set tls = "files", or remove tls_key',
    ),
    Refused(
        {"tls": "off", "tls_certificate": "/c.pem"},
        'tls_certificate = "/c.pem": has no effect with tls = "off"; set tls = "files", or remove tls_certificate',
    ),
    Refused(
        {"tls": "files", "tls_certificate": "/c.pem", "tls_key": "k.pem"},
        'tls_key = "k.pem": should be an absolute path on the host, of letters, digits and . _ - + @ only',
    ),
    Refused(
        {"tls": "file", "tls_certificate": "/c.pem", "tls_key": "/k.pem"},
        'tls = "file": should be letsencrypt, files, selfsigned or off',
    ),
    Refused({"http_port": "8080", "https_port": 80}, 'http_port = "8080": should be a whole number from 1 to 65535'),
    Refused(
        {"baikal_version": "0.13.7", "baikal_archive": "ftp://b.zip"},
        'baikal_archive = "ftp://b.zip": has a scheme that is not http or https; use a web address or the path '
        "of a local zip",
    ),
    Refused(
        {"tls": "letsencrypt"},
        'acme_email: is missing; tls = "letsencrypt" needs an e-mail address for messages from the CA',
    ),
    Refused(
        {"acme_email": "Jo <jo@example.org>"},
        'acme_email = "Jo <jo@example.org>": is not an e-mail address of plain letters, digits and . _ + - '
        'only; write only the address, such as "jo@example.org"',
    ),
    Refused(
        {"acme_email": "jo@example.org\nserver = x"},
        'acme_email = "jo@example.org\\nserver = x": is empty or has control characters; it should be an '
        "e-mail address",
    ),
    Refused(
        {"acme_server": "zerossl"},
        'acme_server = "zerossl": is not an ACME server: letsencrypt, staging, or the address of a directory, '
        "such as https://ca.lan/acme",
    ),
    Refused({"acme_server": ""}, 'acme_server = "": is empty or has control characters; it should be an ACME server'),
    Refused(
        {"acme_server": "http://ca.example.org/"},
        'acme_server = "http://ca.example.org/": is not encrypted, which ACME forbids; use the https:// address',
    ),
    Refused(
        {"acme_ca": "ca.pem"},
        'acme_ca = "ca.pem": should be an absolute path on the host, of letters, digits and . _ - + @ only',
    ),
    Refused({"acme_key_type": "ed25519"}, 'acme_key_type = "ed25519": should be ecdsa or rsa'),
    Refused(
        {"acme_eab_key_id": "a b"},
        'acme_eab_key_id = "a b": is not the id of a key: letters, digits and . _ ~ : / + = @ - only; copy it '
        "as the CA shows it",
    ),
    Refused(
        {"acme_eab_hmac_key": SECRET},
        'acme_eab_hmac_key: is a secret and must be a reference: {"env": "NAME"} or {"file": "path"}, so that '
        "it is never committed or shown",
    ),
    Refused(
        {"acme_eab_hmac_key": {"env": "NOT_SET_ANYWHERE"}},
        "acme_eab_hmac_key: is read from the environment variable NOT_SET_ANYWHERE, which is not set; export "
        "it and run again",
    ),
    Refused(
        {"acme_eab_hmac_key": {"env": "LINES"}},
        "acme_eab_hmac_key: is empty or has control characters or several lines; check the environment variable LINES",
    ),
    Refused(
        {"acme_eab_hmac_key": {"env": "BASE64"}, "acme_eab_key_id": "x"},
        "acme_eab_hmac_key: is not base64url: letters, digits, - and _ only (instead of + and /); copy it as "
        "the CA shows it",
    ),
    Refused(
        {"acme_eab_hmac_key": {"env": "GIVEN"}},
        "acme_eab_key_id: is missing; set it to the key ID that the CA issued together with acme_eab_hmac_key",
    ),
    Refused(
        {"acme_eab_key_id": "kid"},
        "acme_eab_hmac_key: is missing; set it to the key that the CA issued together with acme_eab_key_id",
    ),
    Refused(
        {"acme_dns_plugin": "dns-cloudflare"},
        'acme_dns_plugin = "dns-cloudflare": is not a plugin of certbot; set the name that follows "dns-", '
        "such as rfc2136 or cloudflare",
    ),
    Refused(
        {"acme_dns_plugin": "rfc2136", "acme_dns_credentials": SECRET},
        'acme_dns_credentials: is a secret and must be a reference: {"env": "NAME"} or {"file": "path"}, so '
        "that it is never committed or shown",
    ),
    Refused(
        {"acme_dns_plugin": "rfc2136", "acme_dns_credentials": {"env": "EMPTY"}},
        "acme_dns_credentials: is empty or has control characters; check the environment variable EMPTY",
    ),
    Refused(
        {"acme_dns_credentials": {"env": "LINES"}},
        "acme_dns_credentials: has no effect without acme_dns_plugin; set acme_dns_plugin, such as to rfc2136, "
        "or remove acme_dns_credentials",
    ),
    Refused(
        {"acme_dns_propagation_s": 60},
        "acme_dns_propagation_s = 60: has no effect without acme_dns_plugin; set acme_dns_plugin, such as to "
        "rfc2136, or remove acme_dns_propagation_s",
    ),
    Refused(
        {"acme_dns_credentials": {"env": "LINES"}, "acme_dns_hook": "/h"},
        "acme_dns_credentials: has no effect without acme_dns_plugin; set acme_dns_plugin, such as to rfc2136, "
        "or remove acme_dns_credentials",
    ),
    Refused(
        {"acme_dns_plugin": "rfc2136", "acme_dns_propagation_s": 901},
        "acme_dns_propagation_s = 901: should be a whole number from 0 to 900 seconds",
    ),
    Refused(
        {"acme_dns_plugin": "route53", "acme_dns_credentials": {"env": "LINES"}},
        "acme_dns_credentials: is not used by route53; configure the keys as AWS documents it (a role, or "
        "/root/.aws/credentials)",
    ),
    Refused(
        {"acme_dns_plugin": "rfc2136", "acme_dns_hook": "/usr/local/bin/dns"},
        'acme_dns_hook = "/usr/local/bin/dns": replaces a plugin, but acme_dns_plugin is set too; remove one '
        "of the two",
    ),
    Refused(
        {"acme_dns_hook": "/bin/dns --zone x"},
        'acme_dns_hook = "/bin/dns --zone x": should be an absolute path on the host, of letters, digits and . '
        "_ - + @ only",
    ),
    Refused(
        {"tls": "letsencrypt", "acme_email": "jo@example.org", "tls_key": "/k.pem"},
        'tls_key = "/k.pem": has no effect with tls = "letsencrypt"; set tls = "files", or remove tls_key',
    ),
    Refused(
        {"tls": "letsencript", "hostname": "192.0.2.7"},
        'tls = "letsencript": should be letsencrypt, files, selfsigned or off',
    ),
    Refused(
        {"acme_dns_plugin": "RFC2136", "acme_dns_credentials": {"env": "LINES"}, "acme_dns_propagation_s": 5},
        'acme_dns_plugin = "RFC2136": is not a plugin of certbot; set the name that follows "dns-", such as '
        "rfc2136 or cloudflare",
    ),
    Refused(
        {"tls": "letsencrypt", "acme_email": "jo"},
        'acme_email = "jo": is not an e-mail address of plain letters, digits and . _ + - only; write only the '
        'address, such as "jo@example.org"',
    ),
    Refused(
        {"tls": "letsencrypt", "acme_email": "jo@example.org", "acme_server": "ca.lan", "hostname": "cal.lan"},
        'acme_server = "ca.lan": is not an ACME server: letsencrypt, staging, or the address of a directory, '
        "such as https://ca.lan/acme",
    ),
)
