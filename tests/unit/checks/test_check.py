"""The check, on a host below a temporary directory and with a real web server on this machine."""

from __future__ import annotations

import dataclasses
import json
import ssl
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.baikal import config
from baikalctl.checks import check
from baikalctl.commands import apply
from baikalctl.database import postgresql
from baikalctl.desired.state import DesiredState, Mail
from baikalctl.host import maintenance
from baikalctl.host.finding import FAILED, OK, WARNING, Finding
from baikalctl.mail import sendmail
from baikalctl.tls import certificate, selection
from tests.unit.elsewhere import Elsewhere
from tests.unit.relays import Answers, relay, relaying
from tests.unit.samples import VERSION, declared, distrib, installed, release_zip
from tests.unit.serving import Server, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


UNPRIVILEGED = {"services", "permissions"}
"""Subjects that depend on who runs the tests, and on what; the rest of a good host is all well anywhere."""


@pytest.fixture
def server() -> Iterator[Server]:
    """Return a web server that answers as a good Baïkal does."""
    with serving() as running:
        yield running


@pytest.fixture
def it(host: Path, server: Server, release_standing: Path, empty_database: bytes) -> DesiredState:
    """Return what is declared of a host where all is well."""
    assert host.is_dir()
    Path(paths.SQLITE).touch(mode=0o600)
    Path(paths.SQLITE).write_bytes(empty_database)
    (release_standing / "Core/Distrib.php").write_text(distrib(), encoding="utf-8")
    (release_standing / "html").mkdir()
    (release_standing / "html/dav.php").touch(mode=0o644)
    Path(paths.CURRENT).symlink_to(VERSION)
    good = declared(tls="off", http_port=server.port)
    apply.apply(good, lambda _: None)
    return good


def findings(it: DesiredState, *, thorough: bool = False) -> dict[str, list[Finding]]:
    """Return the findings by subject."""
    results: dict[str, list[Finding]] = {}
    for finding in check.run_checks(it, thorough=thorough):
        results.setdefault(finding.subject, []).append(finding)
    return results


def one(it: DesiredState, subject: str, *, thorough: bool = False) -> Finding:
    """Return the only finding about ``subject``."""
    (finding,) = findings(it, thorough=thorough)[subject]
    return finding


def test_a_good_host_is_healthy(it: DesiredState) -> None:
    """Every subject is checked, and all are right."""
    results = findings(it)
    assert set(results) - UNPRIVILEGED == {
        "answer",
        "installer",
        "database",
        "version",
        "disk",
        "backup",
        "mail",
        "declared",
    }
    wrong = [
        str(finding) for name, each in results.items() if name not in UNPRIVILEGED for finding in each if finding.remedy
    ]
    assert wrong == []
    assert one(it, "version").message == f"Baïkal {VERSION}"
    assert one(it, "database").message == "has 0 accounts"
    assert one(it, "mail").message == "is off: no invitations are sent, and clients can see that"


def test_kept_mail_is_reported_even_if_mail_is_off(it: DesiredState) -> None:
    """Otherwise the operator would not see that it was never sent."""
    sendmail.keep(b"To: bob@example.net\r\n\r\n", "it rains")
    finding = one(it, "mail")
    assert (finding.status, finding.message) == (WARNING, "1 message is kept and not sent, the first because it rains")


def test_the_check_sends_requests_without_a_login(it: DesiredState, server: Server) -> None:
    """By the declared name, over loopback, for DAV and for the installer."""
    findings(it)
    assert server.asked == [
        ("PROPFIND", "/dav.php/", "cal.example.org"),
        ("GET", "/admin/install/", "cal.example.org"),
    ]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (200, "for the reason"),
        (302, "for the reason"),
        (502, "PHP is down"),
        (503, "its database is unavailable"),
        (207, "for the reason"),
        (500, "for the reason"),
    ],
)
def test_any_answer_but_401_is_a_failure(it: DesiredState, server: Server, status: int, reason: str) -> None:
    """Baïkal without our prepended file answers 200 without a database, and 302 when its version has drifted."""
    server.statuses["/dav.php/"] = status
    finding = one(it, "answer")
    assert finding.status == FAILED
    assert f"answers an anonymous client with {status}, not 401" in finding.message
    assert reason in finding.remedy
    assert "/var/log/nginx/error.log" in finding.remedy


