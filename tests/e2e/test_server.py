"""The deployed server, as seen by clients, anonymous users and attackers."""

from __future__ import annotations

import concurrent.futures
import datetime as dt
import re
from typing import TYPE_CHECKING

import pytest

from tests.lab.clients import CARD, EVENT
from tests.lab.errors import LabError
from tests.lab.fastcgi import ask_php
from tests.lab.http_request import HOSTNAME, PASSWORD

if TYPE_CHECKING:
    from tests.lab.server import Server

SECRET_FOLDERS = (
    "config",
    "Specific",
    "Core",
    "vendor",
    "config/baikal.yaml",
    "Specific/db/db.sqlite",
    ".htaccess",
    ".git",
)
SPELLINGS = (
    "/{}",
    "/{}/",
    "//{}",
    "/./{}",
    "/res/../../{}",
    "/res/..%2f..%2f{}",
    "/%2e%2e/{}",
    "/..%2f{}",
    "/admin/../../{}",
    "/dav.php/../../{}",
    "/dav.php/..%2f..%2f{}",
    "/res//{}",
    "/res/%2e%2e/%2e%2e/{}",
    "/{}?x=dav.php",
    "/{}/dav.php",
    "/{}%00.css",
    "/{};dav.php",
)
INSTALLER = (
    "/admin/install/",
    "/admin/install",
    "/admin/install/index.php",
    "/admin//install/",
    "/admin/./install/",
    "/admin/install/?upgradeConfirmed=1",
    "/admin/%69nstall/",
    "/ADMIN/install/",
    "/admin/install/index.php/x",
    "/admin/index.php/../install/index.php",
    "//admin/install/",
    "/res/../admin/install/",
)


def test_a_calendar_client_finds_its_calendars_and_does_a_round_trip(server: Server) -> None:
    """Discovery from /dav.php/; then an event is written, found by time and deleted."""
    calendar = server.account().calendar("work")
    assert calendar.get_display_name() == "Arbeit für alle"
    calendar.save_event(EVENT.format(uid="round-trip", summary="Prüfung 🎉"))
    events = calendar.search(
        start=dt.datetime(2026, 6, 1, tzinfo=dt.UTC),
        end=dt.datetime(2026, 6, 2, tzinfo=dt.UTC),
        event=True,
        expand=False,
    )
    assert [event.icalendar_component["SUMMARY"] for event in events] == ["Prüfung 🎉"]
    events[0].delete()
    assert not [event for event in calendar.events() if "round-trip" in event.data]


def test_an_address_book_client_synchronises_contacts(server: Server) -> None:
    """With vdirsyncer, a contact that is stored from one folder arrives in another."""
    assert "FN:Zoë Groß" in server.account().round_trip_contact("Zoë Groß")


@pytest.mark.parametrize(
    "path",
    [
        "/dav.php/calendars/Corey/default/a.ics",
        "/dav.php/calendars/a.b%40example.org/default/x.ics",
        "/dav.php/calendars/jo/default/x.php.ics",
        "/dav.php/calendars/jo/default/config-review.ics",
        "/dav.php/calendars/jo/M%C3%BCll-Kalender/Gr%C3%B6%C3%9Fe.ics",
        "/cal.php/calendars/jo/default/via-cal.ics",
    ],
)
def test_unusual_names_of_users_and_objects_work(server: Server, path: str) -> None:
    """Users called Corey, objects called x.php.ics, and umlauts are written, read and deleted."""
    user = path.split("/")[3].replace("%40", "@")
    uid = re.sub(r"\W", "", path)
    body = EVENT.format(uid=uid, summary="x").replace("\n", "\r\n")
    stored = server.ask("PUT", path, user=user, body=body, headers={"Content-Type": "text/calendar"})
    assert stored.status == 201, stored.body
    assert uid in server.ask("GET", path, user=user).body
    assert server.ask("DELETE", path, user=user).status == 204


