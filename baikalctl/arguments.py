"""The command line of ``baikalctl``: its commands with their options, and the module that runs each."""

from __future__ import annotations

from baikalctl.argument_parser import Commands, Parser, Version
from baikalctl.errors import NOT_YET

GROUPS = {
    "everyday commands": {
        "check": "check the server, and print what to do about each problem",
        "backup": "make a backup archive, or list and verify archives",
        "restore": "replace the data with that of an archive",
        "certificate": "request a certificate that is due, or use replaced certificate files",
        "mail": "send a test message, show and retry queued mail, print DNS records",
        "database": "move the data to the declared database",
    },
    "advanced commands": {
        "apply": "apply the declared state: certificate, configuration, database, accounts",
        "import": "replace the data with that of another Baïkal installation",
        "recover": "roll back an upgrade, restore, import or move that was interrupted",
        "settings": "print the reference of all settings",
    },
    "internal commands": {
        "health": "check whether calendars work (health check of a container)",
        "release": "install a release of Baïkal (run by the deploy)",
        "sendmail": "queue the message on standard input (run by PHP)",
        "start": "start the server (run by a container)",
    },
}
"""The commands in the order of ``--help``."""


def parser() -> Parser:
    """Return the parser of the whole command line.

    It sets ``module``, whose ``run`` is the command, and ``needs_state``: whether the command is refused on a host that
    has no readable ``declared.json``.
    """
    width = max(len(name) for commands in GROUPS.values() for name in commands)
    listing = "\n\n".join(
        f"{title}:\n" + "\n".join(f"  {name:<{width}}  {text}" for name, text in commands.items())
        for title, commands in GROUPS.items()
    )
    everything = Parser(
        prog="baikalctl",
        usage="baikalctl [--help] [--version] COMMAND …",
        description=f"Maintain the Baïkal server on this host. On a machine, run it as root.\n\n{listing}",
        example="sudo baikalctl check\n\nbaikalctl COMMAND --help describes a command.",
    )
    everything.set_defaults(needs_state=False)
    everything.add_argument("--version", action=Version, nargs=0, help="print the versions of this program and Baïkal")
    everyday, advanced, _ = GROUPS.values()
    commands = Commands(everything, "verb", [*everyday, *advanced])
    for add in (_add_check, _add_certificate, _add_data, _add_mail, _add_backup, _add_internal):
        add(commands)
    return everything


def _add_check(commands: Commands) -> None:
    check = commands.add(
        "check",
        "baikalctl.checks.check",
        "Check the server, its data and its certificate. Each problem is printed with its remedy.\n"
        "The exit status is 1 if there is a problem.",
        "baikalctl check --json    # for monitoring",
        needs_state=True,
    )
    check.add_argument("--json", action="store_true", help="print JSON")
    check.add_argument(
        "--thorough", action="store_true", help="also read the whole database, and compare all files of the release"
    )
    check.add_argument(
        "--wait", type=float, default=0, metavar="SECONDS", help="wait this long for services that were just reloaded"
    )


def _add_certificate(commands: Commands) -> None:
    certificate = commands.add(
        "certificate",
        "baikalctl.commands.certificate",
        "Use replaced certificate files, and request a certificate from the CA if that is due. A timer runs this\n"
        f"every few minutes. The exit status is {NOT_YET} if something must be tried again later.",
        "baikalctl certificate --now    # after a problem with the CA or the DNS is fixed",
        needs_state=True,
    )
    urgency = certificate.add_mutually_exclusive_group()
    urgency.add_argument("--now", action="store_true", help="request again, although the next attempt isn't due yet")
    urgency.add_argument("--renew", action="store_true", help="request a new one, although the certificate is valid")
    urgency.add_argument("--prepare", action="store_true", help="only ensure that one exists (run by the deploy)")
    urgency.add_argument("--quiet", action="store_true", help="print nothing that was printed before (for a timer)")
    urgency.add_argument(
        "--sleep", action="store_true", help="--quiet, then sleep until the next attempt (for a supervisor)"
    )


def _add_data(commands: Commands) -> None:
    applying = commands.add(
        "apply",
        "baikalctl.commands.apply",
        "Apply the state that the deploy declared: certificate, configuration, database and accounts.\n"
        "The deploy runs this; run it by hand after a problem is fixed.",
        "baikalctl apply --plan    # shows the steps",
        needs_state=True,
    )
    applying.add_argument("--plan", action="store_true", help="only print the steps")
    importing = commands.add(
        "import",
        "baikalctl.commands.import_",
        "Replace the data of this server with that of another Baïkal installation. The source is only read.",
        "baikalctl import /var/www/baikal",
    )
    importing.add_argument("source", help="directory of the other installation, with config/ and Specific/")
    importing.add_argument("--replace", action="store_true", help="replace existing data, and keep a copy of it")
    database = commands.add(
        "database",
        "baikalctl.commands.move_database",
        "Move the data to the declared database. Every row is compared afterwards.\n"
        "Change the setting database, run the deploy, then run this.",
        "baikalctl database move",
        usage="[--help] move",
        needs_state=True,
    )
    database.add_argument("action", metavar="COMMAND", choices=["move"], help="move: copy all data, then use the copy")
    recovering = commands.add(
        "recover",
        "baikalctl.commands.recover",
        "Roll back an upgrade, restore, import or move that was interrupted, for example by a power failure.\n"
        "A machine does this when it boots.",
        "baikalctl recover",
    )
    recovering.add_argument("--booting", action="store_true", help="before other services start (run by the machine)")
    restoring = commands.add(
        "restore",
        "baikalctl.commands.restore",
        "Verify an archive, keep a copy of the current data, and replace the data with that of the archive.\n"
        "Data of an older Baïkal is migrated. If any step fails, everything is rolled back.",
        "baikalctl restore latest",
    )
    restoring.add_argument(
        "archive", help="latest, a path, or a name from baikalctl backup list (an archive, before-…, restic:ID)"
    )


