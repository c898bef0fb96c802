"""Changed settings, failing checks, and changes by administrators and users, without interruption of service."""

from __future__ import annotations

import hashlib
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.lab.engine import wait_until
from tests.lab.http_request import PASSWORD
from tests.lab.server import REFERENCE, USERS, Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.machine import Machine
    from tests.lab.release import Release


BROKEN = "/etc/nginx/conf.d/somebody-elses.conf"
SITE = "/etc/nginx/conf.d/baikal.conf"
YAML = "/var/lib/baikal/config/baikal.yaml"


@pytest.fixture(scope="module")
def own(boot: Callable[..., Machine], release: Release) -> Server:
    """Return a server for tests that change it; each leaves it healthy and as declared."""
    server = Server(boot("debian:13"), release)
    outcome = server.deploy()
    assert outcome.status == 0, outcome.output
    return server


def test_refused_configuration_keeps_the_old_state_and_fails_every_run(own: Server) -> None:
    """Files, name, certificate and declaration stay; runs fail until it is fixed, then it is applied and loaded."""
    before = own.machine.read(SITE)
    certificate = _served(own)
    wanted = {"upload_limit_mb": 33, "hostname": "other.example.org"}
    own.machine.write(BROKEN, "this is no nginx configuration;\n")
    try:
        for _ in range(2):
            outcome = own.deploy(**wanted)
            assert outcome.status == 1
            assert "nginx refused its new configuration; that of all services was rolled back" in outcome.output
            assert "somebody-elses.conf" in outcome.output
            assert own.machine.read(SITE) == before
            assert own.ask("PROPFIND", "/dav.php/", user="jo").status == 207
            assert own.check()["healthy"]
        own.machine.run(f"mv {BROKEN} /root/ && systemctl restart nginx && mv /root/somebody-elses.conf {BROKEN}")
        assert _served(own) == certificate
        # The lost reload: the declared files are in place, but no check has passed since.
        outcome = own.deploy()
        assert outcome.status == 1, "a failing check must not be forgotten when files and declaration agree again"
        assert own.machine.run("ls -A /etc/nginx/conf.d").split() == ["baikal.conf", "somebody-elses.conf"]
    finally:
        own.machine.run(f"rm -f {BROKEN}")
    assert own.deploy(**wanted).status == 0
    assert "client_max_body_size 33m" in own.machine.run("nginx -T 2>/dev/null")
    assert _served(own) != certificate
    assert own.deploy().status == 0
    left = own.machine.run("ls /var/lib/baikal/tls").split()
    assert left == ["selfsigned-localhost.conf", "selfsigned-localhost.pem"]
    assert own.deploy().changes == 0


def test_occupied_port_is_used_once_it_is_free(own: Server) -> None:
    """Nginx's reload succeeds although the port is in use: the run fails until the other process has ended."""
    own.machine.run("systemd-run --unit=other --quiet python3 -m http.server 8443")
    own.machine.run("for i in $(seq 100); do ss -ltn | grep -q :8443 && exit 0; sleep 0.1; done; exit 1")
    outcome = own.deploy(https_port=8443)
    assert outcome.status == 1
    assert "answer" in outcome.output
    own.machine.run("systemctl stop other")
    assert own.deploy(https_port=8443).status == 0
    assert own.deploy(https_port=8443).changes == 0
    assert own.deploy().status == 0


