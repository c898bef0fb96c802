"""What all tables of settings share: the form of a row, secrets, and data that several rows need."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

SECRET = "hunter2-hunter2"
"""A secret that an operator wrote into a wrong setting or in a wrong form. No message may repeat it."""
HMAC_KEY = "aHVudGVyMi1odW50ZXIy-_8"
CREDENTIALS = "dns_rfc2136_name = keyname.\ndns_rfc2136_secret = 4q4wM"
OPTIONAL = (
    *("database_password", "acme_eab_hmac_key", "acme_dns_credentials"),
    *("relay_password", "restic_password", "restic_credentials"),
)
"""The secrets that a server doesn't need."""
VARIABLES = {
    "GIVEN": SECRET,
    "EMPTY": "",
    "LINES": f"{SECRET}\n{SECRET}",
    "BASE64": f"{SECRET}+",
    "UMLAUT": f"{SECRET}ä",
    "VARIABLES": f"A_KEY={SECRET}\nB_KEY={SECRET}",
}
"""The environment variables that the tables refer to."""
RELAYED: dict[str, object] = {"mail": "relay", "relay_host": "smtp.example.org"}
"""The least that a server needs to send mail through a relay."""
SERVER: dict[str, object] = {"database_host": "db.example.org", "database_password": {"env": "GIVEN"}}
MYSQL, PGSQL = SERVER | {"database": "mysql"}, SERVER | {"database": "pgsql"}
"""The least that a server needs for a database server."""
RESTIC: dict[str, object] = {"restic_repository": "/srv/restic", "restic_password": {"env": "GIVEN"}}
JO: dict[str, object] = {"name": "jo", "password": {"env": "GIVEN"}}
ANN: dict[str, object] = {"name": "ann", "password": {"env": "GIVEN"}}


class Refused(NamedTuple):
    """Settings with one mistake, and the line that an operator must see."""

    data: Mapping[str, object]
    line: str


def unchanged(*texts: str) -> dict[str, str]:
    """Return the row of accepted texts that aren't normalised."""
    return dict(zip(texts, texts, strict=True))