def test_read_only_share_is_visible_and_not_writable(server: Server) -> None:
    """Corey reads jo's calendar; a.b@example.org also writes the other one."""
    body = EVENT.format(uid="shared", summary="shared").replace("\n", "\r\n")
    type_ = {"Content-Type": "text/calendar"}
    assert server.ask("PUT", "/dav.php/calendars/jo/work/s.ics", user="jo", body=body, headers=type_).status == 201
    assert "shared" in server.ask("GET", "/dav.php/calendars/Corey/jo-work/s.ics", user="Corey").body
    refused = server.ask("PUT", "/dav.php/calendars/Corey/jo-work/s.ics", user="Corey", body=body, headers=type_)
    assert refused.status == 403
    writable = "/dav.php/calendars/a.b%40example.org/jo-M%C3%BCll-Kalender/w.ics"
    assert server.ask("PUT", writable, user="a.b@example.org", body=body, headers=type_).status == 201
    assert "shared" in server.ask("GET", "/dav.php/calendars/jo/M%C3%BCll-Kalender/w.ics", user="jo").body
    for href in ("/dav.php/calendars/jo/work/s.ics", "/dav.php/calendars/jo/M%C3%BCll-Kalender/w.ics"):
        assert server.ask("DELETE", href, user="jo").status == 204


def test_anonymous_requests_and_wrong_passwords_get_401(server: Server) -> None:
    """A failed login is in the log, with the client's address, for fail2ban."""
    assert server.ask("PROPFIND", "/dav.php/").status == 401
    assert server.ask("PROPFIND", "/dav.php/calendars/jo/", user="jo", password="wrong").status == 401
    log = server.machine.read("/var/log/nginx/error.log")
    failures = [line for line in log.splitlines() if "authentication failure" in line]
    assert failures
    assert re.search(r"client: \d+\.\d+\.\d+\.\d+", failures[-1])


@pytest.mark.parametrize(
    "path",
    ["/dav.php%2f", "/cal.php%2F", "/card.php%2fprincipals/", "/dav.php?x", "///dav.php/", "/d%61v.php%2f"],
)
def test_no_anonymous_request_is_a_server_error(server: Server, path: str) -> None:
    """Addresses that aren't sabre/dav's are 404 in every spelling, without a line in the error log."""
    for method in ("GET", "PROPFIND", "POST"):
        assert server.ask(method, path).status == 404, (method, path)


def test_encoded_slashes_in_names_are_accepted(server: Server) -> None:
    """A client may encode the slashes below dav.php."""
    type_ = {"Content-Type": "text/calendar"}
    body = EVENT.format(uid="encoded", summary="x").replace("\n", "\r\n")
    path = "/dav.php/calendars%2fjo%2Fdefault/encoded.ics"
    assert server.ask("PUT", path, user="jo", body=body, headers=type_).status == 201
    assert server.ask("DELETE", "//dav.php/calendars/jo/default/encoded.ics", user="jo").status == 204


def test_anonymous_answers_contain_no_version_of_software(server: Server) -> None:
    """Neither in headers nor in errors of sabre/dav, PHP and nginx."""
    for path in ("/dav.php/", "/cal.php/", "/card.php/", "/", "/admin/", "/nothing", "/dav.php/%00", "/res/none.css"):
        for method in ("PROPFIND", "GET"):
            answer = server.ask(method, path)
            assert not {"x-sabre-version", "x-powered-by"} & set(answer.headers), path
            assert answer.headers.get("server") == "nginx", path
            assert "sabredav-version" not in answer.body, path
            assert not re.search(r"nginx/\d|PHP/\d", answer.body), path
    failed = server.ask("PROPFIND", "/dav.php/calendars/jo/none/", user="jo")
    assert (failed.status, "sabredav-version" in failed.body) == (404, False)
    assert "x-sabre-version" not in failed.headers


NEW_CALENDAR = (
    "sabreAction=mkcol&name=forged&%7BDAV%3A%7Ddisplayname=x"
    "&resourceType=%7BDAV%3A%7Dcollection%2C%7Burn%3Aietf%3Aparams%3Axml%3Ans%3Acaldav%7Dcalendar"
)