def _add_mail(commands: Commands) -> None:
    mailing = commands.add(
        "mail",
        "baikalctl.commands.mail",
        "Test how invitations are sent, or manage queued mail.\n\n"
        "  test   send a message to ADDRESS, and show what the mail server answers\n"
        "  queue  show queued mail, and why it is queued\n"
        "  retry  try again now, including mail that was refused or kept\n"
        "  drop   delete mail that was refused permanently\n"
        "  dns    print the DNS records that the sender's domain needs",
        "baikalctl mail test jo@example.org",
        usage="[--help] test ADDRESS | queue | retry | drop | dns",
        needs_state=True,
    )
    module = "baikalctl.commands.mail"
    mail = Commands(mailing, "mail", ("test", "queue", "retry", "drop", "dns"))
    test = mail.add(
        "test",
        module,
        "Send a message, and show what the mail server answers.",
        "baikalctl mail test jo@example.org",
        needs_state=True,
    )
    test.add_argument("address", metavar="ADDRESS", help="recipient of the message")
    for name, text in (
        ("queue", "Show queued mail, and why it is queued."),
        ("retry", "Try again now, including mail that was refused or kept. Use it after a problem is fixed."),
        ("drop", "Delete mail that was refused permanently."),
        ("dns", "Print the DNS records (SPF, DKIM, DMARC) that the sender's domain needs."),
    ):
        mail.add(name, module, text, f"baikalctl mail {name}", needs_state=True)
    mail.add(
        "take",
        module,
        "Keep the queued mail of a mail server before it is removed. The deploy runs this.",
        "baikalctl mail take",
    )


def _add_backup(commands: Commands) -> None:
    backing = commands.add(
        "backup",
        "baikalctl.commands.backup",
        "Make an archive of everything that is needed to restore this server, delete archives that are no longer kept,\n"
        "and copy the archive to the restic repository if there is one.\n\n"
        "  list    show archives, replaced data (before-…), and snapshots in the restic repository\n"
        "  verify  restore an archive to a temporary directory, and check its data",
        "baikalctl backup\n  baikalctl backup verify latest",
        usage="[--help] [--json] [--quiet | --sleep] [list | verify [ARCHIVE]]",
    )
    backing.add_argument("--json", action="store_true", help="print JSON")
    manner = backing.add_mutually_exclusive_group()
    manner.add_argument("--quiet", action="store_true", help="print only what was made (for a timer)")
    manner.add_argument(
        "--sleep", action="store_true", help="--quiet if a backup is due, then sleep until the next (for a supervisor)"
    )
    backup = Commands(backing, "backup", ("list", "verify"), required=False)
    listing = backup.add(
        "list",
        "baikalctl.commands.backup",
        "Show archives, replaced data (before-…), and snapshots in the restic repository.",
        "baikalctl backup list",
    )
    listing.add_argument("--json", action="store_true", help="print JSON")
    verifying = backup.add(
        "verify",
        "baikalctl.commands.backup",
        "Restore an archive to a temporary directory, and check its data. The server isn't changed.",
        "baikalctl backup verify latest",
    )
    verifying.add_argument(
        "archive", nargs="?", default="latest", help="path, name, restic:ID, or latest (the default)"
    )


def _add_internal(commands: Commands) -> None:
    settings = "Print the reference of all settings: environment variable, allowed values, default, meaning."
    commands.add("settings", "baikalctl.settings.reference", settings, "baikalctl settings | less")
    commands.add(
        "health",
        "baikalctl.baikal.health",
        "Exit with status 0 if calendars work, in less than a second. The health check of a container runs this.",
        "baikalctl health && echo healthy",
        needs_state=True,
    )
    releasing = commands.add(
        "release",
        "baikalctl.commands.release",
        "Install a release of Baïkal and use it. The deploy runs this.",
        "baikalctl release 0.12.1 /root/baikal-0.12.1.zip",
    )
    releasing.add_argument("version", help="such as 0.12.1")
    releasing.add_argument("archive", help="path or address of its zip")
    releasing.add_argument("--sha256", default="", help="expected SHA-256 of the zip")
    sendmail = commands.add(
        "sendmail",
        "baikalctl.mail.sendmail",
        "Correct the message on standard input, and put it into this host's queue. PHP runs this for each invitation.\n"
        "A message that can't be sent is kept.",
        "baikalctl sendmail --from cal@example.org < message.eml",
    )
    sendmail.add_argument("--from", dest="sender", required=True, metavar="ADDRESS", help="sender of the message")
    commands.add(
        "start",
        "baikalctl.container.start",
        "Start the server that the environment variables describe. A container runs this.",
        "docker run … baikal    # the image's own command",
    )