def test_a_run_repairs_code_and_configuration_that_was_edited(own: Server) -> None:
    """Check finds edited files of the release, and a run repairs them; services that have read one are reloaded.

    Earlier deployed files that are no longer declared are removed; other files stay.
    """
    code = "/opt/baikal/current"
    record = "/var/lib/baikal/state/files.json"
    before = own.machine.snapshot([f"{code}/"])
    own.machine.run(
        f"echo '// hacked' >> {code}/html/dav.php; chmod 666 {code}/html/cal.php; touch {code}/html/shell.php"
    )
    assert "failed   code" in own.machine.run("baikalctl check --thorough || true")
    outcome = own.deploy()
    assert outcome.status == 0, outcome.output
    assert outcome.changes == 1, outcome.changed
    assert own.machine.snapshot([f"{code}/"]) == before
    own.machine.run(f"sed -i 's/return 404;/return 418;/' {SITE} && systemctl reload nginx")
    assert wait_until(lambda: own.ask("GET", "/nothing").status == 418, 5)
    outcome = own.deploy()
    assert outcome.changes == 2, outcome.changed
    assert own.ask("GET", "/nothing").status == 404
    own.machine.write("/etc/nginx/conf.d/baikal-old.conf", "# ours, once\n")
    own.machine.write("/etc/nginx/conf.d/theirs.conf", "# not ours\n")
    own.machine.run(f"""sed -i 's#^\\[#["/etc/nginx/conf.d/baikal-old.conf",#' {record}""")
    assert own.deploy().status == 0
    assert own.machine.run("ls -A /etc/nginx/conf.d").split() == ["baikal.conf", "theirs.conf"]
    own.machine.run("rm /etc/nginx/conf.d/theirs.conf")


def test_undeclared_changes_of_an_administrator_stay(own: Server) -> None:
    """Baïkal's admin pages write the same yaml: undeclared keys stay, declared ones are restored."""
    own.machine.run(
        f"sed -i 's/user %u authentication/%u, authentication/; s/timezone: .*/timezone: Asia\\/Tokyo/' {YAML}"
    )
    outcome = own.deploy()
    assert outcome.changes == 1, outcome.changed
    text = own.machine.read(YAML)
    assert "%u, authentication" in text
    assert "Asia/Tokyo" not in text
    key = next(line for line in text.splitlines() if "encryption_key" in line)
    assert own.deploy(timezone="Europe/Berlin").status == 0
    assert key in own.machine.read(YAML), "the key must never change"
    assert own.deploy().status == 0


def test_a_password_that_its_owner_changed_stays_until_the_declaration_changes(own: Server) -> None:
    """Runs don't reset passwords, a new declaration does; the same holds for the administrator's."""
    digest = hashlib.md5(b"Corey:BaikalDAV:chosen by Corey", usedforsecurity=False).hexdigest()
    own.rows(f"UPDATE users SET digesta1 = '{digest}' WHERE username = 'Corey'")  # noqa: S608 - as the admin pages do
    assert own.deploy().changes == 0
    assert own.ask("PROPFIND", "/dav.php/", user="Corey", password="chosen by Corey").status == 207
    changed = [dict(user, password={"env": "NEW_PASSWORD"}) if user["name"] == "Corey" else user for user in USERS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEW_PASSWORD", "newly declared")
        assert own.deploy(users=changed).status == 0
    assert own.ask("PROPFIND", "/dav.php/", user="Corey", password="newly declared").status == 207
    assert own.deploy().status == 0
    assert own.ask("PROPFIND", "/dav.php/", user="Corey", password=PASSWORD).status == 207


def test_undeclared_accounts_and_calendars_stay(own: Server) -> None:
    """A calendar that a client has created and an account that is no longer declared both stay."""
    own.account().principal().make_calendar(name="Holidays", cal_id="holidays")
    outcome = own.deploy(users=[{**USERS[0], "calendars": [{"name": "default"}]}])
    assert outcome.status == 0, outcome.output
    assert outcome.changes == 1, outcome.changed  # the declared state on the host, and nothing in the database
    assert own.ask("PROPFIND", "/dav.php/calendars/jo/holidays/", user="jo").status == 207
    assert own.ask("PROPFIND", "/dav.php/", user="Corey").status == 207
    assert own.deploy(users=[*USERS[1:], {**USERS[0], "calendars": [{"name": "holidays"}]}]).status == 0
    assert own.deploy().status == 0


def test_account_declared_absent_is_removed_after_a_backup(own: Server) -> None:
    """Removal is explicit and complete, after a backup of the database."""
    assert own.deploy(users=[*USERS, {"name": "leaver", "password": REFERENCE}]).status == 0
    assert own.ask("PROPFIND", "/dav.php/", user="leaver").status == 207
    assert own.deploy(users=[*USERS, {"name": "leaver", "state": "absent"}]).status == 0
    assert own.ask("PROPFIND", "/dav.php/", user="leaver").status == 401
    assert own.rows("SELECT count(*) FROM calendarinstances WHERE principaluri = 'principals/leaver'") == [[0]]
    kept = own.machine.run("ls /var/backups/baikal; stat -c %a /var/backups/baikal/*").split()
    assert len(kept) == 2
    assert kept[1] == "600"
    assert own.deploy(users=[*USERS, {"name": "leaver", "state": "absent"}]).changes == 0
    assert own.deploy().status == 0


def test_tls_off_and_admin_allow_take_effect_and_are_reverted(own: Server) -> None:
    """Port 80 serves; scheme and client address are accepted from a declared proxy only.

    With admin_allow, other clients get 403 on the admin pages, and DAV as before. A run reverts both.
    """
    gateway = own.machine.run("ip route | awk '/default/ {print $3}'").strip()
    claims = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}
    outcome = own.deploy(tls="off")
    assert outcome.status == 0, outcome.output
    assert own.ask("PROPFIND", "/dav.php/", user="jo", port=80).status == 207
    assert own.machine.run("ss -ltnH | awk '{print $4}' | sed 's/.*://' | sort -nu").split() == ["22", "80"]
    assert '<base href="http://' in own.ask("GET", "/", port=80, headers=claims).body
    assert own.deploy(tls="off", trusted_proxies=[gateway]).status == 0
    # A reload is complete when the old workers have ended, shortly after systemctl returns.
    assert wait_until(lambda: '<base href="https://' in own.ask("GET", "/", port=80, headers=claims).body, 5)
    own.ask("PROPFIND", "/dav.php/", user="jo", password="wrong", port=80, headers=claims)
    assert "client: 203.0.113.9" in own.machine.read("/var/log/nginx/error.log")
    assert own.deploy(admin_allow=["192.0.2.0/24"]).status == 0
    assert own.ask("GET", "/admin/").status == 403
    assert own.ask("PROPFIND", "/dav.php/", user="jo").status == 207
    assert own.deploy().status == 0
    assert own.ask("GET", "/admin/").status == 200


