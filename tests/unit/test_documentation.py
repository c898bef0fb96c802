"""The documentation matches the code."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import re
import runpy
import tomllib
import xml.dom.minidom
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
from baikalctl.arguments import parser
from baikalctl.desired.state import REALM
from baikalctl.rendering.container import baked, render_contained
from baikalctl.rendering.machine import render
from baikalctl.settings.environment import PREFIX
from baikalctl.settings.model import DEFINITIONS
from baikalctl.settings.reference import markdown
from baikalctl.settings.secret import Secret
from baikalctl.settings.users import ACCESS, STATE
from tests.unit.samples import HOME, LETSENCRYPT, PLATFORM, RELAY, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GROUP_DATA = HOME / "group_data/all.py"
OF_PYINFRA = {"ssh_paramiko_connect_kwargs", "_timeout"}
"""Data in group_data that is not a setting."""
INTERNAL = {"release", "sendmail"}
"""Commands that the deploy or PHP calls, and operators don't."""
README_WORDS = 900
SCREEN_LINES = 26
PAGES = sorted([*HOME.glob("*.md"), *HOME.glob("docs/*.md")])
each_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(HOME)) for page in PAGES])
TARGETS = re.findall(r"^([a-z-]+):", (HOME / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def text(path: Path) -> str:
    """Return the content of a file."""
    return path.read_text(encoding="utf-8")


def comment_above(name: str) -> str:
    """Return the comment lines directly above a setting in group_data."""
    lines = text(GROUP_DATA).splitlines()
    (number,) = [number for number, line in enumerate(lines) if line.startswith(f"{name} = ")]
    first = number
    while lines[first - 1].startswith("# "):
        first -= 1
    return " ".join(line.removeprefix("# ") for line in lines[first:number])


def anchors(page: Path) -> set[str]:
    """Return the names under which a page's headings can be linked to."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text(page), flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_group_data_has_every_setting_in_order() -> None:
    """No setting is missing and none is unknown, so operators find all of them in this file."""
    names = re.findall(r"^(\w+) = ", text(GROUP_DATA), re.MULTILINE)
    assert [name for name in names if name not in OF_PYINFRA] == list(DEFINITIONS)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_group_data_has_the_default_and_meaning_of_each_setting(name: str) -> None:
    """The value is the default, and the comment above it is the sentence of the reference."""
    assert runpy.run_path(str(GROUP_DATA))[name] == DEFINITIONS[name].raw_default
    assert comment_above(name) == DEFINITIONS[name].meaning


def test_group_data_has_a_heading_for_each_area() -> None:
    """In the order of the reference."""
    areas = list(dict.fromkeys(definition.area.lower() for definition in DEFINITIONS.values()))
    headings = re.findall(r"^# --- (.+)$", text(GROUP_DATA), re.MULTILINE)
    assert [heading.lower() for heading in headings] == [*areas, "pyinfra itself"]


def test_settings_page_is_up_to_date() -> None:
    """``make docs`` would change nothing."""
    assert text(HOME / "docs/settings.md") == markdown()


def _without_version(match: re.Match[str]) -> str:
    """Return a package's folder without its version, which the folders of templates don't have."""
    return f"/etc/{match[1].partition('/')[0]}/"


def test_every_template_becomes_a_file_or_is_included_by_one() -> None:
    """The path of a template is the path of its file. A template that nothing renders is unused."""
    files = settings(tls="files", tls_certificate="/c.pem", tls_key="/k.pem")
    postfix = dataclasses.replace(settings(), mail="postfix", relay_host="relay", relay_password=Secret("x"))
    wanted = (settings(), files, settings(**LETSENCRYPT), settings(**RELAY), postfix)
    databases = (dataclasses.replace(settings(), database=kind, database_host="local") for kind in ("mysql", "pgsql"))
    platform = dataclasses.replace(PLATFORM, postgresql="15", own_database=True)
    machines = (render(each, platform) for each in (*wanted, *databases))
    sets = (*machines, render_contained(settings(), PLATFORM, REALM), baked())
    written = {
        re.sub("^/etc/(php/8.2|postgresql/15)/", _without_version, file.path).replace("php8.2-fpm", "php-fpm")
        for rendered in sets
        for file in rendered.files
    }
    written.add(f"{paths.LAID_OUT}/finish")  # of every service
    written |= {f"{paths.TLS}/hsts.conf", f"{paths.TLS}/stapling.conf"}  # included in the file of each certificate
    templates = {
        f"/{path.relative_to(HOME / 'templates')}" for path in (HOME / "templates").rglob("*") if path.is_file()
    }
    assert templates <= written


def test_every_rendered_file_has_a_template() -> None:
    """All files below /etc, except the declared state."""
    written = {
        file.path.replace("/etc/php/8.2/", "/etc/php/").replace("php8.2-fpm", "php-fpm")
        for file in render(settings(), PLATFORM).files
    }
    ours = {path for path in written if path.startswith("/etc/")} - {paths.DECLARED}
    assert ours
    for path in ours:
        assert (HOME / "templates" / path[1:]).is_file()


@pytest.mark.parametrize(
    "name", ["LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/security.md"]
)
def test_usual_pages_exist(name: str) -> None:
    """They have content."""
    assert len(text(HOME / name)) > 200


@each_page
def test_every_make_target_in_a_page_exists(page: Path) -> None:
    """The Makefile has each target that a page names."""
    named = re.findall(r"(?:`|^|&& )make ([a-z][a-z-]*)", text(page), re.MULTILINE)
    assert [target for target in named if target not in TARGETS] == []


@each_page
def test_every_link_in_a_page_has_a_target(page: Path) -> None:
    """The target is a file of this checkout, and a heading in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        leads_to = (page.parent / path).resolve() if path else page
        assert leads_to.exists(), target
        assert not anchor or anchor in anchors(leads_to), target


@each_page
def test_every_file_named_in_a_page_exists(page: Path) -> None:
    """Files of this checkout that are named in backquotes."""
    folders = ("baikalctl/", "tasks/", "templates/", "group_data/", "tests/", "docs/", "examples/")
    for name in re.findall(r"`([^`\s]+)`", text(page)):
        if name.startswith(folders):
            assert list(HOME.glob(name.rstrip("/"))), name


@each_page
def test_every_variable_named_in_a_page_exists(page: Path) -> None:
    """Environment variables are spelled as they are read."""
    known = {PREFIX + name.upper() for name in DEFINITIONS} | {f"{PREFIX}{name}" for name in ("ARCHIVE", "PATH_CONFIG")}
    known |= {f"{PREFIX}PATH_SPECIFIC"}
    lines = "\n".join(line for line in text(page).splitlines() if "no such setting" not in line)
    for name in re.findall(rf"\b{PREFIX}[A-Z_]+[A-Z]\b", lines):
        assert name.removesuffix("_FILE") in known, name


def test_make_targets_are_phony_and_explained() -> None:
    """A directory with the name of a target would hide it otherwise. Each has a line in ``make help``."""
    makefile = text(HOME / "Makefile")
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert set(phony.split()) == set(TARGETS)
    for target in TARGETS:
        assert re.search(rf"^{target}:.*## \S", makefile, re.MULTILINE), target


def test_users_page_has_every_field() -> None:
    """All fields of an account, a calendar and a share, with their values."""
    page = text(HOME / "docs/users.md")
    fields = ("name", "display_name", "email", "password", "calendars", "address_books", "state")
    for word in (*fields, "color", "description", "share", "with", "access", *ACCESS.words, *STATE.words):
        assert re.search(rf"\b{word}\b", page), word


def _subjects() -> Iterator[str]:
    """Yield the subject of each finding of ``baikalctl check``: the first argument of Finding, or the module's SUBJECT."""
    for path in (HOME / "baikalctl").rglob("*.py"):
        tree = ast.parse(text(path))
        constants = {
            node.targets[0].id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "Finding"
                and node.args
            ):
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    yield str(first.value)
                elif isinstance(first, ast.Name) and first.id in constants:
                    yield str(constants[first.id])


def test_troubleshooting_has_every_subject_of_a_finding() -> None:
    """An operator finds the section for each line of ``baikalctl check``."""
    page = text(HOME / "docs/troubleshooting.md")
    named = {name for row in re.findall(r"^\| (`.+?) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    subjects = set(_subjects())
    assert {"services", "answer", "certificate", "mail", "backup"} <= subjects
    assert subjects == named


def test_reference_has_every_command() -> None:
    """All commands of baikalctl, except internal ones."""
    page = text(HOME / "docs/reference.md")
    (commands,) = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    for name in set(commands.choices) - INTERNAL:
        assert re.search(rf"^\| `baikalctl {name}\b", page, re.MULTILINE), name


def test_readme_fits_a_minute() -> None:
    """At most 900 words, with ``make demo`` and ``make test`` as its first commands."""
    page = text(HOME / "README.md")
    assert len(page.split()) <= README_WORDS
    (first, *_) = re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert first.split("\n")[:2] == ["make demo", "make test"]


@pytest.mark.parametrize("heading", ["Quick start: a machine", "Quick start: Docker"])
def test_quick_start_fits_a_screen(heading: str) -> None:
    """At most as many lines, with the text around the commands, as a terminal shows."""
    page = text(HOME / "README.md")
    section = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    assert 5 < len([line for line in section.splitlines() if line.strip()]) <= SCREEN_LINES


def test_picture_is_readable_in_light_and_dark_mode() -> None:
    """It is well-formed, has a background, and other colours where the reader prefers dark pages."""
    picture = HOME / "docs/architecture.svg"
    root = xml.dom.minidom.parse(str(picture)).documentElement  # noqa: S318 - our own file
    assert root is not None
    assert root.tagName == "svg"
    assert "prefers-color-scheme: dark" in text(picture)
    assert 'class="page"' in text(picture)
    assert "](docs/architecture.svg)" in text(HOME / "README.md")


def test_changelog_has_the_current_version() -> None:
    """Or a heading for unreleased changes."""
    version = tomllib.loads(text(HOME / "pyproject.toml"))["project"]["version"]
    assert re.search(rf"^## \[?(Unreleased|{re.escape(version)})\]?", text(HOME / "CHANGELOG.md"), re.MULTILINE)


def test_deploy_is_short() -> None:
    """At most 40 lines, so that a reader understands the whole in a minute."""
    assert len(text(HOME / "deploy.py").splitlines()) <= 40


def test_modules_are_short() -> None:
    """At most 300 lines."""
    lengths = {
        str(path.relative_to(HOME)): len(text(path).splitlines())
        for folder in ("baikalctl", "tasks")
        for path in (HOME / folder).rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > 300} == {}