def test_maintenance_mode_is_reported(it: DesiredState, server: Server) -> None:
    """It differs from an unreachable database; the message names the change that was interrupted."""
    server.statuses["/dav.php/"] = 503
    maintenance.on("upgrade")
    assert "it is in maintenance mode (upgrade)" in one(it, "answer").remedy


@pytest.mark.parametrize("status", [200, 302, 403])
def test_a_reachable_installer_is_a_failure(it: DesiredState, server: Server, status: int) -> None:
    """Only status 404 shows that it is not reachable."""
    server.statuses["/admin/install/"] = status
    finding = one(it, "installer")
    assert finding.status == FAILED
    assert "anyone could take over the server" in finding.message
    assert "block the port" in finding.remedy


def test_an_enabled_installer_is_a_failure(it: DesiredState) -> None:
    """Also while the web server still keeps it out of reach."""
    Path(paths.INSTALL_DISABLED).unlink()
    results = findings(it)["installer"]
    assert [finding.status for finding in results] == [OK, FAILED]
    assert results[1].remedy == "run the deploy"


def test_a_server_that_does_not_answer_is_a_failure(it: DesiredState) -> None:
    """With the address, the reason, and where to look."""
    finding = one(declared(tls="off", http_port=9), "answer")
    assert finding.status == FAILED
    assert "http://cal.example.org:9 can't be reached: " in finding.message
    assert "ss -ltnp" in finding.remedy
    assert it.port != 9


def test_a_server_with_a_base_path_is_asked_there(it: DesiredState, server: Server) -> None:
    """DAV and installer are below it."""
    server.statuses = {"/cal/dav.php/": 401, "/cal/admin/install/": 404}
    assert one(declared(tls="off", http_port=it.port, base_path="/cal"), "answer").status == OK


def make(it: DesiredState) -> None:
    """Have a self-signed certificate serve."""
    for _, act in selection.steps(it):
        act()


def test_a_server_with_tls_is_asked_over_tls(it: DesiredState) -> None:
    """Its self-signed certificate is accepted here, and has its own check."""
    make(declared())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{declared().served}.pem")
    with serving(context) as running:
        secure = declared(https_port=running.port)
        results = findings(secure)
    assert results["answer"][0].status == OK
    assert str(results["certificate"][0]).endswith("self-signed, for cal.example.org, 396 days left")
    assert it.tls == "off"


def test_a_missing_database_is_a_failure(it: DesiredState) -> None:
    """Even if the web server answers."""
    Path(paths.SQLITE).unlink()
    finding = one(it, "database")
    assert finding.status == FAILED
    assert "does not exist" in finding.message


