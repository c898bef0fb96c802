"""The command line of ``baikalctl``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from baikalctl import output
from baikalctl.arguments import parser
from baikalctl.desired.state import DesiredState
from baikalctl.errors import HostError, SettingsError

if TYPE_CHECKING:
    import argparse

    from baikalctl.database.interface import Error


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0 done or healthy, 1 it isn't, 2 the call was wrong."""
    sys.excepthook = output.traceback
    chosen = parser().parse_args(arguments)
    try:
        return _run(chosen)
    except HostError as error:
        output.print_error(str(error))
        return 1
    except SettingsError as error:
        for fault in error.faults:
            output.print_error(str(fault))
        output.print_error("nothing was touched; docs/settings.md, or baikalctl settings, has every setting")
        return 2
    except PermissionError as error:
        hint = "" if os.geteuid() == 0 else " (run it as root, for example with sudo)"
        output.print_error(f"{error}{hint}")
        return 1
    except OSError as error:
        output.print_error(f"{error}; run it again when that is fixed")
        return 1
    except _database_errors() as error:
        output.print_error(_of_database(error))
        return 1


def _database_errors() -> tuple[type[Error], ...]:
    """Return what a database may have raised: nothing where none was in use, and none is imported to know that."""
    database = sys.modules.get("baikalctl.database.interface")
    return (database.Error,) if database else ()


def _of_database(error: Error) -> str:
    """Return what to say of an error that nobody has said more of."""
    from baikalctl.baikal import current_database

    try:
        database = current_database.of(DesiredState.on_this_host())
    except (HostError, OSError):
        return f"the database: {error}; baikalctl check tells more"
    return f"{database}: {error}; {database.remedy(error, 'run again; baikalctl check tells more')}"


def _run(chosen: argparse.Namespace) -> int:
    """Do what was asked; each verb's modules are imported only when it is called, because start-up counts."""
    everywhere = {
        "release": _release,
        "settings": _settings,
        "start": _start,
        "import": _import,
        "sendmail": _sendmail,
        "recover": _recover,
        "restore": _restore,
        "backup": _backup,
    }
    if chosen.verb in ("backup", "database", "import", "restore"):
        _prepare_errand(chosen)
    if chosen.verb in everywhere:
        return everywhere[chosen.verb](chosen)
    if chosen.verb == "mail" and chosen.mail == "take":
        from baikalctl.commands import mail

        return mail.save_queued(output.say)
    other = {
        "check": _check,
        "health": _health,
        "certificate": _certificate,
        "apply": _apply,
        "mail": _mail,
        "database": _database,
    }
    return other[chosen.verb](chosen, DesiredState.on_this_host())


def _prepare_errand(chosen: argparse.Namespace) -> None:
    """Where this is all that a container is for, have it know what its environment declares: some verbs can do without."""
    from baikalctl.host import runtime

    if runtime.in_one_off_container():
        from baikalctl.container import settings_source, start

        start.exit_on_signals()
        needed = chosen.verb == "database" or (chosen.verb == "backup" and chosen.backup != "verify")
        if needed or settings_source.has_settings(os.environ):
            start.prepare_one_off(os.environ)


def _settings(_: argparse.Namespace) -> int:
    from baikalctl.settings import reference

    output.page(reference.markdown().removesuffix("\n"))
    return 0


def _start(_: argparse.Namespace) -> int:
    from baikalctl.container import start

    start.start(os.environ)


def _health(_: argparse.Namespace, declared: DesiredState) -> int:
    from baikalctl.baikal import health

    return health.probe(declared)


def _check(chosen: argparse.Namespace, declared: DesiredState) -> int:
    from baikalctl.checks import check

    findings = check.run_checks(declared, thorough=chosen.thorough, wait_s=chosen.wait)
    output.page(check.report(findings, as_json=chosen.json, due=chosen.json and _may_ask(declared)))
    return 0 if check.healthy(findings) else 1


def _may_ask(declared: DesiredState) -> bool:
    if declared.asking is None:
        return False
    from baikalctl.tls import renewal

    return renewal.may_request(declared)


def _certificate(chosen: argparse.Namespace, declared: DesiredState) -> int:
    from baikalctl.host import atomic_write
    from baikalctl.mail import dkim_key
    from baikalctl.tls import renewal, selection

    if chosen.prepare:  # within a deploy, which holds the lock, and refuses what it can't use
        if declared.tls == "files":
            selection.declared_pair(declared)
        hook = str(declared.settings.get("acme_dns_hook") or "")
        if hook and declared.asking:
            atomic_write.refuse_writable_by_others(hook)
        for steps in (selection.steps, dkim_key.steps):
            for _, act in steps(declared):
                act()
        return 0
    manner = renewal.Options(hurry=chosen.now, anew=chosen.renew, quiet=chosen.quiet or chosen.sleep)
    status = renewal.maintain(declared, output.say, manner)
    if chosen.sleep:
        pause = str(int(renewal.next_check_s(declared)))
        os.execv("/usr/bin/sleep", ["sleep", pause])  # noqa: S606 - no shell is meant
    return status