def test_an_untuned_database_is_tuned(own: Server) -> None:
    """An imported or upgraded database gets the indexes and the journal mode."""
    own.machine.run("systemctl stop nginx")
    own.rows("DROP INDEX baikalctl_calendarobjects_uri")
    own.rows("PRAGMA journal_mode = DELETE")
    warned = own.check()
    assert any("add indexes and triggers to the database" in finding["message"] for finding in warned["findings"])
    assert own.deploy().status == 0
    assert own.rows("PRAGMA journal_mode") == [["wal"]]
    assert own.deploy().changes == 0


@pytest.mark.parametrize(
    "breakages",
    [
        {
            "services": "systemctl stop php8.4-fpm",
            "permissions": "chmod 755 /var/lib/baikal/config",
            "installer": "rm /var/lib/baikal/Specific/INSTALL_DISABLED",
        },
        {"answer": f"chown root {YAML}"},
        {"version": f"sed -i 's/configured_version: .*/configured_version: 0.9.9/' {YAML}"},
    ],
    ids=["services", "owner", "version"],
)
def test_check_reports_each_damage_with_a_remedy(own: Server, breakages: dict[str, str]) -> None:
    """Each damage is a failed finding with a remedy, and exit status 1; a run repairs all of them."""
    kept = own.machine.run(f"cat {YAML}")
    for subject, command in breakages.items():
        before = {finding["subject"] for finding in own.check()["findings"] if finding["status"] == "failed"}
        assert subject not in before, "an earlier breakage already causes this finding"
        own.machine.run(command)
        report = own.check()
        assert not report["healthy"], command
        failed = [finding for finding in report["findings"] if finding["status"] == "failed"]
        assert subject in {finding["subject"] for finding in failed}, (command, failed)
        assert all(finding["remedy"] or ";" in finding["message"] for finding in failed), failed
    if "version" in breakages:  # a deploy never touches the version of the data
        own.machine.write(YAML, kept)
    outcome = own.deploy()
    assert outcome.status == 0, (breakages, outcome.output)
    assert own.check()["healthy"]


def _served(server: Server) -> str:
    return ssl.get_server_certificate(("127.0.0.1", server.port))
