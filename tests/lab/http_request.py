"""Send one HTTP request unchanged, and read its answer."""

from __future__ import annotations

import base64
import http.client
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

HOSTNAME: Final = "localhost"
"""The host name that clients in the lab use: ports are published on loopback."""
PASSWORD: Final = "correct horse battery staple"


@dataclass
class Answer:
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: str


def ask(  # noqa: PLR0913 - the parts of a request
    port: int,
    method: str,
    path: str,
    *,
    secure: bool = True,
    user: str = "",
    password: str = PASSWORD,
    body: str = "",
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 30,
    host: str = "127.0.0.1",
) -> Answer:
    """Send one request to a port of loopback and return the answer; paths are not normalised, redirects not followed.

    ``host`` must resolve to loopback; with TLS, its certificate is requested.
    """
    sent = {"Host": f"{HOSTNAME}:{port}", **(headers or {})}
    if user:
        sent["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    where = (host, port)
    connection = (
        http.client.HTTPSConnection(*where, timeout=timeout_s, context=ssl._create_unverified_context())  # noqa: S323
        if secure
        else http.client.HTTPConnection(*where, timeout=timeout_s)
    )
    try:
        connection.request(method, path, body.encode() if body else None, sent)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
    finally:
        connection.close()
    return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, text)
