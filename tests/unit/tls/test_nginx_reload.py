"""nginx is reloaded only if its files have changed and are valid."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.tls import nginx_reload, selection
from tests.unit.pairs import DNS, issue, pem, put
from tests.unit.samples import declared
from tests.unit.serving import serving

if TYPE_CHECKING:
    import subprocess

    from baikalctl.desired.state import DesiredState

PROGRAM = """\
#!/bin/sh
echo "$(basename $0) $*" >> {host}/called
case "$*" in
is-active*) echo {active} ;;
"-o ready "*) echo {ready} ;;
-t*) echo refused: no such directive >&2; exit {refused} ;;
*) exit {failed} ;;
esac
"""


def programs(host: Path, **changed: object) -> None:
    """Install programs that record how they were called, and answer like this."""
    answers = {"active": "active", "ready": "true", "refused": 0, "failed": 0} | changed
    for name in ("systemctl", "nginx", "s6-svstat", "s6-svc"):
        path = host / "programs" / name
        path.write_text(PROGRAM.format(host=host, **answers), encoding="ascii")
        path.chmod(0o755)


def called(host: Path) -> list[str]:
    """Return how the programs were called since the last call of this function."""
    path = host / "called"
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


@pytest.fixture
def root(host: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a host on which nginx runs and accepts its files."""
    true_run = nginx_reload._run

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        return true_run([word.replace("/usr/sbin/nginx", str(host / "programs/nginx")) for word in command])

    monkeypatch.setattr(nginx_reload, "_run", run)
    monkeypatch.setattr(nginx_reload, "TAKEN_S", 0)
    programs(host)
    Path(paths.SITE).parent.mkdir(parents=True)
    Path(paths.SITE).write_text("server {}\n", encoding="ascii")
    return host


def reload(it: DesiredState) -> tuple[str, list[str]]:
    """Reload; return the refusal and the messages."""
    messages: list[str] = []
    return nginx_reload.reload_if_changed(it, messages.append), messages


def test_changed_files_are_checked_and_nginx_is_reloaded_once(root: Path) -> None:
    """For a change of the pair or of its configuration file."""
    put(selection.serving_pair(declared()), pem(issue(DNS)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(selection.serving_pair(declared()))
    with serving(context) as web:
        it = declared(https_port=web.port)
        for change in ("pem", "conf"):
            assert reload(it) == ("", ["reload nginx"])
            assert called(root) == ["systemctl is-active nginx", "nginx -t -q", "systemctl reload nginx"]
            assert reload(it) == ("", [])
            assert called(root) == ["systemctl is-active nginx"]
            if change == "pem":
                Path(f"{it.served}.conf").write_text("add_header x y;\n", encoding="ascii")


def test_nginx_is_not_reloaded_after_a_stamp(root: Path) -> None:
    """The deploy writes the same stamp (tests/unit/tasks/test_facts.py), so neither reloads after the other."""
    it = declared()
    put(selection.serving_pair(it), pem(issue(DNS)))
    assert root.is_dir()
    nginx_reload.remember(it)
    assert reload(it) == ("", [])


@pytest.mark.parametrize("state", ["inactive", "failed", "activating"])
def test_nginx_is_not_reloaded_if_it_does_not_run(root: Path, state: str) -> None:
    """It reads its files when it starts."""
    programs(root, active=state)
    put(selection.serving_pair(declared()), pem(issue(DNS)))
    assert reload(declared()) == ("", [])
    assert called(root) == ["systemctl is-active nginx"]


def test_files_that_nginx_refuses_are_never_loaded(root: Path) -> None:
    """Each run reports nginx's message until it is fixed."""
    programs(root, refused=1)
    put(selection.serving_pair(declared()), pem(issue(DNS)))
    for _ in range(2):
        refusal, messages = reload(declared())
        assert (
            refusal
            == "nginx refuses its configuration, so the old certificate stays in use: refused: no such directive"
        )
        assert messages == []
        assert called(root) == ["systemctl is-active nginx", "nginx -t -q"]


@pytest.mark.parametrize("failed", [0, 1])
def test_a_reload_without_effect_is_repeated(root: Path, failed: int) -> None:
    """Also a reload that failed."""
    programs(root, failed=failed)
    put(selection.serving_pair(declared()), pem(issue(DNS)))
    it = declared(https_port=9)
    for _ in range(2):
        assert reload(it)[0] == "nginx doesn't serve the new certificate; see its log"
    assert not Path(f"{paths.STAMPS}/nginx").exists()


def test_a_container_uses_its_supervisor(root: Path) -> None:
    """Nginx has another configuration file there, and the stamp doesn't survive a restart."""
    Path(paths.SERVICES).mkdir(parents=True)
    site = Path(f"{paths.RUN}{paths.SITE}")
    site.parent.mkdir(parents=True)
    site.write_text("server { }\n", encoding="ascii")
    pair = put(selection.serving_pair(declared()), pem(issue(DNS)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    with serving(context) as web:
        assert reload(declared(https_port=web.port)) == ("", ["reload nginx"])
    assert called(root) == [
        f"s6-svstat -o ready {paths.SERVICES}/nginx",
        f"nginx -t -q -e stderr -c {paths.RUN}/etc/nginx/nginx.conf",
        f"s6-svc -h {paths.SERVICES}/nginx",
    ]
    read = hashlib.sha256(site.read_bytes() + pair.read_bytes()).hexdigest()
    assert Path(f"{paths.RUN}/nginx.read").read_text(encoding="ascii").strip() == read
    assert not Path(f"{paths.STAMPS}/nginx").exists()


@pytest.mark.parametrize("state", ["false", ""], ids=["not ready", "not supervised"])
def test_nginx_is_not_reloaded_in_a_container_that_is_starting(root: Path, state: str) -> None:
    """The signal would end an nginx that isn't ready yet, and it reads all files anyway."""
    Path(paths.SERVICES).mkdir(parents=True)
    programs(root, ready=state)
    put(selection.serving_pair(declared()), pem(issue(DNS)))
    assert reload(declared()) == ("", [])
    assert called(root) == [f"s6-svstat -o ready {paths.SERVICES}/nginx"]
    assert not Path(f"{paths.RUN}/nginx.read").exists()
