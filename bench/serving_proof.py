"""Check with real requests, before any measurement, that a corpus equals data that the server has written."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from bench.contenders import BenchmarkError
from bench.corpus import PASSWORD, Corpus, calendar_objects
from bench.load import BODIES

if TYPE_CHECKING:
    from bench.measured_server import MeasuredServer
    from tests.lab.http_request import Answer

KINDS: Final = (0, 1, 3, 6, 7)
"""One object of each kind: an endless and a limited series, a whole day, a task, an appointment."""
COLUMNS: Final = "uri, etag, size, componenttype, firstoccurence, lastoccurence, uid, hex(calendardata)"
WEEK: Final = (datetime(2027, 3, 1, tzinfo=UTC), datetime(2027, 3, 8, tzinfo=UTC))


def prove(server: MeasuredServer, corpus: Corpus) -> None:
    """Raise BenchmarkError unless the server can read ``corpus``, and writes the same columns for its objects.

    It stores some objects again: the caller restores the database afterwards.
    """
    user = corpus.names()[-1]
    objects = list(calendar_objects(corpus, user))
    uris = ", ".join(f"'{objects[number].uri}'" for number in KINDS)
    query = f"SELECT {COLUMNS} FROM calendarobjects WHERE uri IN ({uris}) ORDER BY uri"  # noqa: S608 - our own names
    before = server.sql(query)
    for number in KINDS:
        thing = objects[number]
        answer = _ask(server, user, "PUT", thing.uri, thing.data)
        _expect(f"the status of storing {thing.uri} again", answer.status, 204)
    _expect("the server's columns for objects", server.sql(query), before)

    synced = _ask(server, user, "REPORT", "", BODIES["sync"].replace("@TOKEN@", ""))
    _expect("the objects of a first synchronisation", synced.body.count(".ics</d:href>"), corpus.events)

    begin, end = (int(moment.timestamp()) for moment in WEEK)
    expected = {one.uid for one in objects if one.first is not None and one.first < end and (one.last or 0) > begin}
    asked = BODIES["query"].replace("@FROM@", f"{WEEK[0]:%Y%m%d}").replace("@TO@", f"{WEEK[1]:%Y%m%d}")
    answer = _ask(server, user, "REPORT", "", asked)
    _expect("the events of a week", set(re.findall(r"\bUID:([\w-]+)", answer.body)), expected)


def _ask(server: MeasuredServer, user: str, method: str, uri: str, body: str) -> Answer:
    path = f"/dav.php/calendars/{user}/default/{uri}"
    kind = "text/calendar" if method == "PUT" else "application/xml"
    headers = {"Content-Type": f"{kind}; charset=utf-8", "Depth": "1"}
    return server.server.ask(method, path, user=user, password=PASSWORD, body=body, headers=headers)


def _expect(what: str, actual: object, wanted: object) -> None:
    if actual != wanted:
        message = f"the benchmark's own calendars are not right: {what} should be {wanted!r}, the server has {actual!r}"
        raise BenchmarkError(message[:4000])
