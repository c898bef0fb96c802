"""New data is tested with a release that serves it, and errors are reported."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import http.client
import json
import os
import shutil
import signal
import sqlite3
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.baikal import config, smoke_test
from baikalctl.changes import staging, trial_run
from baikalctl.database import transfer
from baikalctl.database.sqlite import Sqlite
from baikalctl.errors import HostError
from tests.lab.errors import LabError
from tests.lab.old_installation import build
from tests.lab.release import build_standin
from tests.unit.moving import dies, needs_php, stand_release
from tests.unit.samples import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from baikalctl.baikal.config import Configuration


pytestmark = needs_php


@pytest.fixture
def configuration(host: Path) -> Iterator[Configuration]:
    """Have new data in its place, and a release; return its baikal.yaml."""
    stand_release()
    old = build(host / "old", VERSION)
    with staging.incoming() as directory:
        shutil.copy(old.database, directory / staging.SQLITE)
        shutil.copy(old.database, host / "before.sqlite")
        yield config.understood(old.yaml)


@pytest.fixture
def page(configuration: Configuration) -> Path:
    """Return what answers clients."""
    assert configuration
    return Path(paths.CODE) / VERSION / "html/dav.php"


@pytest.fixture(scope="session")
def libraries(memory: Path) -> Path:
    """Return the libraries that Baïkal is made of; skips where the distribution's can't be had."""
    try:
        archive = build_standin(memory / "standin")
    except LabError as error:
        pytest.skip(str(error))
    with zipfile.ZipFile(archive) as bundle:
        bundle.extractall(memory / "unpacked")
    return memory / "unpacked/baikal"


def as_it_was(host: Path) -> None:
    """Look at the data after a rehearsal: every row is as it was, and nothing else is there."""
    directory = Path(paths.INCOMING)
    for one, other in (
        (host / "before.sqlite", directory / staging.SQLITE),
        (directory / staging.SQLITE, host / "before.sqlite"),
    ):
        assert transfer.difference(one, other) == ""
    assert sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()) == [
        staging.SQLITE
    ]
    assert running() == []


def running() -> list[str]:
    """Return the servers of this host's releases that run."""
    configuration = []
    for directory in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = directory.read_bytes().decode().split("\0")
            if "-S" in words and f"{paths.CODE}/{VERSION}/html" in words:
                configuration.append(directory.parent.name)
    return configuration


def test_a_successful_trial_leaves_the_data_unchanged(configuration: Configuration, host: Path) -> None:
    """Account, event and card were there for a moment."""
    before = {name: dict(section) for name, section in configuration.items()}
    trial_run.try_out(configuration, VERSION)
    as_it_was(host)
    assert configuration == before


@pytest.mark.parametrize("kind", ["Digest", "Basic", "Apache"])
def test_a_trial_with_all_libraries_leaves_the_data_unchanged(
    configuration: Configuration, host: Path, libraries: Path, kind: str
) -> None:
    """For each kind of authentication and each base address."""
    shutil.rmtree(Path(paths.CODE) / VERSION)
    shutil.copytree(libraries, Path(paths.CODE) / VERSION)
    configuration["system"] |= {"dav_auth_type": kind, "base_uri": "/baikal/", "auth_realm": "Another"}
    trial_run.try_out(configuration, VERSION)
    as_it_was(host)


def test_a_trial_logs_in_with_digest_authentication(configuration: Configuration, libraries: Path) -> None:
    """As a real one may, where a rehearsal always has the simpler way."""
    shutil.rmtree(Path(paths.CODE) / VERSION)
    shutil.copytree(libraries, Path(paths.CODE) / VERSION)
    database = Sqlite(Path(paths.INCOMING) / staging.SQLITE)
    with trial_run._stage(configuration) as folder, smoke_test.temporary_user(database) as visitor:
        file = Path(folder) / "config/baikal.yaml"
        staged = config.understood(file)
        staged["system"]["dav_auth_type"] = "Digest"
        config.write(staged, file)
        secret = {trial_run.HEADER: "secret"}
        with trial_run._serving(folder, VERSION, "secret") as (port, _):
            smoke_test.make(f"http://127.0.0.1:{port}", visitor, secret, calendars=True, contacts=True)
            wrong = dataclasses.replace(visitor, password="wrong")
            with pytest.raises(HostError, match=r"PROPFIND .* answers 401, not 207"):
                smoke_test.make(f"http://127.0.0.1:{port}", wrong, secret, calendars=True, contacts=True)


