"""Tables of identity settings: accepted and refused values, each refused one with the line that operators see."""

from __future__ import annotations

from tests.unit.settings.cases.common import SECRET, Refused, unchanged

LONGEST_LABEL = "a" * 63
ACCEPTED = {
    "hostname": {
        **unchanged(
            "cal.example.org", "calendar", "192.0.2.7", "1and1.example", "xn--mller-kva.example", "a-b--c.example"
        ),
        "Cal.Example.ORG": "cal.example.org",
        "cal.example.org.": "cal.example.org",
        f"{LONGEST_LABEL}.example": f"{LONGEST_LABEL}.example",
    },
    "timezone": unchanged("Europe/Berlin", "UTC", "America/Argentina/Buenos_Aires", "Etc/GMT+1"),
}
"""Texts by setting, and their normalised form."""
REFUSED_TEXTS = (
    (
        "hostname",
        "letters, digits, hyphens and dots only, such as cal.example.org",
        *(f"{LONGEST_LABEL}a.example", ".".join([LONGEST_LABEL] * 4), "-cal.example.org", "cal-.example.org"),
        *("cal..example.org", ".example.org", "*.example.org", "cal_1.example.org", "cal example.org"),
        *(" cal.example.org", "cal.example.org;", 'cal"example', "$host", "."),
    ),
    ("hostname", "write xn--mller-kva.example.org", "müller.example.org", "MÜLLER.example.org."),
    ("timezone", "Europe/Berlin", "Europe/Atlantis"),
)
"""A setting, words of the error, and the texts that it refuses."""
REFUSED = (
    Refused({"hostnam": "x"}, "hostnam: no such setting; did you mean hostname?"),
    Refused({"admin_pasword": SECRET}, "admin_pasword: no such setting; did you mean admin_password?"),
    Refused({"Timezone": "UTC"}, "Timezone: no such setting; did you mean timezone?"),
    Refused({"http-port": 80}, "http-port: no such setting; did you mean http_port?"),
    Refused({"BAIKAL_HOSTNAME": "x"}, "BAIKAL_HOSTNAME: no such setting; docs/settings.md lists all settings"),
    Refused({"colour_of_the_sky": "x"}, "colour_of_the_sky: no such setting; docs/settings.md lists all settings"),
    Refused(
        {"hostname": ""},
        'hostname: is missing; set it to the name that clients connect to, such as "cal.example.org"',
    ),
    Refused(
        {"hostname": "https://cal.example.org"},
        'hostname = "https://cal.example.org": has a scheme or a path; use only the name, such as "cal.example.org"',
    ),
    Refused(
        {"hostname": "example.org/cal"},
        'hostname = "example.org/cal": has a scheme or a path; use only the name, such as "cal.example.org"',
    ),
    Refused(
        {"hostname": "example.org:80"},
        'hostname = "example.org:80": has a port; the ports are set with http_port and https_port',
    ),
    Refused(
        {"hostname": "2001:db8::1"},
        'hostname = "2001:db8::1": has a port; the ports are set with http_port and https_port',
    ),
    Refused(
        {"hostname": "käl.example"},
        'hostname = "käl.example": has characters that are not ASCII; write xn--kl-via.example',
    ),
    Refused(
        {"hostname": "my_cal.example"},
        'hostname = "my_cal.example": is not a host name: letters, digits, hyphens and dots only, such as '
        "cal.example.org",
    ),
    Refused(
        {"hostname": "my cal.example"},
        'hostname = "my cal.example": is not a host name: letters, digits, hyphens and dots only, such as '
        "cal.example.org",
    ),
    Refused({"hostname": "  "}, 'hostname = "  ": is empty or has control characters; it should be a host name'),
    Refused({"hostname": "a\nb"}, 'hostname = "a\\nb": is empty or has control characters; it should be a host name'),
    Refused(
        {"hostname": "*.example.org"},
        'hostname = "*.example.org": is not a host name: letters, digits, hyphens and dots only, such as '
        "cal.example.org",
    ),
    Refused(
        {"hostname": 7},
        "hostname = 7: is not text, but int; --data guesses types: quote it twice, as in --data 'name=\"0.10\"'",
    ),
    Refused({"hostname": ["a.example"]}, 'hostname = ["a.example"]: is not text, but list; put it in quotes'),
    Refused({"hostname": None}, "hostname = null: is not text, but NoneType; put it in quotes"),
    Refused(
        {"timezone": "CEST+2!"},
        'timezone = "CEST+2!": is not a time zone of the IANA database; write it as "Europe/Berlin" or "UTC"',
    ),
    Refused(
        {"timezone": "+02:00"},
        'timezone = "+02:00": is not a time zone of the IANA database; write it as "Europe/Berlin" or "UTC"',
    ),
    Refused({"timezone": ""}, 'timezone = "": is empty or has control characters; it should be a time zone'),
    Refused(
        {"hostnames": "dav.example.org"},
        'hostnames = "dav.example.org": should be a list of host names, such as ["dav.example.org", '
        '"kalender.example.org"]',
    ),
    Refused(
        {"hostnames": None},
        'hostnames = null: should be a list of host names, such as ["dav.example.org", "kalender.example.org"]',
    ),
    Refused(
        {"hostnames": ["a.example.org", "A.example.org."]},
        'hostnames = ["a.example.org", "A.example.org."]: has "A.example.org." twice; remove one',
    ),
    Refused(
        {"hostnames": ["b.example.org", "https://a.example.org"]},
        'hostnames = ["b.example.org", "https://a.example.org"]: has "https://a.example.org", which has a '
        'scheme or a path; use only the name, such as "cal.example.org"',
    ),
    Refused(
        {"hostnames": ["*.example.org"]},
        'hostnames = ["*.example.org"]: has "*.example.org", which is not a host name: letters, digits, '
        "hyphens and dots only, such as cal.example.org",
    ),
    Refused(
        {"hostnames": [""]},
        'hostnames = [""]: has "", which is not a host name: letters, digits, hyphens and dots only, such as '
        "cal.example.org",
    ),
    Refused(
        {"hostnames": ["a\nb"]},
        'hostnames = ["a\\nb"]: has "a\\nb", which is not a host name: letters, digits, hyphens and dots only, '
        "such as cal.example.org",
    ),
    Refused(
        {"hostnames": [7]},
        "hostnames = [7]: has 7, which is not text, but int; --data guesses types: quote it twice, as in "
        "--data 'name=\"0.10\"'",
    ),
    Refused(
        {"hostnames": ["dav.example.org", "cal.example.org"]},
        'hostnames[1] = "cal.example.org": is the same as hostname; list only additional names',
    ),
)
