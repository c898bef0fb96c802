"""The command line of ``baikalctl``."""

from __future__ import annotations

import argparse
import os
import sys

from baikalctl.declared import Declared
from baikalctl.faults import NOT_YET, HostError, SettingsError


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
    caring = verbs.add_parser(
        "certificate",
        help="care for the certificate: take replaced files into service, ask the authority where that is due",
        description="Care for the certificate. A timer calls this every few minutes, and a container as often as needed. "
        f"Ends with status {NOT_YET} where something is left to be tried again.",
    )
    urgency = caring.add_mutually_exclusive_group()
    urgency.add_argument("--now", action="store_true", help="ask again although the next attempt isn't due yet")
    urgency.add_argument("--renew", action="store_true", help="ask for a new one although the present one is good")
    urgency.add_argument(
        "--prepare", action="store_true", help="only see to it that there is one: the deploy's first step"
    )
    urgency.add_argument("--quiet", action="store_true", help="say nothing that was said before: for a timer")
    urgency.add_argument(
        "--sleep", action="store_true", help="--quiet, and wait until it is time again: for a supervisor"
    )
    releasing = verbs.add_parser("release", help="install a release of Baïkal and make it current")
    releasing.add_argument("version", help="such as 0.12.1")
    releasing.add_argument("archive", help="path or address of its zip")
    releasing.add_argument("--sha256", default="", help="what the zip's checksum must be")
    sendmail = verbs.add_parser(
        "sendmail",
        help="send the message on standard input: what PHP calls",
        description="Make right what Baïkal hands over, and put it into this host's queue. What can't be sent is kept.",
    )
    sendmail.add_argument("--from", dest="sender", required=True, metavar="ADDRESS", help="whom it is to come from")
    mailing = verbs.add_parser("mail", help="try the way that invitations take, or look at what waits on it")
    mail = mailing.add_subparsers(dest="mail", required=True, metavar="WHAT")
    mail.add_parser("test", help="send a message, and tell where it got to").add_argument("address")
    mail.add_parser("queue", help="show what waits, and why")
    mail.add_parser("retry", help="try again now, also what was refused or is kept")
    mail.add_parser("drop", help="delete what was refused for good")
    mail.add_parser("dns", help="print the records that the sender's domain should have")
    mail.add_parser("take", help="keep what waits before its mail server goes: the deploy's step")
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
    everywhere = {"release": _release, "settings": _settings, "start": _start, "import": _import, "sendmail": _sendmail}
    if chosen.verb in everywhere:
        return everywhere[chosen.verb](chosen)
    if chosen.verb == "mail" and chosen.mail == "take":
        from baikalctl import mailing

        return mailing.take(_say)
    there = {"check": _check, "health": _health, "certificate": _certificate, "apply": _apply, "mail": _mail}
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
    print(check.report(findings, as_json=chosen.json, due=chosen.json and _may_ask(declared)))
    return 0 if check.healthy(findings) else 1


def _may_ask(declared: Declared) -> bool:
    if declared.asking is None:
        return False
    from baikalctl import renewal

    return renewal.may_ask(declared)


def _certificate(chosen: argparse.Namespace, declared: Declared) -> int:
    from baikalctl import renewal, served, signing

    if chosen.prepare:  # within a deploy, which holds the lock, and refuses what it can't use
        if declared.tls == "files":
            served.given(declared)
        for steps in (served.steps, signing.steps):
            for _, act in steps(declared):
                act()
        return 0
    manner = renewal.Manner(hurry=chosen.now, anew=chosen.renew, quiet=chosen.quiet or chosen.sleep)
    status = renewal.care(declared, _say, manner)
    if chosen.sleep:
        pause = str(int(renewal.next_look_s(declared)))
        os.execv("/usr/bin/sleep", ["sleep", pause])  # noqa: S606 - no shell is meant
    return status


def _sendmail(chosen: argparse.Namespace) -> int:
    from baikalctl import sending

    return sending.sendmail(sys.stdin.buffer.read(), chosen.sender)


def _mail(chosen: argparse.Namespace, declared: Declared) -> int:
    from baikalctl import mailing

    if chosen.mail == "test":
        return mailing.test(declared, chosen.address, _say)
    if chosen.mail == "retry":
        return mailing.retry(declared, _say)
    if chosen.mail == "drop":
        return mailing.drop(declared, _say)
    if chosen.mail == "dns":
        from baikalctl import sender_records

        print("\n".join(sender_records.lines(declared)) or "mail is off: no record is needed")
    else:
        print(mailing.queue(declared))
    return 0


def _say(sentence: str) -> None:
    print(f"baikalctl: {sentence}", flush=True)


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
