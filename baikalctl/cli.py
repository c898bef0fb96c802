"""The command line of ``baikalctl``."""

from __future__ import annotations

import argparse
import os
import sys

from baikalctl.declared import Declared
from baikalctl.faults import HostError


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0 done or healthy, 1 it isn't, 2 the call was wrong."""
    parser = argparse.ArgumentParser(prog="baikalctl", description="Care for this host's Baïkal. Run it as root.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    check = verbs.add_parser("check", help="tell whether everything is well, and what to do where it isn't")
    check.add_argument("--json", action="store_true", help="for machines")
    check.add_argument("--thorough", action="store_true", help="read the whole database as well")
    check.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="give what was just reloaded a moment")
    applying = verbs.add_parser(
        "apply", help="bring certificate, configuration, database and accounts to what is declared"
    )
    applying.add_argument("--plan", action="store_true", help="only say what would be done")
    verbs.add_parser("certificate", help="make the self-signed certificate, where one is declared and needed")
    releasing = verbs.add_parser("release", help="install a release of Baïkal and make it current")
    releasing.add_argument("version", help="such as 0.12.1")
    releasing.add_argument("archive", help="path or address of its zip")
    releasing.add_argument("--sha256", default="", help="what the zip's checksum must be")
    verbs.add_parser("settings", help="print every setting, its environment variable, default and meaning")
    chosen = parser.parse_args(arguments)
    try:
        return _run(chosen)
    except HostError as error:
        print(f"baikalctl: {error}", file=sys.stderr)
        return 1
    except PermissionError as error:
        hint = "" if os.geteuid() == 0 else " (run it as root, for example with sudo)"
        print(f"baikalctl: {error}{hint}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"baikalctl: {error}; run it again when that is mended", file=sys.stderr)
        return 1


def _run(chosen: argparse.Namespace) -> int:
    """Do what was asked; each verb's modules are imported only when it is called, because start-up counts."""
    if chosen.verb == "release":
        return _release(chosen.version, chosen.archive, chosen.sha256)
    if chosen.verb == "settings":
        from baikalctl import reference

        print(reference.markdown(), end="")
        return 0
    declared = Declared.on_this_host()
    if chosen.verb == "check":
        from baikalctl import check

        findings = check.examine(declared, thorough=chosen.thorough, wait_s=chosen.wait)
        print(check.report(findings, as_json=chosen.json))
        return 0 if check.healthy(findings) else 1
    if chosen.verb == "certificate":
        from baikalctl import certificate

        if certificate.needed(declared):
            certificate.make_self_signed(declared)
        elif declared.tls == "files":
            certificate.days_left(declared)
        return 0
    from baikalctl import apply

    if chosen.plan:
        print("\n".join(apply.pending(declared)) or "nothing to do")
    else:
        apply.apply(declared)
    return 0


def _release(version: str, archive: str, sha256: str) -> int:
    from pathlib import Path

    from baikalctl import paths, release
    from baikalctl.installing import locked

    with locked(paths.LOCK):
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
