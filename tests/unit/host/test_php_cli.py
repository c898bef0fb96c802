"""PHP on the command line: found where distributions have it, and Baïkal's surroundings."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from baikalctl.errors import HostError
from baikalctl.host import php_cli


def test_a_host_without_php_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else happens."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))
    with pytest.raises(HostError, match=r"install php-cli"):
        php_cli.program()


def test_of_several_the_systems_own_is_taken_and_else_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions are compared as numbers."""
    program_path = [Path(f"/usr/bin/php{name}") for name in ("8.9", "8.10", "8.2", "8.2-cgi", "7.4.old")]
    monkeypatch.setattr(Path, "glob", lambda *_: iter(program_path))
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/php")
    assert php_cli.program() == "/usr/bin/php"
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert php_cli.program() == "/usr/bin/php8.10"


def test_baikal_gets_its_folders_and_no_other_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our environment may hold passwords; its paths must end in a slash."""
    monkeypatch.setenv("BAIKAL_ADMIN_PASSWORD", "secret")
    assert php_cli.environment("/data") == {
        "PATH": os.environ["PATH"],
        "TMPDIR": "/data/Specific",
        "BAIKAL_PATH_CONFIG": "/data/config/",
        "BAIKAL_PATH_SPECIFIC": "/data/Specific/",
    }