def test_without_data_the_declared_database_server_is_checked(
    it: DesiredState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose database has been away since its first start; or this host's file, until that is moved."""
    monkeypatch.setattr(postgresql, "Postgresql", Elsewhere)
    Path(paths.DATABASE_PASSWORD).write_text("secret\n", encoding="ascii")
    settings = {"database": "pgsql", "database_host": "db.example.org", "database_password": "secret"}
    served = dataclasses.replace(it, database=declared(**settings).database)
    Path(paths.BAIKAL_YAML).unlink()
    finding = one(served, "database")
    assert (finding.status, "elsewhere/baikal.sqlite does not exist" in finding.message) == (FAILED, True)
    Path(paths.BAIKAL_YAML).write_text("database: {backend: sqlite}\n", encoding="utf-8")
    assert one(served, "database").message == "has 0 accounts"


def test_a_damaged_database_is_a_failure(it: DesiredState) -> None:
    """With the remedy."""
    Path(paths.SQLITE).write_bytes(b"no database" * 1000)
    finding = one(it, "database")
    assert finding.status == FAILED
    assert "restore it from a backup" in finding.message


def test_a_database_without_tables_is_a_failure(it: DesiredState) -> None:
    """An empty file is a valid SQLite database, and no Baïkal's."""
    for path in Path(paths.SQLITE).parent.iterdir():
        path.unlink()
    Path(paths.SQLITE).touch()
    finding = one(it, "database")
    assert finding.status == FAILED
    assert "no such table: users" in finding.message


def test_a_thorough_check_reads_the_whole_database(it: DesiredState) -> None:
    """And says so."""
    assert one(it, "database", thorough=True).message == "has 0 accounts and is sound"


def test_an_edited_release_is_a_failure(it: DesiredState, host: Path) -> None:
    """A thorough check finds it, and so does every deploy."""
    installed(release_zip(host / "baikal.zip"))
    assert one(it, "code", thorough=True).status == OK
    (Path(paths.CURRENT) / "html/dav.php").write_text("<?php // edited", encoding="utf-8")
    finding = one(it, "code", thorough=True)
    assert (finding.status, finding.remedy) == (FAILED, "run the deploy")


@pytest.mark.parametrize("what", ["code", "data", "declared", "missing"])
def test_different_versions_are_a_failure(it: DesiredState, release_standing: Path, what: str) -> None:
    """Code, data and declaration must agree; each of the three is named."""
    if what == "code":
        (release_standing / "Core/Distrib.php").write_text(distrib("0.11.1"), encoding="utf-8")
    elif what == "missing":
        Path(paths.CURRENT).unlink()
    elif what == "data":
        configuration = config.read()
        configuration["system"]["configured_version"] = "0.11.1"
        config.write(configuration)
    else:
        it = declare_other(it)
    finding = one(it, "version")
    assert finding.status == FAILED
    assert finding.message.count(VERSION) == 2
    assert finding.message.count("0.11.1" if what != "missing" else "missing") == 1


def declare_other(it: DesiredState) -> DesiredState:
    """Return the same declaration of another release."""
    import dataclasses

    return dataclasses.replace(it, version="0.11.1")


def test_an_unusable_certificate_is_a_failure(it: DesiredState) -> None:
    """For example a missing one; the tests of validity have all cases."""
    own = declared(tls="files", tls_certificate="/not/there.pem", tls_key="/not/there.key", https_port=it.port)
    finding = one(own, "certificate")
    assert (finding.status, finding.remedy) == (FAILED, "run the deploy")
    assert finding.message == f"{own.served}.pem is not there"


def test_a_certificate_that_ends_soon_is_a_warning(it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is time to do something."""
    make(declared())
    monkeypatch.setattr(certificate, "RENEW_DAYS", 397)
    finding = one(declared(https_port=it.port), "certificate")
    assert (finding.status, finding.message) == (WARNING, "it has 396 days left")
    assert finding.remedy == "run the deploy; this creates a new one"


@pytest.mark.parametrize("name", ["CONFIG", "SPECIFIC", "STATE", "TLS"])
def test_data_that_others_can_read_is_a_failure(it: DesiredState, name: str) -> None:
    """Each directory that must be private is checked."""
    path = Path(getattr(paths, name))
    path.chmod(0o755)
    assert f"{path} can be read by other users" in [finding.message for finding in findings(it)["permissions"]]
    path.chmod(0o700)
    assert f"{path} can be read by other users" not in [finding.message for finding in findings(it)["permissions"]]


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_code_that_others_can_change_is_a_failure(it: DesiredState, release_standing: Path, mode: int) -> None:
    """What PHP runs must not be PHP's to write."""
    script = release_standing / "html/dav.php"
    script.chmod(mode)
    messages = [finding.message for finding in findings(it)["permissions"]]
    assert f"{paths.CURRENT}/html/dav.php can be changed by users other than root" in messages


def test_code_that_only_root_can_change_is_ok(it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directories that root owns on every system are accepted."""
    for name in ("CODE", "CURRENT", "LIBRARY"):
        monkeypatch.setattr(paths, name, "/usr")
    assert [str(finding) for finding in check._permissions()] == [
        str(Finding("permissions", OK, "only root can change the code, and other users can't read the data"))
    ]
    assert it.version == VERSION


def test_little_free_disk_space_is_a_warning(it: DesiredState, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before writing fails."""
    assert one(it, "disk").status == OK
    monkeypatch.setattr(check, "LEAST_FREE_MB", 2**40)
    assert one(it, "disk").status == WARNING


def test_a_difference_from_the_settings_is_a_warning(it: DesiredState) -> None:
    """Each step that a deploy would take is named."""
    other = declared(tls="off", http_port=it.port, timezone="Europe/Paris", caldav=False)
    finding = one(other, "declared")
    assert finding.status == WARNING
    assert finding.message == "still to do: set in baikal.yaml: timezone, cal_enabled"
    assert "run the deploy" in finding.remedy


def test_one_failure_hides_no_other(it: DesiredState, server: Server) -> None:
    """If one check fails, the others still run."""
    Path(paths.BAIKAL_YAML).write_text("system: [", encoding="utf-8")
    server.statuses["/dav.php/"] = 500
    results = findings(it)
    failed = {name for name, each in results.items() if FAILED in [finding.status for finding in each]}
    assert {"answer", "version", "declared"} <= failed
    assert results["database"][0].status == OK


def test_a_failed_check_is_repeated_for_a_while(it: DesiredState, server: Server) -> None:
    """A service that was just reloaded needs a moment."""
    server.statuses["/dav.php/"] = 502
    heal = threading.Timer(0.15, server.statuses.update, [{"/dav.php/": 401}])
    heal.start()
    results = {finding.subject: finding for finding in check.run_checks(it, wait_s=5)}
    heal.join()
    assert results["answer"].status == OK


def test_repeated_checks_log_in_to_a_relay_only_once(it: DesiredState, host: Path, tmp_path: Path) -> None:
    """Failed checks are repeated, but a relay locks out a client that repeats a wrong password."""
    assert host.is_dir()
    with relaying(tmp_path, Answers(login="535 no")) as answers:
        wrong = Mail(mode="relay", sender="cal@lab.test", relay=relay(tmp_path, answers.port), selector="")
        results = check.run_checks(dataclasses.replace(it, mail=wrong, version="0.11.1"), wait_s=1)
    assert FAILED in [finding.status for finding in results if finding.subject == "mail"]
    assert answers.heard.count("AUTH") == 1


def test_without_waiting_a_failure_is_reported_at_once(it: DesiredState, server: Server) -> None:
    """A timer that asks every minute wants to know now."""
    server.statuses["/dav.php/"] = 502
    start = time.monotonic()
    assert not check.healthy(check.run_checks(it))
    assert time.monotonic() - start < 2


def test_only_failures_make_a_host_unhealthy() -> None:
    """A warning is for people, not for timers."""
    fine, warned, failed = (Finding("x", status, "y") for status in (OK, WARNING, FAILED))
    assert check.healthy([])
    assert check.healthy([fine, warned])
    assert not check.healthy([fine, failed, fine])


def test_the_report_has_a_line_for_each_finding() -> None:
    """Status, subject, message, and the remedy where there is one."""
    text = check.report([Finding("disk", OK, "fine"), Finding("tls", FAILED, "bad", "fix it")], as_json=False)
    assert [line.split() for line in text.splitlines()] == [
        ["ok", "disk", "fine"],
        ["failed", "tls", "bad;", "fix", "it"],
    ]


def test_the_json_report_has_the_result() -> None:
    """Whether it is healthy, what is pending, and every finding."""
    every = [Finding("declared", WARNING, "still to do: x", "deploy"), Finding("disk", FAILED, "voll: ä")]
    report = json.loads(check.report(every, as_json=True))
    assert report["healthy"] is False
    assert report["pending"] == ["still to do: x"]
    assert report["findings"][1] == {"subject": "disk", "status": "failed", "message": "voll: ä", "remedy": ""}


@pytest.mark.parametrize("due", [True, False])
def test_the_json_report_tells_whether_a_certificate_must_be_requested(*, due: bool) -> None:
    """For any other finding."""
    assert json.loads(check.report([], as_json=True, due=due))["due"] is due


def test_nothing_is_pending_if_the_host_matches_the_settings() -> None:
    """The deploy reads this to know that there is nothing to apply."""
    assert json.loads(check.report([Finding("declared", OK, "x")], as_json=True))["pending"] == []
