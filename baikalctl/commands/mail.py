"""``baikalctl mail``: send a test message, show the queue, retry and delete messages, and print DNS records."""

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
"""Seconds that a test waits for the relay's answer."""


def run(chosen: argparse.Namespace) -> int:
    """Run the chosen subcommand."""
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
    """Return the messages in the queue with their reasons, a line each."""
    lines = []
    for each in waiting(declared) if declared.mail.mode != "off" else []:
        state = "refused" if each.failed else "waiting"
        reason = each.reason or "not tried yet"
        lines.append(f"{state} {age(each.since)}, to {', '.join(each.recipients)}: {reason}  [{each.identifier}]")
    lines += [f"kept {age(since)}: {reason}  [{path}]" for path, reason, since in kept()]
    return "\n".join(map(output.escaped, lines)) or "the queue is empty"


def test(declared: DesiredState, recipient: str, say: Callable[[str], None]) -> int:
    """Send a message to ``recipient`` like an invitation; report the result, and return the exit status."""
    if declared.mail.mode == "off":
        raise HostError('mail is off here; set mail = "relay" or "postfix", and run the deploy')
    from baikalctl.mail.message import address

    try:
        recipient = address(recipient)  # in the form that the queue has, to find it there
    except UnfitError as error:
        raise HostError(f"{error}; use an address such as jo@example.org") from None

    value = (
        f"To: {recipient}\r\nSubject: A test of Baïkal's mail\r\nReply-To: {declared.mail.sender}\r\n\r\n"
        f"This is a test from {declared.hostname}: invitations are sent in the same way as this message.\r\n"
    )
    begin = time.time()
    status, refusal = _filter(declared, value.encode())
    if status:
        say(f"the queue did not accept it: {refusal}")
        return 1
    say(f"added to the queue, from {declared.mail.sender} to {recipient}")
    deadline = time.monotonic() + TEST_S
    queue = of(declared)
    while (result := queue.last_result(recipient, begin)) is None and time.monotonic() < deadline:
        time.sleep(0.2)
    waits = any(recipient in each.recipients and not each.failed for each in waiting(declared))
    if result is None and not waits:
        say("it has left the queue, but the log doesn't say where it went")
        return 1
    sent, words = result or (False, "no answer yet")
    if sent:
        say(f"accepted: {declared.mail.relay.host if declared.mail.relay else 'the other server'} says {words}")
        return 0
    say(f"{'it waits in the queue and will be tried again' if waits else 'it was refused permanently'}: {words}")
    return 1


def retry(declared: DesiredState, say: Callable[[str], None]) -> int:
    """Send everything again that is kept or was refused; returns the exit status."""
    if declared.mail.mode == "off":
        raise HostError('mail is off here, so nothing can be sent; set mail = "relay" or "postfix", and run the deploy')
    status = 0
    for path, _, _ in kept():
        # The programs that accept a message are setuid or setgid.
        stays = confined(partial(_send_again, path, declared.mail.sender), THOROUGH, setuid_programs=True)
        say(f"{path.name} is kept: {stays}" if stays else f"{path.name} is in the queue")
        status = 1 if stays else status
    if declared.mail.mode == "relay":
        from baikalctl.mail import nullmailer

        say(f"{counted(nullmailer.requeue_failed(), 'refused message')} added to the queue again")
    of(declared).flush()
    return status


def _send_again(path: Path, sender: str) -> str:
    """Send a kept message again; return why that failed, or an empty string."""
    try:
        sendmail.send_again(path, sender)
    except Exception as error:  # noqa: BLE001 - it was kept for an error; the next ones must be tried
        return sendmail.reason(error)
    return ""


def drop(declared: DesiredState, say: Callable[[str], None]) -> int:
    """Delete messages that were refused permanently, and report their recipients; returns the exit status."""
    from baikalctl.mail import nullmailer

    if declared.mail.mode != "relay":
        raise HostError(
            "only nullmailer keeps refused messages; Postfix has returned them to the sender (postqueue -p)"
        )
    for each in waiting(declared):
        if each.failed:
            nullmailer.drop([each.identifier])
            recipients = ", ".join(each.recipients) or "no recipient"
            say(f"deleted, to {recipients}: {each.reason or 'the reason is not known any more'}")
    return 0


def save_queued(say: Callable[[str], None]) -> int:
    """Save the messages in the queues of this host's mail servers, before the servers are removed."""
    from baikalctl.mail import nullmailer

    Path(paths.MAIL_CHANGING).touch()  # from now on, no message is added to a queue that will be removed
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
    """Call the filter as PHP's account, like PHP; return its exit status and its error output."""
    command = [paths.COMMAND, "sendmail", "--from", declared.mail.sender]

    def run() -> tuple[int, str]:
        done = subprocess.run(command, input=value, capture_output=True, check=False)
        return done.returncode, done.stderr.decode("utf-8", "replace").strip()

    status, text = confined(run, THOROUGH, setuid_programs=True)
    return int(status), str(text)