def _sendmail(chosen: argparse.Namespace) -> int:
    from baikalctl.mail import sendmail

    return sendmail.sendmail(sys.stdin.buffer.read(), chosen.sender)


def _mail(chosen: argparse.Namespace, declared: DesiredState) -> int:
    from baikalctl.commands import mail

    if chosen.mail == "test":
        return mail.test(declared, chosen.address, output.say)
    if chosen.mail == "retry":
        return mail.retry(declared, output.say)
    if chosen.mail == "drop":
        return mail.drop(declared, output.say)
    if chosen.mail == "dns":
        from baikalctl.mail import dns_records

        output.lines(dns_records.lines(declared) or ["mail is off: no record is needed"])
    else:
        output.page(mail.queue(declared))
    return 0


def _backup(chosen: argparse.Namespace) -> int:
    from baikalctl.backup import create, listing

    if chosen.backup == "verify":  # also where nothing was deployed yet
        output.line(listing.verify(chosen.archive, DesiredState.on_this_host))
        return 0
    declared = DesiredState.on_this_host()
    if chosen.backup == "list":
        found = listing.lines(declared, output.print_error)
        output.page(listing.as_json(found) if chosen.json else listing.table(found))
        return 0
    by_clock = chosen.quiet or chosen.sleep
    if not chosen.sleep or create.due(declared):
        made = create.run(
            declared, output.print_error if chosen.json else _nothing if by_clock else output.say, by_clock=by_clock
        )
        if made:
            output.line(create.as_json(made) if chosen.json else create.describe(made))
    if chosen.sleep:
        pause = str(int(create.next_check_s(declared)) + 1)
        os.execv("/usr/bin/sleep", ["sleep", pause])  # noqa: S606 - no shell is meant
    return 0


def _nothing(_: str) -> None:
    pass


def _apply(chosen: argparse.Namespace, declared: DesiredState) -> int:
    from baikalctl.changes.steps import pending
    from baikalctl.commands import apply

    if chosen.plan:
        output.lines(pending(declared) or ["nothing to do"])
    else:
        apply.apply(declared)
    return 0


def _import(chosen: argparse.Namespace) -> int:
    from pathlib import Path

    from baikalctl.baikal import release
    from baikalctl.commands import import_

    current = release.current()
    if not current:
        message = "no release of Baïkal is installed here; run the deploy first, then import"
        raise HostError(message)
    import_.import_(Path(chosen.source), current, replace=chosen.replace, say=output.line)
    return 0


def _recover(chosen: argparse.Namespace) -> int:
    from baikalctl import paths
    from baikalctl.changes import transaction
    from baikalctl.host.install import locked
    from baikalctl.host.lock import hold_lock

    if not chosen.booting:
        with hold_lock(paths.LOCK, output.say):
            transaction.recover(output.say)
        return 0
    with locked(paths.LOCK, patience_s=0) as ours:
        if ours:  # else the process that holds it is starting PHP
            transaction.recover(output.say, booting=chosen.booting)
    return 0


def _restore(chosen: argparse.Namespace) -> int:
    from baikalctl.commands import restore

    restore.restore(chosen.archive, output.say)
    return 0


def _database(_: argparse.Namespace, declared: DesiredState) -> int:
    from baikalctl.commands import apply

    apply.move(declared, output.say)
    return 0


def _release(chosen: argparse.Namespace) -> int:
    from pathlib import Path

    from baikalctl import paths
    from baikalctl.baikal import release
    from baikalctl.host.lock import hold_lock

    version, archive, sha256 = chosen.version, chosen.archive, chosen.sha256
    with hold_lock(paths.LOCK if Path(paths.STATE).is_dir() else paths.BAKING_LOCK, output.say):
        try:
            source = Path(archive)
            standing = release.standing(version)
            if not standing or standing != sha256:
                if "://" in archive:
                    source = Path(paths.CODE) / f".baikal-{version}.zip"
                    release.download(archive, source)
                release.install(source, version, sha256)
            # With data of an older release it becomes current by an upgrade, which is the next step of a deploy.
            if not release.current() or not Path(paths.BAIKAL_YAML).is_file():
                release.activate(version)
        finally:
            release.clear_leftovers()
    return 0
