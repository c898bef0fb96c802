"""The command line of ``baikalctl``."""

from __future__ import annotations

import argparse
import os
import sys

from baikalctl.declared import Declared
from baikalctl.faults import HostError, SettingsError


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0 done or healthy, 1 it isn't, 2 the call was wrong."""
    parser = argparse.ArgumentParser(
        prog="baikalctl", description="Care for this host's Baïkal; on a machine, as root."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    check = verbs.add_parser("check", help="tell whether everything is well, and what to do where it isn't")
    check.add_argument("--json", action="store_true", help="for machines")
    check.add_argument("--thorough", action="store_true", help="read the whole database as well")
    check.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="give what was just reloaded a moment")
    applying = verbs.add_parser(
        "apply", help="bring certificate, configuration, database and accounts to what is declared"
    )
    applying.add_argument("--plan", action="store_true", help="only say what would be done")
    importing = verbs.add_parser("import", help="take over the data of another installation of Baïkal")
    importing.add_argument("source", help="directory that holds its config/ and Specific/, which is only read")
    importing.add_argument(
        "--replace", action="store_true", help="replace the data that is here, and keep a copy of it"
    )
    verbs.add_parser("certificate", help="make the self-signed certificate, where one is declared and needed")
    releasing = verbs.add_parser("release", help="install a release of Baïkal and make it current")
    releasing.add_argument("version", help="such as 0.12.1")
    releasing.add_argument("archive", help="path or address of its zip")
    releasing.add_argument("--sha256", default="", help="what the zip's checksum must be")
    verbs.add_parser("start", help="become the server that the environment describes: what a container runs")
    verbs.add_parser("health", help="tell in a moment whether calendars work: what a container is probed with")
    verbs.add_parser("settings", help="print every setting, its environment variable, default and meaning")
    chosen = parser.parse_args(arguments)
    try:
        return _run(chosen)
    except HostError as error:
        print(f"baikalctl: {error}", file=sys.stderr)
        return 1
    except SettingsError as error:
        for fault in error.faults:
            print(f"baikalctl: {fault}", file=sys.stderr)
        print(
            "baikalctl: nothing was touched; docs/settings.md, or baikalctl settings, has every setting",
            file=sys.stderr,
        )
        return 2
    except PermissionError as error:
        hint = "" if os.geteuid() == 0 else " (run it as root, for example with sudo)"
        print(f"baikalctl: {error}{hint}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"baikalctl: {error}; run it again when that is mended", file=sys.stderr)
        return 1


def _run(chosen: argparse.Namespace) -> int:
    """Do what was asked; each verb's modules are imported only when it is called, because start-up counts."""
    everywhere = {"release": _release, "settings": _settings, "start": _start, "import": _import}
    if chosen.verb in everywhere:
        return everywhere[chosen.verb](chosen)
    there = {"check": _check, "health": _health, "certificate": _certificate, "apply": _apply}
    return there[chosen.verb](chosen, Declared.on_this_host())


def _settings(_: argparse.Namespace) -> int:
    from baikalctl import reference

    print(reference.markdown(), end="")
    return 0


def _start(_: argparse.Namespace) -> int:
    from baikalctl import start

    start.start(os.environ)


def _health(_: argparse.Namespace, declared: Declared) -> int:
    from baikalctl import health

    return health.probe(declared)


def _check(chosen: argparse.Namespace, declared: Declared) -> int:
    from baikalctl import check

    findings = check.examine(declared, thorough=chosen.thorough, wait_s=chosen.wait)
    print(check.report(findings, as_json=chosen.json))
    return 0 if check.healthy(findings) else 1


def _certificate(_: argparse.Namespace, declared: Declared) -> int:
    from baikalctl import certificate

    if certificate.needed(declared):
        certificate.make_self_signed(declared)
    elif declared.tls == "files":
        certificate.days_left(declared)
    return 0


def _apply(chosen: argparse.Namespace, declared: Declared) -> int:
    from baikalctl import apply

    if chosen.plan:
        print("\n".join(apply.pending(declared)) or "nothing to do")
    else:
        apply.apply(declared)
    return 0


def _import(chosen: argparse.Namespace) -> int:
    from pathlib import Path

    from baikalctl import importing, paths

    try:
        current = Path(paths.CURRENT).readlink().name
    except FileNotFoundError:
        raise HostError("no release of Baïkal is installed here; run the deploy first, then import") from None
    importing.import_(Path(chosen.source), current, replace=chosen.replace, say=print)
    return 0


def _release(chosen: argparse.Namespace) -> int:
    from pathlib import Path

    from baikalctl import paths, release
    from baikalctl.installing import locked

    version, archive, sha256 = chosen.version, chosen.archive, chosen.sha256
    with locked(paths.LOCK if Path(paths.STATE).is_dir() else paths.BAKING_LOCK):
        try:
            source = Path(archive)
            standing = release.standing(version)
            if not standing or standing != sha256:
                if "://" in archive:
                    source = Path(paths.CODE) / f".baikal-{version}.zip"
                    release.download(archive, source)
                release.install(source, version, sha256)
            release.activate(version)
        finally:
            release.clear_leftovers()
    return 0
