"""``make demo``: deploy to a machine over SSH, run a container of the image, and test both with calendar clients."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lab import baking
from tests.lab import release as releases
from tests.lab.clients import Account
from tests.lab.container import Container, Volume
from tests.lab.deploying import PYINFRA, REPOSITORY
from tests.lab.engine import Engine, cache_directory, ensure_engine, stop_if_ours, wait_until
from tests.lab.errors import LabError
from tests.lab.images import base_image, machine_image, remove_images
from tests.lab.leftovers import remove_leftovers
from tests.lab.machine import KEEP, Machine

NAME: Final = "baikal-demo"
CONTAINER: Final = f"{NAME}-container"
"""The name of the container and of its volume."""
FOLDER: Final = REPOSITORY / ".cache" / "demo"
DISTRIBUTION: Final = "debian:12"
START_LIMIT_S: Final = 20
UNAUTHORIZED: Final = 401
INVENTORY: Final = '''"""The demo's machine, as make demo wrote it."""

hosts = [
    (
        "baikal-demo",
        {data!r},
    ),
]
'''


@dataclass(frozen=True)
class RunningContainer:
    """A running container: its account, its base, its size and its start time."""

    account: Account
    base: str
    megabytes: float
    """Size of the image without its base."""
    seconds: float
    """Time to the first answer."""


def main() -> None:
    """Run the demo's command for the Makefile; errors are one sentence."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("verb", choices=["up", "down", "clean"])
    verb = parser.parse_args().verb
    try:
        if verb == "up":
            up()
        elif verb == "down":
            _remove(ensure_engine(_say))
            _say("machine and container are removed; make clean also removes the images and stops the lab's engine")
        else:
            clean()
    except LabError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit("demo: stopped; run make demo-down to remove leftovers")


def up() -> None:
    """Boot, deploy, test, and print the result; after an error, machine and container are removed."""
    began = time.monotonic()
    engine = ensure_engine(_say)
    _remove(engine)
    release = releases.obtain(cache_directory())
    _say(f"release: Baïkal {release.version}, {release.origin}")
    base = base_image(engine, DISTRIBUTION)
    _say(f"base: {DISTRIBUTION}, {base.origin}")
    with Machine.start(engine, machine_image(engine, DISTRIBUTION), name=NAME, options=KEEP) as machine:
        machine.keep_keys(FOLDER)
        _say(f"machine: {NAME}, SSH on 127.0.0.1:{machine.ssh_port}; now running the deploy, as you would")
        password = _write_inventory(machine, release)
        command = [str(PYINFRA), "-y", str(FOLDER / "inventory.py"), "deploy.py"]
        if subprocess.run(command, cwd=REPOSITORY, check=False).returncode:
            message = "the deploy failed; see its output above"
            raise LabError(message)
        (FOLDER / "server.crt").write_text(machine.run("openssl x509 -in /var/lib/baikal/tls/selfsigned-localhost.pem"))
        account = Account(f"https://localhost:{machine.ports[443]}", FOLDER / "server.crt", "demo", password)
        _use(account)
        running = _run_container(engine, release, password)
        machine.keep()
    _print_machine(account, release, base.origin, command)
    _print_container(running, time.monotonic() - began)


def _use(account: Account) -> None:
    """Store and read an event and a contact; raises LabError, or the client's error, if anything is wrong."""
    _say(f"calendar: a client has stored and read back “{account.round_trip_event('Tea at four ☕')}”")
    if "Zoë Demo" not in account.round_trip_contact("Zoë Demo"):
        message = "the contact that was read differs from the one that was stored"
        raise LabError(message)
    _say("address book: a client has stored a contact and synchronised it back")


def _run_container(engine: Engine, release: releases.Release, password: str) -> RunningContainer:
    """Bake the image, and run and test a container of it; container and volume stay unless something fails."""
    _say("now baking the same as an image, as pyinfra @docker/… does")
    base, image = base_image(engine, baking.BASE), baking.baked(engine, release)
    sizes = [int(engine.docker("image", "inspect", "-f", "{{.Size}}", tag)) for tag in (image, base.tag)]
    users = [{"name": "demo", "display_name": "Demo", "email": "demo@example.org", "password": password}]
    environment = {
        "BAIKAL_ADMIN_PASSWORD": (FOLDER / "password-admin").read_text().strip(),
        "BAIKAL_USERS": json.dumps(users),
    }
    with ExitStack() as stack:
        volume = stack.enter_context(Volume(engine, CONTAINER, options=KEEP))
        began = time.monotonic()
        container = Container.run(
            engine, image, name=CONTAINER, environment=environment, volume=volume, options=KEEP, ready=False
        )
        stack.enter_context(container)
        if not wait_until(lambda: _answers_401(container), START_LIMIT_S, pause_s=0.01):
            message = f"the container doesn't answer:\n{container.log()}"
            raise LabError(message)
        seconds = time.monotonic() - began
        account = container.account("demo", password)
        shutil.copy2(account.certificate, FOLDER / "container.crt")
        account = dataclasses.replace(account, certificate=FOLDER / "container.crt")
        _use(account)
        stack.pop_all()  # container and volume stay
    return RunningContainer(account, f"{baking.BASE}, {base.origin}", (sizes[0] - sizes[1]) / 10**6, seconds)


def _answers_401(container: Container) -> bool:
    try:
        return container.ask("PROPFIND", "/dav.php/", user="nobody", timeout_s=1).status == UNAUTHORIZED
    except OSError:
        return False


def clean() -> None:
    """Remove machine, container, and all images and files of the lab; stop the engine if the lab has started it."""
    engine = ensure_engine(_say)
    _remove(engine)
    remove_images(engine)
    stop_if_ours(_say)
    shutil.rmtree(cache_directory(), ignore_errors=True)
    _say("everything of the lab is removed")


def _write_inventory(machine: Machine, release: releases.Release) -> str:
    """Write the inventory and its passwords, for the user to continue with; return the account's password."""
    passwords = {}
    for account in ("admin", "demo"):
        path = FOLDER / f"password-{account}"
        path.touch(mode=0o600)
        passwords[account] = secrets.token_urlsafe(12)
        path.write_text(passwords[account] + "\n")
    keys = {
        "ssh_key": str(FOLDER / machine.key_path.name),
        "ssh_known_hosts_file": str(FOLDER / machine.known_hosts.name),
    }
    data = {
        **machine.ssh_data(),
        **keys,
        "hostname": "localhost",
        "baikal_version": release.version,
        "baikal_archive": str(release.path),
        "baikal_sha256": release.sha256,
        "admin_password": {"file": str(FOLDER / "password-admin")},
        "users": [
            {
                "name": "demo",
                "display_name": "Demo",
                "email": "demo@example.org",
                "password": {"file": str(FOLDER / "password-demo")},
            }
        ],
    }
    (FOLDER / "inventory.py").write_text(INVENTORY.format(data=data))
    return passwords["demo"]


def _remove(engine: Engine) -> None:
    engine.docker("rm", "-f", "-v", NAME, CONTAINER, check=False)
    engine.docker("volume", "rm", "-f", CONTAINER, check=False)
    shutil.rmtree(FOLDER, ignore_errors=True)
    remove_leftovers(engine)


def _print_machine(account: Account, release: releases.Release, base: str, command: list[str]) -> None:
    again = " ".join(os.path.relpath(word, REPOSITORY) if Path(word).is_absolute() else word for word in command)
    admin = (FOLDER / "password-admin").read_text().strip()
    print(f"""
A Baïkal server runs on a machine.

    address        {account.url}/dav.php/   (self-signed: .cache/demo/server.crt)
    account        {account.user}, password {account.password}
    admin pages    {account.url}/admin/, password {admin}
    release        Baïkal {release.version}, {release.origin}
    machine        {DISTRIBUTION}, {base}; docker exec -it {NAME} baikalctl check

    run it again   {again}   (nothing changes)""")


def _print_container(running: RunningContainer, seconds: float) -> None:
    account = running.account
    print(f"""
The same server runs in a container, on its own volume; the whole demo took {seconds:.0f} s.

    address        {account.url}/dav.php/   (self-signed: .cache/demo/container.crt)
    account        {account.user}, password {account.password}   (the machine's, and admin's too)
    image          {running.megabytes:.0f} MB above {running.base}; the first answer came after {running.seconds:.1f} s
    inspect        docker logs {CONTAINER}; docker exec {CONTAINER} baikalctl check

    remove         make demo-down
""")


def _say(text: str) -> None:
    print(f"demo: {text.removeprefix('lab: ')}", flush=True)


if __name__ == "__main__":
    main()
