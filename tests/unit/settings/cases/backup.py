"""Tables of backup settings: accepted and refused values, each refused one with the line that operators see."""

from __future__ import annotations

from tests.unit.settings.cases.common import RESTIC, SECRET, Refused, unchanged

ACCEPTED = {
    "restic_repository": unchanged(
        *("/srv/restic", "sftp:jo@nas.example.org:/srv/restic", "sftp://jo@nas.example.org:2222//srv/restic"),
        *("rest:https://backup.example.org:8000/baikal/", "s3:s3.eu-central-1.amazonaws.com/bucket/path"),
        *("s3:https://minio.lan:9000/baikal", "b2:bucket:path", "rclone:remote:baikal"),
    ),
    "backup_schedule": unchanged("00:00", "03:15", "23:59", "hourly"),
    "restic_credentials": {**unchanged("A=b", "A=b\n\nC=d"), "A=b\nC_1=d=e f\n": "A=b\nC_1=d=e f"},
}
"""Texts by setting, and their normalised form."""
REFUSED_TEXTS = (
    (
        "restic_repository",
        "as a line RESTIC_REPOSITORY=…",
        *("rest:https://jo:hunter2@nas/", "rest:http://:hunter2@nas/", "s3:https://key:hun@ter2@s3.lan/x"),
    ),
    (
        "restic_repository",
        "is not a restic repository: an absolute path, or an address",
        *("restic", "../restic", "https://nas/restic", "sftp:", "/srv/my restic", "s3: x"),
    ),
    (
        "backup_schedule",
        'write it as "03:15", or "hourly"',
        *("3:15", "24:00", "12:60", "03:15:00", "daily", "Hourly", "03.15", "0３:15"),
    ),
    (
        "restic_credentials",
        "not NAME=value: line 2",
        *("A=x\nhunter2", "A=x\n1A=hunter2", "A=x\nexport A=hunter2", "A=x\n=hunter2", "A=x\nA="),
    ),
)
"""A setting, words of the error, and the texts that it refuses."""
REFUSED = (
    Refused({"backup": "daily"}, 'backup = "daily": should be True or False, without quotes'),
    Refused(
        {"backup_schedule": "3:15"},
        'backup_schedule = "3:15": is not a time of day; write it as "03:15", or "hourly"',
    ),
    Refused(
        {"backup_schedule": "24:00"},
        'backup_schedule = "24:00": is not a time of day; write it as "03:15", or "hourly"',
    ),
    Refused(
        {"backup_schedule": "15 3 * * *"},
        'backup_schedule = "15 3 * * *": is not a time of day; write it as "03:15", or "hourly"',
    ),
    Refused(
        {"backup_schedule": ""},
        'backup_schedule = "": is empty or has control characters; it should be a time such as "03:15", or "hourly"',
    ),
    Refused(
        {"backup": False, "backup_schedule": "hourly"},
        'backup_schedule = "hourly": has no effect with backup = false; turn backup on, or remove backup_schedule',
    ),
    Refused({"backup_keep_daily": -1}, "backup_keep_daily = -1: should be a whole number from 0 to 1000"),
    Refused({"backup_keep_weekly": "4"}, 'backup_keep_weekly = "4": should be a whole number from 0 to 1000'),
    Refused({"backup_keep_monthly": 1001}, "backup_keep_monthly = 1001: should be a whole number from 0 to 1000"),
    Refused(
        dict.fromkeys(("backup_keep_daily", "backup_keep_weekly", "backup_keep_monthly"), 0),
        "backup_keep_monthly = 0: and backup_keep_daily and backup_keep_weekly are all 0, so no archive would "
        "be kept; keep at least one",
    ),
    Refused(
        RESTIC | {"restic_repository": f"rest:https://jo:{SECRET}@backup.example.org/"},
        "restic_repository: has a password in it, which isn't kept secret there; remove it, and put the whole "
        "address into restic_credentials, as a line RESTIC_REPOSITORY=… (with restic 0.16 or newer, "
        "RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD work too)",
    ),
    Refused(
        RESTIC | {"restic_repository": "srv/restic"},
        "restic_repository: is not a restic repository: an absolute path, or an address that starts with "
        "sftp:, rest:, s3:, b2:, azure:, gs:, swift: or rclone:",
    ),
    Refused(
        RESTIC | {"restic_repository": "ftp://backup.example.org/"},
        "restic_repository: is not a restic repository: an absolute path, or an address that starts with "
        "sftp:, rest:, s3:, b2:, azure:, gs:, swift: or rclone:",
    ),
    Refused(
        RESTIC | {"restic_repository": f"/srv\n{SECRET}"},
        "restic_repository: is empty or has control characters; it should be a restic repository",
    ),
    Refused(
        {"restic_repository": "/srv/restic"},
        "restic_password: is missing; set the password that encrypts restic_repository, and keep a copy of it "
        "elsewhere",
    ),
    Refused(
        RESTIC | {"restic_password": SECRET},
        'restic_password: is a secret and must be a reference: {"env": "NAME"} or {"file": "path"}, so that it '
        "is never committed or shown",
    ),
    Refused(
        {"restic_password": {"env": "GIVEN"}},
        "restic_password: has no effect without restic_repository; set restic_repository, or remove restic_password",
    ),
    Refused(
        {"restic_credentials": {"env": "VARIABLES"}},
        "restic_credentials: has no effect without restic_repository; set restic_repository, or remove "
        "restic_credentials",
    ),
    Refused(
        RESTIC | {"restic_credentials": f"A={SECRET}"},
        'restic_credentials: is a secret and must be a reference: {"env": "NAME"} or {"file": "path"}, so that '
        "it is never committed or shown",
    ),
    Refused(
        RESTIC | {"restic_credentials": {"env": "LINES"}},
        "restic_credentials: has a line that is not NAME=value: line 1; write one variable per line",
    ),
)
