"""``baikalctl mail``: try the way that invitations take, look at what waits on it, and have it go on."""

from __future__ import annotations

import subprocess
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from baikalctl import output, paths
from baikalctl.desired.state import DesiredState
from baikalctl.errors import HostError
from baikalctl.host.boundary import confined
from baikalctl.host.child_limits import THOROUGH
from baikalctl.mail import sendmail
from baikalctl.mail.itip import UnfitError
from baikalctl.mail.queues import age, kept, of, waiting
from baikalctl.output import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


TEST_S = 30
"""How long a test waits for the relay's word."""


def run(chosen: argparse.Namespace) -> int:
    """Do what was asked."""
    if chosen.mail == "take":
        return save_queued(output.say)
    declared = DesiredState.on_this_host()
    if chosen.mail == "test":
        return test(declared, chosen.address, output.say)
    if chosen.mail == "retry":
        return retry(declared, output.say)
    if chosen.mail == "drop":
        return drop(declared, output.say)
    if chosen.mail == "dns":
        from baikalctl.mail import dns_records

        output.lines(dns_records.lines(declared) or ["mail is off: no record is needed"])
    else:
        output.page(queue(declared))
    return 0


def queue(declared: DesiredState) -> str:
    """Return what waits, and why, a line each."""
    lines = []
    for each in waiting(declared) if declared.mail.mode != "off" else []:
        state = "refused" if each.failed else "waiting"
        reason = each.reason or "not tried yet"
        lines.append(f"{state} {age(each.since)}, to {', '.join(each.recipients)}: {reason}  [{each.identifier}]")
    lines += [f"kept {age(since)}: {reason}  [{path}]" for path, reason, since in kept()]
    return "\n".join(map(output.escaped, lines)) or "the queue is empty"


def test(declared: DesiredState, recipient: str, say: Callable[[str], None]) -> int:
    """Send a message to ``recipient`` the way that invitations take; say where it got to, and return the exit status."""
    if declared.mail.mode == "off":
        raise HostError('mail is off here; set mail = "relay" or "postfix", and run the deploy')
    from baikalctl.mail.message import address

    try:
        recipient = address(recipient)  # as the queue has it, or it wouldn't be found there
    except UnfitError as error:
        raise HostError(f"{error}; use an address such as jo@example.org") from None

    value = (
        f"To: {recipient}\r\nSubject: A test of Baïkal's mail\r\nReply-To: {declared.mail.sender}\r\n\r\n"
        f"This is a test from {declared.hostname}: invitations leave it the way that this message has taken.\r\n"
    )
    begin = time.time()
    status, refusal = _filter(declared, value.encode())
    if status:
        say(f"the queue did not accept it: {refusal}")
        return 1
    say(f"added to the queue, from {declared.mail.sender} to {recipient}")
    deadline = time.monotonic() + TEST_S
    queue = of(declared)
    while (told := queue.last_result(recipient, begin)) is None and time.monotonic() < deadline:
        time.sleep(0.2)
    waits = any(recipient in each.recipients and not each.failed for each in waiting(declared))
    if told is None and not waits:
        say("it has left the queue, but the log doesn't say where it went")
        return 1
    sent, words = told or (False, "no answer yet")
    if sent:
        say(f"accepted: {declared.mail.relay.host if declared.mail.relay else 'the other server'} says {words}")
        return 0
    say(f"{'it waits in the queue and will be tried again' if waits else 'it was refused permanently'}: {words}")
    return 1


def retry(declared: DesiredState, say: Callable[[str], None]) -> int:
    """Try everything that is kept or was refused once more; returns the exit status."""
    if declared.mail.mode == "off":
        raise HostError('mail is off here, so nothing can be sent; set mail = "relay" or "postfix", and run the deploy')
    status = 0
    for path, _, _ in kept():
        # The programs that take a message are setuid or setgid.
        stays = confined(partial(_send_again, path, declared.mail.sender), THOROUGH, setuid_programs=True)
        say(f"{path.name} is kept: {stays}" if stays else f"{path.name} is in the queue")
        status = 1 if stays else status
    if declared.mail.mode == "relay":
        from baikalctl.mail import nullmailer

        say(f"{counted(nullmailer.requeue_failed(), 'refused message')} added to the queue again")
    of(declared).flush()
    return status


def _send_again(path: Path, sender: str) -> str:
    """Try a kept message once more; return why it stays, or nothing."""
    try:
        sendmail.send_again(path, sender)
    except Exception as error:  # noqa: BLE001 - it was kept for such; the next ones must have their turn
        return sendmail.reason(error)
    return ""


def drop(declared: DesiredState, say: Callable[[str], None]) -> int:
    """Delete what was refused for good, saying to whom it was; returns the exit status."""
    from baikalctl.mail import nullmailer

    if declared.mail.mode != "relay":
        raise HostError(
            "only nullmailer keeps refused messages; Postfix has returned them to the sender (postqueue -p)"
        )
    for each in waiting(declared):
        if each.failed:
            nullmailer.drop([each.identifier])
            say(
                f"deleted, to {', '.join(each.recipients) or 'no recipient'}: {each.reason or 'the reason is not known any more'}"
            )
    return 0


def save_queued(say: Callable[[str], None]) -> int:
    """Take out of the queues of this host's mail servers what waits there, before they are taken away."""
    from baikalctl.mail import nullmailer

    Path(paths.MAIL_CHANGING).touch()  # from here on nothing goes where nobody looks any more
    count = nullmailer.take_all(_keep)
    if Path("/usr/sbin/postqueue").exists():
        from baikalctl.mail import postfix

        count += postfix.take_all(_keep)
    if count:
        say(f"{counted(count, 'queued message')} saved in {paths.KEPT}")
    return 0


def _keep(sender: str, recipients: tuple[str, ...], content: bytes) -> None:
    sendmail.keep_queued(sender, recipients, content)


def _filter(declared: DesiredState, value: bytes) -> tuple[int, str]:
    """Do as PHP does: call the filter as PHP's account; return its exit status and what it says."""
    command = [paths.COMMAND, "sendmail", "--from", declared.mail.sender]

    def run() -> tuple[int, str]:
        done = subprocess.run(command, input=value, capture_output=True, check=False)
        return done.returncode, done.stderr.decode("utf-8", "replace").strip()

    status, text = confined(run, THOROUGH, setuid_programs=True)
    return int(status), str(text)
