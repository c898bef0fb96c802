"""Real clients: python-caldav for calendars, vdirsyncer for address books."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.lab.errors import LabError

VDIRSYNCER: Final = Path(sys.executable).with_name("vdirsyncer")
CLIENT_SECONDS: Final = 60
EVENT: Final = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//baikal-deploy//lab//EN
BEGIN:VEVENT
UID:{uid}
DTSTAMP:20260101T000000Z
DTSTART:20260601T090000Z
DTEND:20260601T100000Z
SUMMARY:{summary}
END:VEVENT
END:VCALENDAR
"""
CARD: Final = "BEGIN:VCARD\r\nVERSION:3.0\r\nUID:{uid}\r\nFN:{name}\r\nN:{name};;;;\r\nEND:VCARD\r\n"
CONFIGURATION: Final = """
[general]
status_path = "{folder}/status"

[pair contacts]
a = "here"
b = "server"
collections = ["default"]

[storage here]
type = "filesystem"
path = "{folder}/contacts"
fileext = ".vcf"

[storage server]
type = "carddav"
url = "{url}/dav.php/"
username = "{user}"
password.fetch = ["command", "cat", "{folder}/password"]
verify = "{certificate}"
"""


@dataclass(frozen=True)
class Account:
    """An account: the server's address, the certificate to trust, name and password."""

    url: str
    certificate: Path
    user: str
    password: str

    def principal(self) -> Any:  # noqa: ANN401 - python-caldav has no types
        """Return python-caldav's principal, discovered from the address that users enter; raises the client's errors."""
        # Not at the top: unit tests use only texts from this module, and each of their forks would copy the libraries' pages.
        from caldav.davclient import DAVClient

        client: Any = DAVClient(
            url=f"{self.url}/dav.php/",
            username=self.user,
            password=self.password,
            ssl_verify_cert=str(self.certificate),
            timeout=CLIENT_SECONDS,
        )
        return client.principal()

    def calendar(self, name: str = "default") -> Any:  # noqa: ANN401
        """Return the calendar with an address that ends in ``name``."""
        calendars = self.principal().calendars()
        return next(calendar for calendar in calendars if calendar.url.path.rstrip("/").endswith(f"/{name}"))

    def round_trip_event(self, summary: str) -> str:
        """Store an event, read it back in a second session, delete it, and return its title as read."""
        self.calendar().save_event(EVENT.format(uid="round-trip", summary=summary))
        event = self.calendar().event_by_uid("round-trip")
        title = str(event.icalendar_component["SUMMARY"])
        event.delete()
        return title

    def round_trip_contact(self, name: str) -> str:
        """Store a contact from one folder, synchronise it into another, and return what arrived there."""
        with tempfile.TemporaryDirectory(prefix="baikal-lab-contacts-") as folder:
            one, two = (self._synchronised_folder(Path(folder) / side) for side in ("one", "two"))
            contact = one / "contacts" / "default" / "friend.vcf"
            contact.write_text(CARD.format(uid="friend", name=name), newline="")
            _vdirsyncer(one, "sync")
            _vdirsyncer(two, "sync")
            (arrived,) = (two / "contacts" / "default").glob("*.vcf")
            text = arrived.read_text()
            contact.unlink()
            _vdirsyncer(one, "sync", "--force-delete")
        return text

    def _synchronised_folder(self, folder: Path) -> Path:
        """Return a folder that vdirsyncer synchronises with this account's default address book."""
        (folder / "contacts" / "default").mkdir(parents=True)
        (folder / "password").touch(mode=0o600)
        (folder / "password").write_text(self.password)
        values = {"url": self.url, "user": self.user, "certificate": self.certificate}
        (folder / "config").write_text(CONFIGURATION.format(folder=folder, **values))
        _vdirsyncer(folder, "discover", "--list", "contacts")
        return folder


def _vdirsyncer(folder: Path, *arguments: str) -> None:
    command = [str(VDIRSYNCER), "-c", str(folder / "config"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, input="y\n" * 8, timeout=CLIENT_SECONDS, check=False)
    if done.returncode:
        message = f"vdirsyncer {arguments[0]} failed: {done.stderr.strip() or done.stdout.strip()}"
        raise LabError(message)