def test_cross_site_request_with_saved_password_changes_nothing(server: Server) -> None:
    """Neither a form for sabre/dav's own pages nor any other cross-site request of a browser."""
    forms = (
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "text/plain;charset=UTF-8"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "text/calendar", "Sec-Fetch-Site": "cross-site"},
    )
    for headers in forms:
        for script in ("dav", "cal"):
            path = f"/{script}.php/calendars/jo/"
            assert server.ask("POST", path, user="jo", body=NEW_CALENDAR, headers=headers).status == 403, headers
    assert server.rows("SELECT count(*) FROM calendarinstances WHERE uri = 'forged'") == [[0]]
    body = EVENT.format(uid="sites", summary="x").replace("\n", "\r\n")
    href, type_ = "/dav.php/calendars/jo/default/sites.ics", {"Content-Type": "text/calendar"}
    other = {"Sec-Fetch-Site": "cross-site"}
    assert server.ask("PUT", href, user="jo", body=body, headers=type_ | other).status == 403
    assert server.ask("PUT", href, user="jo", body=body, headers=type_ | {"Sec-Fetch-Site": "same-site"}).status == 201
    assert server.ask("DELETE", href, user="jo", headers=other).status == 403
    assert server.ask("GET", href, user="jo", headers=other).status == 200
    assert server.ask("DELETE", href, user="jo").status == 204


def test_post_for_free_busy_time_works(server: Server) -> None:
    """A POST of text/calendar to the outbox (RFC 6638, section 3.2)."""
    lines = (
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//x//x",
        "METHOD:REQUEST",
        "BEGIN:VFREEBUSY",
        "UID:free",
        "DTSTAMP:20260101T000000Z",
        "DTSTART:20260601T000000Z",
        "DTEND:20260602T000000Z",
        "ORGANIZER:mailto:jo@example.org",
        "ATTENDEE:mailto:jo@example.org",
        "END:VFREEBUSY",
        "END:VCALENDAR",
        "",
    )
    headers = {"Content-Type": "text/calendar; charset=utf-8", "Originator": "mailto:jo@example.org"}
    answer = server.ask("POST", "/dav.php/calendars/jo/outbox/", user="jo", body="\r\n".join(lines), headers=headers)
    assert answer.status == 200, answer.body
    assert "BEGIN:VFREEBUSY" in answer.body


@pytest.mark.parametrize("path", ["/.well-known/caldav", "/.well-known/carddav", "/.well-known/caldav/"])
def test_discovery_redirects_relatively(server: Server, path: str) -> None:
    """RFC 6764: the redirect is relative, so it is right for every port and proxy."""
    for method in ("GET", "PROPFIND"):
        answer = server.ask(method, path)
        assert (answer.status, answer.headers["location"]) == (308, "/dav.php/")


def test_propfind_of_apple_on_the_root_is_redirected_to_dav(server: Server) -> None:
    """PROPFIND on / is redirected; a browser gets the page that Baïkal is running."""
    answer = server.ask("PROPFIND", "/")
    assert (answer.status, answer.headers["location"]) == (308, "/dav.php/")
    page = server.ask("GET", "/")
    assert page.status == 200
    assert "Ba" in page.body


def test_plain_http_is_redirected_to_https(server: Server) -> None:
    """Port 80 redirects everything to the declared name, not to that of the request."""
    answer = server.ask("GET", "/dav.php/?x=1", port=80, headers={"Host": "evil.example"})
    assert (answer.status, answer.headers["location"]) == (308, f"https://{HOSTNAME}/dav.php/?x=1")


@pytest.mark.parametrize("folder", SECRET_FOLDERS)
def test_only_the_document_root_is_served_in_any_spelling(server: Server, folder: str) -> None:
    """Configuration, data, code and dot files are 404 (400 if the address is malformed)."""
    names = {folder, folder.upper(), folder.lower(), folder.replace("o", "%6f", 1)}
    for spelling in SPELLINGS:
        for name in names:
            path = spelling.format(name)
            answer = server.ask("GET", path)
            # Below dav.php it is DAV's name space, and anonymous requests get 401.
            expected = (401, 404, 400) if "dav.php/.." in path else (404, 400)
            assert answer.status in expected, (path, answer.status)
            assert "sqlite_file" not in answer.body


@pytest.mark.parametrize("path", INSTALLER)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_installer_is_not_reachable(server: Server, path: str, method: str) -> None:
    """Anyone who reaches it could take over the server."""
    assert server.ask(method, path, body="x=1" if method == "POST" else "").status == 404


