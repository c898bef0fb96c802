"""Tables of Baïkal settings: accepted and refused values, each refused one with the line that operators see."""

from __future__ import annotations

from tests.unit.settings.cases.common import SECRET, Refused, unchanged

ACCEPTED = {
    "baikal_version": unchanged("0.10.1", "0.11.1", "0.12.1", "1.0.0"),
    "baikal_sha256": {"A" * 64: "a" * 64, "0123456789abcdef" * 4: "0123456789abcdef" * 4},
}
"""Texts by setting, and their normalised form."""
REFUSED = (
    Refused(
        {"baikal_version": 0.1},
        "baikal_version = 0.1: is not text, but float; --data guesses types: quote it twice, as in --data "
        "'name=\"0.10\"'",
    ),
    Refused(
        {"baikal_version": "0.12"},
        'baikal_version = "0.12": is not a release of Baïkal; write it with three numbers, such as 0.12.1',
    ),
    Refused(
        {"baikal_version": "v0.12.1"},
        'baikal_version = "v0.12.1": is not a release of Baïkal; write it with three numbers, such as 0.12.1',
    ),
    Refused(
        {"baikal_version": "latest"},
        'baikal_version = "latest": is not a release of Baïkal; write it with three numbers, such as 0.12.1',
    ),
    Refused(
        {"baikal_version": "0.11.0"},
        'baikal_version = "0.11.0": is a release with a broken installer or upgrade; use the next one, 0.10.1 '
        "or 0.11.1",
    ),
    Refused(
        {"baikal_version": "0.9.5"},
        'baikal_version = "0.9.5": is too old: releases before 0.10.0 keep their data within the code; use '
        "0.10.1 or newer",
    ),
    Refused(
        {"baikal_version": "0.13.7"},
        'baikal_version = "0.13.7": is not one of the known releases (0.12.1, 0.11.1, 0.10.1); set '
        "baikal_archive to its zip, and baikal_sha256 to the zip's checksum",
    ),
    Refused(
        {"baikal_archive": "ftp://example.org/b.zip"},
        'baikal_archive = "ftp://example.org/b.zip": has a scheme that is not http or https; use a web address '
        "or the path of a local zip",
    ),
    Refused(
        {"baikal_archive": "file:///b.zip"},
        'baikal_archive = "file:///b.zip": has a scheme that is not http or https; use a web address or the '
        "path of a local zip",
    ),
    Refused(
        {"baikal_sha256": "abc"},
        'baikal_sha256 = "abc": is not a SHA-256: 64 hexadecimal digits, as sha256sum prints them',
    ),
    Refused(
        {"baikal_sha256": "sha256:abc"},
        'baikal_sha256 = "sha256:abc": is not a SHA-256: 64 hexadecimal digits, as sha256sum prints them',
    ),
    Refused(
        {"baikal_version": "0.13.7", "baikal_archive": "https://example.org/b.zip"},
        "baikal_sha256: is missing; set it, because the checksum of this release is not known",
    ),
    Refused({"baikal_download": "there"}, 'baikal_download = "there": should be here or host'),
    Refused(
        {"baikal_download": "host", "baikal_archive": "/b.zip"},
        'baikal_download = "host": is not possible, because baikal_archive is a path on this machine; set it to here',
    ),
    Refused(
        {"admin_password": SECRET},
        'admin_password: is a secret and must be a reference: {"env": "NAME"} or {"file": "path"}, so that it '
        "is never committed or shown",
    ),
    Refused(
        {"admin_password": 12345},
        'admin_password: is a secret and must be a reference: {"env": "NAME"} or {"file": "path"}, so that it '
        "is never committed or shown",
    ),
    Refused({"admin_password": None}, "admin_password: is missing; set it"),
    Refused(
        {"admin_password": ""},
        'admin_password: is a secret and must be a reference: {"env": "NAME"} or {"file": "path"}, so that it '
        "is never committed or shown",
    ),
    Refused(
        {"admin_password": [SECRET]},
        'admin_password: is a secret and must be a reference: {"env": "NAME"} or {"file": "path"}, so that it '
        "is never committed or shown",
    ),
    Refused(
        {"admin_password": {"plain": SECRET}},
        'admin_password: must be a reference: {"env": "NAME"} or {"file": "path"}; "plain" is neither',
    ),
    Refused(
        {"admin_password": {}},
        'admin_password: is a secret and must be a reference: {"env": "NAME"} or {"file": "path"}, so that it '
        "is never committed or shown",
    ),
    Refused(
        {"admin_password": {"env": 5}},
        'admin_password: is a secret and must be a reference: {"env": "NAME"} or {"file": "path"}, so that it '
        "is never committed or shown",
    ),
    Refused(
        {"admin_password": {"env": "GIVEN", "file": "/dev/null"}},
        'admin_password: is a secret and must be a reference: {"env": "NAME"} or {"file": "path"}, so that it '
        "is never committed or shown",
    ),
    Refused(
        {"admin_password": {"env": "NOT_SET_ANYWHERE"}},
        "admin_password: is read from the environment variable NOT_SET_ANYWHERE, which is not set; export it "
        "and run again",
    ),
    Refused(
        {"admin_password": {"env": "EMPTY"}},
        "admin_password: is empty or has control characters or several lines; check the environment variable EMPTY",
    ),
    Refused(
        {"admin_password": {"env": "LINES"}},
        "admin_password: is empty or has control characters or several lines; check the environment variable LINES",
    ),
    Refused(
        {"admin_password": {"env": "$GIVEN"}},
        'admin_password: is not the name of an environment variable; write {"env": "NAME"}',
    ),
    Refused(
        {"admin_password": {"file": "/not/there"}},
        "admin_password: is read from the file /not/there, which cannot be read (No such file or directory)",
    ),
    Refused(
        {"admin_password": {"file": "/"}},
        "admin_password: is read from the file /, which cannot be read (Is a directory)",
    ),
    Refused(
        {"admin_password": {"file": "/dev/null"}},
        "admin_password: is empty or has control characters or several lines; check the file /dev/null",
    ),
    Refused(
        {"admin_password": {"file": "~nobody-of-this-name/secret"}},
        "admin_password: is read from the file ~nobody-of-this-name/secret, which cannot be read (no such path)",
    ),
    Refused(
        {"admin_password": {"file": "a\0b"}},
        "admin_password: is read from the file a\0b, which cannot be read (not UTF-8 text)",
    ),
    Refused({"dav_auth": "Basic"}, 'dav_auth = "Basic": should be basic or digest'),
    Refused({"caldav": "false"}, 'caldav = "false": should be True or False, without quotes'),
    Refused({"carddav": 1}, "carddav = 1: should be True or False, without quotes"),
    Refused({"carddav": None}, "carddav = null: should be True or False, without quotes"),
    Refused(
        {"caldav": False, "carddav": False},
        "carddav = false: and caldav are both off, so nothing would be served; turn one on",
    ),
)
