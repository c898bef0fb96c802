"""Tables of mail settings: accepted and refused values, each refused one with the line that operators see."""

from __future__ import annotations

from tests.unit.settings.cases.common import RELAYED, SECRET, Refused, unchanged

LONGEST_LABEL = "a" * 63
PRINTABLE = "".join(map(chr, range(33, 127)))
ACCEPTED = {
    "mail_from": unchanged("cal@example.org", "No-Reply+1@Cal.Example.ORG", "j.d@7.xn--mller-kva.de"),
    "relay_host": {"SMTP.Example.org.": "smtp.example.org", **unchanged("postfix", "192.0.2.7")},
    "relay_user": unchanged("jo", "jo@example.org", "AKIA0=+/", "jo#\"'\\$(x)`{},;!~"),
    "relay_password": unchanged("x", PRINTABLE, f"{PRINTABLE} {PRINTABLE}"),
    "dkim_selector": unchanged("baikal", "s1-2026", "7", LONGEST_LABEL),
}
"""Texts by setting, and their normalised form."""
REFUSED_TEXTS = (
    (
        "mail_from",
        'no full domain, or a dot too many; write it as "noreply@example.org"',
        *("root@localhost", "jo@192.0.2.7", "jo@example..org", "jo@example.org.", "jo@a.-x.org", "jo@a.b-"),
        *(f"jo@{LONGEST_LABEL}a.org", "jo.@example.org", "j..o@example.org"),
    ),
    (
        "relay_host",
        "and set the port with relay_port",
        *("smtp.example.org:587", "[smtp.example.org]:587", "2001:db8::1", ":25"),
    ),
    (
        "relay_user",
        "is not a login name: ASCII without spaces and colons only",
        *("jo doe", " jo", "jo ", "jo:x", "jö", "jo\x7f", "jo\x85", "jo\xa0"),
    ),
    ("relay_user", "is empty or has control characters", "jo\n"),
    (
        "relay_password",
        "choose another password at the relay",
        *("hünter2", "hunter2\x7f", "hun\x85ter2", "hunter2 ", " hunter2", " "),
    ),
    (
        "dkim_selector",
        "lower-case letters, digits and inner hyphens only, such as baikal",
        *("Baikal", "a.b", "a_b", "-a", "a-", "ä", f"{LONGEST_LABEL}a", "a b"),
    ),
)
"""A setting, words of the error, and the texts that it refuses."""
REFUSED = (
    Refused({"mail": "sendmail"}, 'mail = "sendmail": should be off, relay or postfix'),
    Refused({"mail": False}, 'mail = false: should be off, relay or postfix (in quotes: "off")'),
    Refused(
        {"mail": "postfix", "mail_from": "Baïkal <cal@example.org>"},
        'mail_from = "Baïkal <cal@example.org>": is not an e-mail address of plain letters, digits and . _ + - '
        'only; write only the address, such as "jo@example.org"',
    ),
    Refused(
        {"mail": "postfix", "mail_from": "root@localhost"},
        'mail_from = "root@localhost": has no full domain, or a dot too many; write it as "noreply@example.org"',
    ),
    Refused(
        {"mail": "postfix", "mail_from": "jo@example.org\nx"},
        'mail_from = "jo@example.org\\nx": is empty or has control characters; it should be an e-mail address',
    ),
    Refused(
        {"mail_from": "cal@example.org"},
        'mail_from = "cal@example.org": has no effect with mail = "off"; set mail = "relay", or remove mail_from',
    ),
    Refused(
        RELAYED | {"hostname": "calendar"},
        "mail_from: is missing; hostname is not a full domain, so set a sender address that has a full domain",
    ),
    Refused(
        {"mail": "postfix", "hostname": "192.0.2.7"},
        "mail_from: is missing; hostname is not a full domain, so set a sender address that has a full domain",
    ),
    Refused(
        {"mail": "relay"},
        'relay_host: is missing; mail = "relay" needs the name of the SMTP server that sends the mail',
    ),
    Refused(
        {"mail": "relay", "relay_port": 25, "relay_user": "jo", "relay_password": {"env": "GIVEN"}, "relay_ca": "/ca"},
        'relay_host: is missing; mail = "relay" needs the name of the SMTP server that sends the mail',
    ),
    Refused(
        {"mail": "relay", "relay_host": "smtp.example.org:587"},
        'relay_host = "smtp.example.org:587": has a port; use only the name, such as "smtp.example.org", and '
        "set the port with relay_port",
    ),
    Refused(
        {"mail": "relay", "relay_host": "smtps://smtp.example.org"},
        'relay_host = "smtps://smtp.example.org": has a scheme or a path; use only the name, such as "cal.example.org"',
    ),
    Refused(
        {"mail": "relay", "relay_host": "[smtp.example.org]"},
        'relay_host = "[smtp.example.org]": is not a host name: letters, digits, hyphens and dots only, such '
        "as cal.example.org",
    ),
    Refused(
        {"relay_host": "smtp.example.org"},
        'relay_host = "smtp.example.org": has no effect with mail = "off"; set mail = "relay", or remove relay_host',
    ),
    Refused(
        {"relay_port": 2525},
        'relay_port = 2525: has no effect with mail = "off"; set mail = "relay", or remove relay_port',
    ),
    Refused(
        {"relay_tls": "tls"},
        'relay_tls = "tls": has no effect with mail = "off"; set mail = "relay", or remove relay_tls',
    ),
    Refused(
        {"relay_user": "jo"},
        'relay_user = "jo": has no effect with mail = "off"; set mail = "relay", or remove relay_user',
    ),
    Refused(
        {"relay_password": {"env": "GIVEN"}},
        'relay_password: has no effect with mail = "off"; set mail = "relay", or remove relay_password',
    ),
    Refused(
        {"relay_ca": "/ca.pem"},
        'relay_ca = "/ca.pem": has no effect with mail = "off"; set mail = "relay", or remove relay_ca',
    ),
    Refused(
        RELAYED | {"relay_port": "submission"},
        'relay_port = "submission": should be a whole number from 0 to 65535',
    ),
    Refused(
        {"mail": "postfix", "relay_port": 2525},
        "relay_port = 2525: has no effect without relay_host, because Postfix then delivers directly; set "
        "relay_host, or remove relay_port",
    ),
    Refused(
        {"mail": "postfix", "relay_tls": "none"},
        'relay_tls = "none": has no effect without relay_host, because Postfix then delivers directly; set '
        "relay_host, or remove relay_tls",
    ),
    Refused(
        {"mail": "postfix", "relay_user": "jo"},
        'relay_user = "jo": has no effect without relay_host, because Postfix then delivers directly; set '
        "relay_host, or remove relay_user",
    ),
    Refused(
        {"mail": "postfix", "relay_password": {"env": "GIVEN"}},
        "relay_password: has no effect without relay_host, because Postfix then delivers directly; set "
        "relay_host, or remove relay_password",
    ),
    Refused(
        {"mail": "postfix", "relay_ca": "/ca.pem"},
        'relay_ca = "/ca.pem": has no effect without relay_host, because Postfix then delivers directly; set '
        "relay_host, or remove relay_ca",
    ),
    Refused(RELAYED | {"relay_tls": "ssl"}, 'relay_tls = "ssl": should be starttls, tls or none'),
    Refused(
        RELAYED | {"relay_user": "jo doe", "relay_password": {"env": "GIVEN"}},
        'relay_user = "jo doe": is not a login name: ASCII without spaces and colons only; copy it as the '
        "relay's provider shows it",
    ),
    Refused(RELAYED | {"relay_user": "jo"}, "relay_password: is missing; set it to the password of relay_user"),
    Refused(
        RELAYED | {"relay_password": {"env": "GIVEN"}},
        "relay_user: is missing; set it to the login name for relay_password",
    ),
    Refused(
        RELAYED | {"relay_user": "jo", "relay_password": SECRET},
        'relay_password: is a secret and must be a reference: {"env": "NAME"} or {"file": "path"}, so that it '
        "is never committed or shown",
    ),
    Refused(
        RELAYED | {"relay_user": "jo", "relay_password": {"env": "LINES"}},
        "relay_password: is empty or has control characters or several lines; check the environment variable LINES",
    ),
    Refused(
        RELAYED | {"relay_user": "jo", "relay_password": {"env": "UMLAUT"}},
        "relay_password: has characters outside printable ASCII, or a space at an end; choose another password "
        "at the relay",
    ),
    Refused(
        RELAYED | {"relay_tls": "none", "relay_user": "jo", "relay_password": {"env": "GIVEN"}},
        'relay_password: would be sent unencrypted with relay_tls = "none"; set relay_tls to starttls or tls, '
        "or remove relay_password",
    ),
    Refused(
        RELAYED | {"mail": "postfix", "relay_tls": "none", "relay_user": "jo", "relay_password": {"env": "GIVEN"}},
        'relay_password: would be sent unencrypted with relay_tls = "none"; set relay_tls to starttls or tls, '
        "or remove relay_password",
    ),
    Refused(
        RELAYED | {"relay_tls": "none", "relay_ca": "/ca.pem"},
        'relay_ca = "/ca.pem": has no effect with relay_tls = "none"; set relay_tls to starttls or tls, or '
        "remove relay_ca",
    ),
    Refused(
        RELAYED | {"relay_ca": "ca.pem"},
        'relay_ca = "ca.pem": should be an absolute path on the host, of letters, digits and . _ - + @ only',
    ),
    Refused(
        {"mail": "postfix", "dkim_selector": "baikal._domainkey"},
        'dkim_selector = "baikal._domainkey": is not a label of a DNS name: lower-case letters, digits and '
        "inner hyphens only, such as baikal",
    ),
    Refused(
        RELAYED | {"dkim_selector": "cal"},
        'dkim_selector = "cal": has no effect with mail = "relay"; set mail = "postfix" (machines only), or '
        "remove dkim_selector",
    ),
    Refused(
        {"dkim_selector": ""},
        'dkim_selector = "": has no effect with mail = "off"; set mail = "postfix" (machines only), or remove '
        "dkim_selector",
    ),
    Refused(
        {
            "mail": "smtp",
            "mail_from": "cal@example.org",
            "relay_host": "smtp.example.org",
            "relay_tls": "none",
            "relay_user": "jo",
            "relay_password": {"env": "GIVEN"},
            "dkim_selector": "cal",
        },
        'mail = "smtp": should be off, relay or postfix',
    ),
    Refused(
        {"mail": "postfix", "relay_host": "a b", "relay_user": "jo", "relay_ca": "/ca.pem"},
        'relay_host = "a b": is not a host name: letters, digits, hyphens and dots only, such as cal.example.org',
    ),
    Refused(
        RELAYED | {"hostname": "a_b"},
        'hostname = "a_b": is not a host name: letters, digits, hyphens and dots only, such as cal.example.org',
    ),
    Refused(
        RELAYED | {"hostname": ""},
        'hostname: is missing; set it to the name that clients connect to, such as "cal.example.org"',
    ),
)
