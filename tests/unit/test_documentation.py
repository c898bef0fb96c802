"""What is written down is so."""

from __future__ import annotations

import dataclasses
import re
import runpy
import tomllib
from typing import TYPE_CHECKING

import pytest

from baikalctl import paths
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
    from pathlib import Path

GROUP_DATA = HOME / "group_data/all.py"
OF_PYINFRA = {"ssh_paramiko_connect_kwargs", "_timeout"}
"""What group_data says beside our settings."""
PAGES = sorted([*HOME.glob("*.md"), *HOME.glob("docs/*.md")])
TARGETS = re.findall(r"^([a-z-]+):", (HOME / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def text(path: Path) -> str:
    """Return what a file says."""
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
    """Exactly those that there are, so that the file is the manual."""
    names = re.findall(r"^(\w+) = ", text(GROUP_DATA), re.MULTILINE)
    assert [name for name in names if name not in OF_PYINFRA] == list(DEFINITIONS)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_group_data_says_a_settings_default_and_meaning(name: str) -> None:
    """The value is the default, and the comment above it the sentence of the reference."""
    assert runpy.run_path(str(GROUP_DATA))[name] == DEFINITIONS[name].raw_default
    assert comment_above(name) == DEFINITIONS[name].meaning


def test_group_data_has_the_areas_of_the_reference() -> None:
    """A heading for each area, in the same order."""
    areas = list(dict.fromkeys(definition.area.lower() for definition in DEFINITIONS.values()))
    headings = re.findall(r"^# --- (.+)$", text(GROUP_DATA), re.MULTILINE)
    assert [heading.lower() for heading in headings] == [*areas, "pyinfra itself"]


def test_the_reference_is_up_to_date() -> None:
    """``make docs`` would change nothing."""
    assert text(HOME / "docs/settings.md") == markdown()


def _unnumbered(found: re.Match[str]) -> str:
    """Return a folder of a package's without its version, which the templates' folders don't have."""
    return f"/etc/{found[1].partition('/')[0]}/"


def test_every_template_becomes_a_file_or_is_included_by_one() -> None:
    """Templates lie where their files go; one that nothing renders is dead."""
    files = settings(tls="files", tls_certificate="/c.pem", tls_key="/k.pem")
    postfix = dataclasses.replace(settings(), mail="postfix", relay_host="relay", relay_password=Secret("x"))
    wanted = (settings(), files, settings(**LETSENCRYPT), settings(**RELAY), postfix)
    databases = (dataclasses.replace(settings(), database=kind, database_host="local") for kind in ("mysql", "pgsql"))
    platform = dataclasses.replace(PLATFORM, postgresql="15", own_database=True)
    machines = (render(each, platform) for each in (*wanted, *databases))
    sets = (*machines, render_contained(settings(), PLATFORM, REALM), baked())
    written = {
        re.sub("^/etc/(php/8.2|postgresql/15)/", _unnumbered, file.path).replace("php8.2-fpm", "php-fpm")
        for found in sets
        for file in found.files
    }
    written.add(f"{paths.LAID_OUT}/finish")  # every service's
    written |= {f"{paths.TLS}/hsts.conf", f"{paths.TLS}/stapling.conf"}  # into what stands beside a certificate
    templates = {
        f"/{path.relative_to(HOME / 'templates')}" for path in (HOME / "templates").rglob("*") if path.is_file()
    }
    assert templates <= written


def test_every_kind_of_file_that_is_rendered_is_a_template() -> None:
    """All text of ours below /etc, but the declared state, has its template."""
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
def test_what_people_look_for_is_there(name: str) -> None:
    """And isn't empty."""
    assert len(text(HOME / name)) > 200


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(HOME)) for page in PAGES])
def test_every_make_target_in_a_page_exists(page: Path) -> None:
    """Whoever types it gets what the page says."""
    named = re.findall(r"(?:`|^|&& )make ([a-z][a-z-]*)", text(page), re.MULTILINE)
    assert [target for target in named if target not in TARGETS] == []


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(HOME)) for page in PAGES])
def test_every_link_in_a_page_leads_somewhere(page: Path) -> None:
    """To a file of this checkout, and to a heading in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        leads_to = (page.parent / path).resolve() if path else page
        assert leads_to.exists(), target
        assert not anchor or anchor in anchors(leads_to), target


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(HOME)) for page in PAGES])
def test_every_file_named_in_a_page_exists(page: Path) -> None:
    """Files of this checkout that are named in backquotes."""
    rooms = ("baikalctl/", "tasks/", "templates/", "group_data/", "tests/", "docs/", "examples/")
    for name in re.findall(r"`([^`\s]+)`", text(page)):
        if name.startswith(rooms):
            assert list(HOME.glob(name.rstrip("/"))), name


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(HOME)) for page in PAGES])
def test_every_variable_named_in_a_page_exists(page: Path) -> None:
    """Environment variables of ours are spelt as they are read."""
    known = {PREFIX + name.upper() for name in DEFINITIONS} | {f"{PREFIX}{name}" for name in ("ARCHIVE", "PATH_CONFIG")}
    known |= {f"{PREFIX}PATH_SPECIFIC"}
    said = "\n".join(line for line in text(page).splitlines() if "no such setting" not in line)
    for name in re.findall(rf"\b{PREFIX}[A-Z_]+[A-Z]\b", said):
        assert name.removesuffix("_FILE") in known, name


def test_makes_targets_are_declared_and_explained() -> None:
    """Each is phony, or a directory of its name would hide it, and has its line in ``make help``."""
    makefile = text(HOME / "Makefile")
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert set(phony.split()) == set(TARGETS)
    for target in TARGETS:
        assert re.search(rf"^{target}:.*## \S", makefile, re.MULTILINE), target


def test_the_page_on_accounts_has_every_field() -> None:
    """Whatever can be declared of somebody is explained."""
    page = text(HOME / "docs/users.md")
    fields = ("name", "display_name", "email", "password", "calendars", "address_books", "state")
    for word in (*fields, "color", "description", "share", "with", "access", *ACCESS.words, *STATE.words):
        assert re.search(rf"\b{word}\b", page), word


def test_the_changelog_is_kept() -> None:
    """With a heading for what is to come or for the version that is."""
    version = tomllib.loads(text(HOME / "pyproject.toml"))["project"]["version"]
    assert re.search(rf"^## \[?(Unreleased|{re.escape(version)})\]?", text(HOME / "CHANGELOG.md"), re.MULTILINE)


def test_deploy_is_a_table_of_contents() -> None:
    """Whoever opens it understands the whole in a minute."""
    assert len(text(HOME / "deploy.py").splitlines()) <= 40


def test_no_module_is_two_modules() -> None:
    """None is longer than 300 lines."""
    lengths = {
        str(path.relative_to(HOME)): len(text(path).splitlines())
        for folder in ("baikalctl", "tasks")
        for path in (HOME / folder).rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > 300} == {}
