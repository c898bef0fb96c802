"""The command line of ``baikalctl``: its commands with their options, and the module that runs each."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NoReturn

from baikalctl.errors import NOT_YET
from baikalctl.output import escaped

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction["Parser"]  # noqa: SLF001 - the type of what it returns has no other name


class Parser(argparse.ArgumentParser):
    """A parser that repeats arguments on a terminal only when they are escaped."""

    def error(self, message: str) -> NoReturn:
        """Print usage and ``message``, and exit with status 2."""
        super().error(escaped(message))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line.

    It sets ``module``, whose ``run`` is the command, and ``needs_state``: whether the command is refused on a host that
    has no readable ``declared.json``.
    """
    everything = Parser(prog="baikalctl", description="Care for this host's Baïkal; on a machine, as root.")
    everything.set_defaults(needs_state=False)
    verbs = everything.add_subparsers(dest="verb", required=True, metavar="VERB")
    check = verbs.add_parser("check", help="tell whether everything is well, and what to do where it isn't")
    check.set_defaults(module="baikalctl.checks.check", needs_state=True)
    check.add_argument("--json", action="store_true", help="for machines")
    check.add_argument("--thorough", action="store_true", help="read the whole database as well")
    check.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="give what was just reloaded a moment")
    applying = verbs.add_parser(
        "apply", help="bring certificate, configuration, database and accounts to what is declared"
    )
    applying.set_defaults(module="baikalctl.commands.apply", needs_state=True)
    applying.add_argument("--plan", action="store_true", help="only say what would be done")
    importing = verbs.add_parser("import", help="take over the data of another installation of Baïkal")
    importing.set_defaults(module="baikalctl.commands.import_")
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
    caring.set_defaults(module="baikalctl.commands.certificate", needs_state=True)
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
    _add_data(verbs)
    _add_mail(verbs)
    _add_backup(verbs)
    start = verbs.add_parser("start", help="become the server that the environment describes: what a container runs")
    start.set_defaults(module="baikalctl.container.start")
    health = verbs.add_parser("health", help="tell in a moment whether calendars work: what a container is probed with")
    health.set_defaults(module="baikalctl.baikal.health", needs_state=True)
    settings = verbs.add_parser("settings", help="print every setting, its environment variable, default and meaning")
    settings.set_defaults(module="baikalctl.settings.reference")
    return everything


def _add_data(verbs: Verbs) -> None:
    of_database = verbs.add_parser("database", help="move the data to the database that is declared")
    of_database.set_defaults(module="baikalctl.commands.move_database", needs_state=True)
    of_database.add_argument("action", choices=["move"], help="from where it is, with every row compared there")
    recovering = verbs.add_parser("recover", help="take back what an interrupted upgrade, restore or import has begun")
    recovering.set_defaults(module="baikalctl.commands.recover")
    recovering.add_argument("--booting", action="store_true", help="before anything runs: what the machine does itself")
    restoring = verbs.add_parser(
        "restore",
        help="have the data of an archive back",
        description="Verify the archive, keep what is here, and have what the archive holds serve in its place; data of "
        "an older Baïkal is migrated. Whatever fails, all is as it was.",
    )
    restoring.set_defaults(module="baikalctl.commands.restore")
    restoring.add_argument("archive", help="path, name, restic:ID, or latest; baikalctl backup list shows them")
    releasing = verbs.add_parser("release", help="install a release of Baïkal and make it current")
    releasing.set_defaults(module="baikalctl.commands.release")
    releasing.add_argument("version", help="such as 0.12.1")
    releasing.add_argument("archive", help="path or address of its zip")
    releasing.add_argument("--sha256", default="", help="what the zip's checksum must be")


def _add_mail(verbs: Verbs) -> None:
    sendmail = verbs.add_parser(
        "sendmail",
        help="send the message on standard input: what PHP calls",
        description="Make right what Baïkal hands over, and put it into this host's queue. What can't be sent is kept.",
    )
    sendmail.set_defaults(module="baikalctl.mail.sendmail")
    sendmail.add_argument("--from", dest="sender", required=True, metavar="ADDRESS", help="whom it is to come from")
    mailing = verbs.add_parser("mail", help="try the way that invitations take, or look at what waits on it")
    mailing.set_defaults(module="baikalctl.commands.mail", needs_state=True)
    mail = mailing.add_subparsers(dest="mail", required=True, metavar="WHAT")
    mail.add_parser("test", help="send a message, and tell where it got to").add_argument("address")
    mail.add_parser("queue", help="show what waits, and why")
    mail.add_parser("retry", help="try again now, also what was refused or is kept")
    mail.add_parser("drop", help="delete what was refused for good")
    mail.add_parser("dns", help="print the records that the sender's domain should have")
    take = mail.add_parser("take", help="keep what waits before its mail server goes: the deploy's step")
    take.set_defaults(needs_state=False)


def _add_backup(verbs: Verbs) -> None:
    backing = verbs.add_parser(
        "backup",
        help="make an archive of everything, or look at those that there are",
        description="Make one archive of all that is needed to have this server back, thin out older ones, and bring it "
        "to restic's repository where one is declared.",
    )
    backing.set_defaults(module="baikalctl.commands.backup")
    backing.add_argument("--json", action="store_true", help="for machines")
    manner = backing.add_mutually_exclusive_group()
    manner.add_argument("--quiet", action="store_true", help="say only what was made: for a timer")
    manner.add_argument(
        "--sleep", action="store_true", help="--quiet, if it is time, and wait until it is again: for a supervisor"
    )
    backup = backing.add_subparsers(dest="backup", metavar="WHAT")
    listing = backup.add_parser("list", help="show the archives, and the snapshots in restic's repository")
    listing.add_argument("--json", action="store_true", help="for machines")
    verifying = backup.add_parser("verify", help="restore an archive on trial, and tell whether it is whole")
    verifying.add_argument(
        "archive", nargs="?", default="latest", help="path, name, restic:ID, or latest (the default)"
    )
