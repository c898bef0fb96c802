"""Tables of web server settings: accepted and refused values, each refused one with the line that operators see."""

from __future__ import annotations

from tests.unit.settings.cases.common import Refused, unchanged

ACCEPTED = {"base_path": {"": "", "/": "", "/cal/": "/cal", **unchanged("/cal", "/a-b/c_d")}}
"""Texts by setting, and their normalised form."""
REFUSED = (
    Refused({"http_port": 0}, "http_port = 0: should be a whole number from 1 to 65535"),
    Refused({"https_port": 65536}, "https_port = 65536: should be a whole number from 1 to 65535"),
    Refused({"http_port": "80"}, 'http_port = "80": should be a whole number from 1 to 65535'),
    Refused({"http_port": True}, "http_port = true: should be a whole number from 1 to 65535"),
    Refused({"http_port": 80.0}, "http_port = 80.0: should be a whole number from 1 to 65535"),
    Refused({"http_port": [80]}, "http_port = [80]: should be a whole number from 1 to 65535"),
    Refused(
        {"http_port": 8080, "https_port": 8080},
        "https_port = 8080: is the same as http_port; set two different ports",
    ),
    Refused(
        {"base_path": "cal"},
        'base_path = "cal": should start with a slash and have letters, digits, - and _ only, such as /calendars',
    ),
    Refused(
        {"base_path": "/my cal"},
        'base_path = "/my cal": should start with a slash and have letters, digits, - and _ only, such as /calendars',
    ),
    Refused(
        {"base_path": "/dav.php"},
        'base_path = "/dav.php": should start with a slash and have letters, digits, - and _ only, such as /calendars',
    ),
    Refused(
        {"base_path": "/a//b"},
        'base_path = "/a//b": should start with a slash and have letters, digits, - and _ only, such as /calendars',
    ),
    Refused(
        {"trusted_proxies": ["10.0.0.1/8"]},
        'trusted_proxies = ["10.0.0.1/8"]: has "10.0.0.1/8", which is not a network (10.0.0.1/8 has host bits '
        "set); write it as 192.0.2.0/24 or 192.0.2.7",
    ),
    Refused(
        {"admin_allow": "10.0.0.0/8"},
        'admin_allow = "10.0.0.0/8": should be a list of networks, such as ["10.0.0.0/8", "fd00::/8"]',
    ),
    Refused(
        {"admin_allow": ["office"]},
        'admin_allow = ["office"]: has "office", which is not a network (\'office\' does not appear to be an '
        "IPv4 or IPv6 network); write it as 192.0.2.0/24 or 192.0.2.7",
    ),
    Refused(
        {"admin_allow": [10]},
        "admin_allow = [10]: has 10, which is not a network ('' does not appear to be an IPv4 or IPv6 "
        "network); write it as 192.0.2.0/24 or 192.0.2.7",
    ),
    Refused(
        {"admin_allow": ["10.0.0.0/33"]},
        'admin_allow = ["10.0.0.0/33"]: has "10.0.0.0/33", which is not a network (\'10.0.0.0/33\' does not '
        "appear to be an IPv4 or IPv6 network); write it as 192.0.2.0/24 or 192.0.2.7",
    ),
    Refused(
        {"admin_allow": [""]},
        'admin_allow = [""]: has "", which is not a network (\'\' does not appear to be an IPv4 or IPv6 '
        "network); write it as 192.0.2.0/24 or 192.0.2.7",
    ),
    Refused({"upload_limit_mb": 0}, "upload_limit_mb = 0: should be a whole number from 1 to 2048 MiB"),
    Refused({"upload_limit_mb": "1G"}, 'upload_limit_mb = "1G": should be a whole number from 1 to 2048 MiB'),
    Refused({"request_timeout_s": 1}, "request_timeout_s = 1: should be a whole number from 10 to 3600 seconds"),
)