def test_admin_page_is_served(server: Server) -> None:
    """The login form and its style sheets are served."""
    page = server.ask("GET", "/admin/")
    assert page.status == 200
    assert 'type="password"' in page.body
    assert server.ask("GET", "/admin").headers["location"] == "/admin/"


def test_admin_cookie_is_limited_to_host_and_tls_and_changes_at_login(server: Server) -> None:
    """The cookie's prefix requires it of browsers; an ID from before the login is worthless."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    login = f"auth=1&login=admin&password={PASSWORD.replace(' ', '+')}"
    before, *attributes = server.ask("GET", "/admin/").headers["set-cookie"].split("; ")
    assert before.startswith("__Host-baikal=")
    assert {one.lower() for one in attributes} == {"path=/", "secure", "httponly", "samesite=lax"}
    wrong = server.ask("POST", "/admin/", body=f"{login}x", headers=form | {"Cookie": before})
    assert (wrong.status, "set-cookie" in wrong.headers) == (200, False)
    done = server.ask("POST", "/admin/", body=login, headers=form | {"Cookie": before})
    assert (done.status, done.headers["location"]) == (302, "/admin/")
    after, *attributes = done.headers["set-cookie"].split("; ")
    assert after.startswith("__Host-baikal=")
    assert after != before
    assert {one.lower() for one in attributes} == {"path=/", "secure", "httponly", "samesite=lax"}
    assert 'type="password"' not in server.ask("GET", "/admin/", headers={"Cookie": after}).body
    assert 'type="password"' in server.ask("GET", "/admin/", headers={"Cookie": before}).body


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"X-Forwarded-Proto": "javascript"},
        {"X-Forwarded-Proto": "https, https"},
        {"X-Forwarded-Host": "evil.example"},
        {"Host": f"{HOSTNAME}.evil.example"},
        {"Host": f"evil.example:{HOSTNAME}"},
    ],
)
def test_addresses_in_pages_ignore_headers_of_clients(server: Server, headers: dict[str, str]) -> None:
    """Baïkal builds them from Host and X-Forwarded-Proto; clients can choose neither."""
    for path in ("/", "/admin/"):
        page = server.ask("GET", path, headers=headers)
        if page.status == 400:
            continue  # nginx itself refuses a malformed Host
        base = re.search(r'<base href="([^"]*)"', page.body)
        assert base, page.body[:400]
        assert re.match(rf"https://{HOSTNAME}(:\d+)?/", base[1]), base[1]
        assert "evil" not in page.body


def test_dav_clients_leave_no_session_files(server: Server) -> None:
    """Twenty requests without a cookie create no file and set no cookie."""
    for _ in range(20):
        answer = server.ask("PROPFIND", "/dav.php/calendars/jo/", user="jo", headers={"Depth": "0"})
        assert answer.status == 207
        assert "set-cookie" not in answer.headers
    before = server.machine.run("ls /var/lib/baikal/sessions /var/lib/php/sessions 2>/dev/null | grep -c sess_ || true")
    server.ask("GET", "/admin/")
    after = server.machine.run("ls /var/lib/baikal/sessions /var/lib/php/sessions 2>/dev/null | grep -c sess_ || true")
    assert (int(after) - int(before)) == 1, "the admin page keeps its session"


def test_client_with_cookies_gets_concurrent_answers(server: Server) -> None:
    """A session file would be locked during a request; DAV has none."""
    cookie = {"Cookie": "__Host-baikal=0123456789abcdef0123456789; PHPSESSID=0123456789abcdef0123456789", "Depth": "0"}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: server.ask("PROPFIND", "/dav.php/", user="jo", headers=cookie).status, range(16))
        )
    assert answers == [207] * 16


def test_large_objects_are_accepted(server: Server) -> None:
    """A contact with a big photo, above the defaults of web servers and PHP."""
    photo = "PHOTO;ENCODING=b;TYPE=JPEG:" + "\r\n ".join("A" * 72 for _ in range(60_000))
    card = CARD.format(uid="big", name="Big").replace("END:VCARD", f"{photo}\r\nEND:VCARD")
    href = "/dav.php/addressbooks/jo/default/big.vcf"
    stored = server.ask("PUT", href, user="jo", body=card, headers={"Content-Type": "text/vcard"})
    assert stored.status == 201, stored.body[:300]
    assert server.ask("DELETE", href, user="jo").status == 204


def test_database_has_indexes_and_write_ahead_log(server: Server) -> None:
    """It has the indexes that Baïkal's schema lacks, and the write-ahead log."""
    indexes = {name for (name,) in server.rows("SELECT name FROM sqlite_master WHERE type = 'index'")}
    assert {"baikalctl_calendarobjects_uri", "baikalctl_cards_uri"} <= indexes
    assert server.rows("PRAGMA journal_mode") == [["wal"]]
    plan = server.rows("EXPLAIN QUERY PLAN SELECT * FROM calendarobjects WHERE calendarid = 1 AND uri = 2")
    assert "baikalctl_calendarobjects_uri" in str(plan)


