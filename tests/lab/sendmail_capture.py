"""A release in PHP's built-in web server, and the mail that it passes to sendmail_path, unchanged."""

from __future__ import annotations

import base64
import contextlib
import json
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.lab.clients import Account
from tests.lab.container import Container
from tests.lab.engine import Engine, wait_until
from tests.lab.errors import LabError
from tests.lab.images import INSTALL, base_image, built_image
from tests.lab.old_installation import PASSWORDS, build

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.release import Release


PACKAGES: Final = ("php-cli", "php-mbstring", "php-sqlite3", "php-xml")
READY_LIMIT_S: Final = 20
SENDER: Final = "calendar@old.example.org"
"""invite_from of the installation."""
ENVIRONMENT: Final = {
    "BAIKAL_PATH_CONFIG": "/srv/state/config/",
    "BAIKAL_PATH_SPECIFIC": "/srv/state/Specific/",
    "BAIKAL_USERS": None,
}
SERVE: Final = """\
mkdir /srv/mail
until [ -e /srv/state/complete ]; do sleep 0.02; done
exec php -d sendmail_path='sh /srv/state/record' -S 0.0.0.0:80 -t /srv/baikal/html
"""
# One message after the other, as PHP waits for each; a moved file is complete.
RECORD: Final = """\
name=/srv/mail/$(date +%s%N)
cat >"$name.part"
mv "$name.part" "$name"
"""
READ: Final = """\
$files = glob("/srv/mail/*");
echo json_encode(array_map(fn ($file) => base64_encode(file_get_contents($file)), $files));
array_map("unlink", $files);
"""
SET_ADDRESS: Final = """\
$database = new PDO("sqlite:/srv/state/Specific/db/db.sqlite");
$database->prepare("UPDATE principals SET email = ? WHERE uri = ?")->execute([$argv[2], $argv[1]]);
"""


@dataclass(frozen=True)
class CapturedMessage:
    """The standard input of the program in sendmail_path."""

    raw: bytes

    @property
    def headers(self) -> list[str]:
        """The header lines, unchanged."""
        return self.raw.partition(b"\r\n\r\n")[0].decode().split("\r\n")

    @property
    def body(self) -> str:
        """The text after the headers."""
        return self.raw.partition(b"\r\n\r\n")[2].decode()

    def header(self, name: str) -> str:
        """Return a header's value; LabError unless there is exactly one."""
        values = [line.partition(": ")[2] for line in self.headers if line.startswith(f"{name}: ")]
        if len(values) != 1:
            message = f"{len(values)} headers {name} in:\n{self.raw.decode(errors='backslashreplace')}"
            raise LabError(message)
        return values[0]


@dataclass
class SendmailCapture:
    """A serving release with the accounts of an old installation; as a context manager, removed at the end."""

    container: Container

    @classmethod
    def start(cls, engine: Engine, release: Release, distribution: str) -> Self:
        """Serve the release with the distribution's PHP and return when it answers; LabError with its log."""
        base = base_image(engine, distribution).tag
        image = built_image(engine, base, f"php:{distribution.replace(':', '-')}", INSTALL, PACKAGES)
        command = ("sh", "-euc", SERVE)
        capture = cls(Container.run(engine, image, *command, environment=ENVIRONMENT, ports=(80,), ready=False))
        try:
            capture._copy(release)
        except BaseException:
            capture.container.remove()
            raise
        return capture

    def __enter__(self) -> Self:
        """Return the server; its container is removed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the container."""
        self.container.remove()

    def account(self, user: str = "anna") -> Account:
        """Return an account for real clients; there is no certificate, because there is no TLS."""
        url = f"http://127.0.0.1:{self.container.ports[80]}"
        return Account(url, Path(self.container.directory.name), user, PASSWORDS[user])

    def send_from(self, address: str) -> None:
        """Set invite_from; if it is empty, no invitations are mailed."""
        script = "sed -i \"s/invite_from: .*/invite_from: '$1'/\" /srv/state/config/baikal.yaml"
        self.container.execute("sh", "-euc", script, "set", address)

    def set_address(self, user: str, address: str) -> None:
        """Set the e-mail address of an account."""
        self.container.execute("php", "-r", SET_ADDRESS, f"principals/{user}", address)

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        """Make the program in sendmail_path fail within the block."""
        self.container.execute("mv", "/srv/state/record", "/srv/state/aside")
        try:
            yield
        finally:
            self.container.execute("mv", "/srv/state/aside", "/srv/state/record")

    def captured(self) -> list[CapturedMessage]:
        """Return the messages since the last call, the oldest first."""
        messages: list[str] = json.loads(self.container.execute("php", "-r", READ))
        return [CapturedMessage(base64.b64decode(raw)) for raw in messages]

    def _copy(self, release: Release) -> None:
        engine, name = self.container.engine, self.container.name
        with tempfile.TemporaryDirectory(prefix="baikal-lab-handover-") as folder:
            with zipfile.ZipFile(release.path) as archive:
                archive.extractall(folder)
            state = build(Path(folder) / "state", release.version, "/srv/state/Specific/db/db.sqlite")
            state.yaml.write_text(state.yaml.read_text().replace("dav_auth_type: Digest", "dav_auth_type: Basic"))
            (state.folder / "record").write_text(RECORD)
            (state.folder / "complete").touch()
            for part in ("baikal", "state"):
                engine.docker("cp", f"{folder}/{part}", f"{name}:/srv")

        def answers() -> bool:
            try:
                return self.container.ask("GET", "/dav.php/", port=80).status == 401
            except OSError:
                return False

        if not wait_until(answers, READY_LIMIT_S, pause_s=0.05):
            message = f"the release does not answer:\n{self.container.log()}"
            raise LabError(message)