@pytest.mark.parametrize("secret", [None, "", "0" * 64, "é"])
def test_requests_without_the_secret_are_refused(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch, secret: str | None
) -> None:
    """Each can connect to loopback while the copy is tried out: it gets 404 from every script, the installer included."""
    answered = Path(paths.DATA) / "answered"

    def make(base: str, visitor: smoke_test.TemporaryUser, headers: dict[str, str], **_: object) -> None:
        login = base64.b64encode(f"{visitor.name}:{visitor.password}".encode()).decode()
        own = {} if secret is None else {trial_run.HEADER: secret.encode().decode("latin-1")}
        addresses = (
            f"dav.php/principals/{visitor.name}/",
            "dav.php/",
            "index.php",
            "admin/",
            "admin/install/",
            "nothing",
        )
        statuses: list[list[int]] = []
        for sent in (own, headers):
            statuses.append([])
            for path in addresses:
                connection = http.client.HTTPConnection(base.removeprefix("http://"), timeout=30)
                connection.request("PROPFIND", f"/{path}", headers={**sent, "Authorization": f"Basic {login}"})
                statuses[-1].append(connection.getresponse().status)
                connection.close()
        answered.write_text(json.dumps(statuses), encoding="ascii")

    monkeypatch.setattr(smoke_test, "make", make)
    trial_run.try_out(configuration, VERSION)
    statuses = json.loads(answered.read_text(encoding="ascii"))
    assert statuses[0] == [404] * 6
    assert statuses[1][0] == 207, "with the secret, the release answers"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (
            "http_response_code(500); echo 'out of <b>luck</b>';",
            r"doesn't work with this data: PROPFIND /dav\.php/principals/\S+ answers 500, not 207 \(out of <b>luck</b>\)$",
        ),
        ("throw new Error('out of luck');", r"answers \d+, not 207.*; its log: .*Uncaught Error: out of luck"),
        ("header('Location: admin/install/');", r"PROPFIND \S+ answers 302, not 207$"),
        ("posix_kill(getmypid(), 9);", r"PROPFIND \S+ gets no answer: "),
        (
            "header('Content-Length: 100'); http_response_code(207); echo 'x'; flush(); posix_kill(getmypid(), 9);",
            "gets no answer: ",
        ),
        ("echo 'Hello';", r"answers 200, not 207 \(Hello\)$"),
        ("header('WWW-Authenticate: Basic'); http_response_code(401);", r"answers 401, not 207$"),
    ],
    ids=["refuses", "throws", "redirects", "dies", "dies half-way", "knows nothing", "refuses all logins"],
)
def test_data_that_does_not_work_is_refused_with_the_reason(
    configuration: Configuration, host: Path, page: Path, program: str, message: str
) -> None:
    """In PHP's own words where it has some."""
    page.write_text(f"<?php {program}", encoding="utf-8")
    with pytest.raises(HostError, match=f"^Baïkal {VERSION} doesn't work with this data: ") as caught:
        trial_run.try_out(configuration, VERSION)
    assert caught.match(message)
    assert "\n" not in str(caught.value)
    as_it_was(host)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "case 'PUT':",
            "case 'PUT': http_response_code(507); exit;",
            r"PUT /dav\.php/calendars/\S+ answers 507, not 201",
        ),
        ("case 'GET':", "case 'GET': echo 'x';", r"check\.ics returns another text than was stored"),
        ("case 'DELETE':", "case 'DELETE': http_response_code(403); exit;", r"DELETE \S+\.ics answers 403, not 204"),
        ("'cards', 'add", "'nothing', 'add", r"PUT /dav\.php/addressbooks/\S+ answers \d+, not 201 .*nothing"),
    ],
)
def test_a_trial_makes_every_kind_of_request(  # noqa: PLR0913, PLR0917 - one of each
    configuration: Configuration, host: Path, page: Path, old: str, new: str, message: str
) -> None:
    """What doesn't work is refused, and what was stored by then goes with its account."""
    page.write_text(page.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(HostError, match=message):
        trial_run.try_out(configuration, VERSION)
    as_it_was(host)


@pytest.mark.parametrize(("key", "folder"), [("cal_enabled", "calendars"), ("card_enabled", "addressbooks")])
def test_disabled_services_are_not_tested(configuration: Configuration, page: Path, key: str, folder: str) -> None:
    """Data is not refused for a service that is off."""
    asking = "if (str_contains($_SERVER['PATH_INFO'], '%s')) { http_response_code(404); exit; }\n"
    whole = page.read_text(encoding="utf-8")
    page.write_text(whole.replace("switch (", (asking % folder) + "switch ("), encoding="utf-8")
    with pytest.raises(HostError, match=folder):
        trial_run.try_out(configuration, VERSION)
    configuration["system"][key] = False
    trial_run.try_out(configuration, VERSION)


def test_php_that_exits_at_once_is_reported(configuration: Configuration, host: Path) -> None:
    """With what it says."""
    program = host / "programs/php"
    program.write_text("#!/bin/sh\necho 'no extension sqlite3' >&2\nexit 1\n", encoding="ascii")
    program.chmod(0o755)
    with pytest.raises(HostError, match="PHP can't serve a copy of the data for the test: no extension sqlite3"):
        trial_run.try_out(configuration, VERSION)
    as_it_was(host)


def test_data_that_cannot_take_an_account_is_refused(configuration: Configuration) -> None:
    """As where a table is missing."""
    with contextlib.closing(sqlite3.connect(Path(paths.INCOMING) / staging.SQLITE)) as connection:
        connection.execute("DROP TABLE addressbooks")
    with pytest.raises(sqlite3.OperationalError, match="no such table: addressbooks"):
        trial_run.try_out(configuration, VERSION)


def test_a_killed_trial_leaves_no_php_server_running(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would keep the copy open, and serve it on its port, until the next boot."""

    def make(*_: object, **__: object) -> None:
        assert running()
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(smoke_test, "make", make)
    with pytest.raises(AssertionError):  # by a signal, and not by its own will
        dies(lambda: trial_run.try_out(configuration, VERSION), 10**6)
    deadline = time.monotonic() + 10
    while running() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert running() == []