def test_php_has_its_own_pool_with_jit(server: Server) -> None:
    """As many workers as cores (at least two), under an account that owns no code."""
    processes = server.machine.run("ps -eo user:20,args | grep -c '^baikal .*pool baikal' || true")
    cores = int(server.machine.run("nproc"))
    assert int(processes) == max(2, min(2 * cores, 12))
    output = server.machine.run("$(ls /usr/sbin/php-fpm*) -i")
    assert "opcache.jit => tracing" in output
    assert "opcache.enable_file_override => On" in output
    assert server.machine.run("find /opt/baikal -user baikal -o -perm /022 ! -type l") == ""


PROGRAMS = [
    "exec",
    "passthru",
    "shell_exec",
    "system",
    "proc_open",
    "popen",
    "pcntl_exec",
    "pcntl_fork",
    "dl",
    "putenv",
]


def test_php_starts_no_other_program(server: Server) -> None:
    """PHP code of an attacker can't start a shell; FastCGI parameters can't enable it either."""
    script = "/var/lib/baikal/Specific/probe.php"
    names = ", ".join(f"'{name}'" for name in PROGRAMS)
    server.machine.write(
        script, f"<?php echo 'has ', implode(' ', array_filter([{names}, 'mail'], 'function_exists'));"
    )
    try:
        for parameters in ({}, {"PHP_ADMIN_VALUE": "disable_functions="}, {"PHP_VALUE": "disable_functions="}):
            answer = ask_php(server.machine, script, "www-data", **parameters)
            assert answer.endswith("has mail"), answer
    finally:
        server.machine.run(f"rm {script}; systemctl restart $(basename -s .pid /run/php/php*-fpm.pid)")


@pytest.mark.parametrize("account", ["nobody", "baikal"])
def test_only_the_web_server_can_talk_to_php(server: Server, account: str) -> None:
    """The socket belongs to its account only; even PHP can't use it."""
    with pytest.raises(LabError, match="PermissionError"):
        ask_php(server.machine, "/opt/baikal/current/html/index.php", account)


def test_only_the_web_server_and_ssh_listen(server: Server) -> None:
    """No deployed service opens an undeclared port."""
    listening = server.machine.run("ss -ltnH | awk '{print $4}' | sed 's/.*://' | sort -nu").split()
    assert listening == ["22", "80", "443"]


def test_check_reports_a_healthy_server_in_text_and_json(server: Server) -> None:
    """Both reports are without a failed finding, and the exit status is 0."""
    text = server.machine.run("baikalctl check")
    assert all(line.startswith("ok ") for line in text.splitlines()), text
    assert server.check()["healthy"] is True
    assert "sound" in server.machine.run("baikalctl check --thorough")


def test_administrator_has_the_declared_password(server: Server) -> None:
    """Its hash by Baïkal is in baikal.yaml, and the password itself is not."""
    yaml = server.machine.read("/var/lib/baikal/config/baikal.yaml")
    program = f"import hashlib; print(hashlib.sha256(b'admin:BaikalDAV:{PASSWORD}').hexdigest())"
    assert server.machine.run(f'python3 -c "{program}"').strip() in yaml
    assert PASSWORD not in yaml
