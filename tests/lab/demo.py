"""``make demo``: a machine that boots, a deploy over SSH, and a calendar client that uses what stands there."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.lab import machine as machines
from tests.lab import release as releases
from tests.lab.clients import Account
from tests.lab.deploying import PYINFRA, REPOSITORY
from tests.lab.engine import Engine, cache_directory, ensure_engine, stop_if_ours
from tests.lab.errors import LabError
from tests.lab.images import base_image, machine_image, remove_images
from tests.lab.machine import KEEP, Machine

NAME: Final = "baikal-demo"
FOLDER: Final = REPOSITORY / ".cache" / "demo"
DISTRIBUTION: Final = "debian:12"
INVENTORY: Final = '''"""The demo's machine, as make demo wrote it."""

hosts = [
    (
        "baikal-demo",
        {data!r},
    ),
]
'''


def main() -> None:
    """Do what the Makefile asks for; ends with one sentence where it can't."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("verb", choices=["up", "down", "clean"])
    verb = parser.parse_args().verb
    try:
        if verb == "up":
            up()
        elif verb == "down":
            _remove(ensure_engine(_say))
            _say("the machine is gone; make clean also removes the images, and ends an engine that the lab started")
        else:
            clean()
    except LabError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit("demo: stopped; make demo-down removes what is left")


def up() -> None:
    """Boot, deploy, use, and tell; whatever fails, the machine is removed again."""
    began = time.monotonic()
    engine = ensure_engine(_say)
    _remove(engine)
    release = releases.obtain(cache_directory())
    _say(f"release: Baïkal {release.version}, {release.origin}")
    base = base_image(engine, DISTRIBUTION)
    _say(f"base: {DISTRIBUTION}, {base.origin}")
    with Machine.start(engine, machine_image(engine, DISTRIBUTION), name=NAME, options=KEEP) as machine:
        machine.keep_keys(FOLDER)
        _say(f"machine: {NAME}, SSH on 127.0.0.1:{machine.ssh_port}; now the deploy, as you would run it")
        password = _write_inventory(machine, release)
        command = [str(PYINFRA), "-y", str(FOLDER / "inventory.py"), "deploy.py"]
        if subprocess.run(command, cwd=REPOSITORY, check=False).returncode:
            message = "the deploy failed; what it said stands above"
            raise LabError(message)
        (FOLDER / "server.crt").write_text(machine.read("/var/lib/baikal/tls/selfsigned-localhost.crt"))
        account = Account(f"https://localhost:{machine.ports[443]}", FOLDER / "server.crt", "demo", password)
        _say(f"calendar: a client stored and read back “{account.round_trip_event('Tea at four ☕')}”")
        if "Zoë Demo" not in account.round_trip_contact("Zoë Demo"):
            message = "the contact did not come back as it was stored"
            raise LabError(message)
        _say("address book: a client stored a contact and synchronised it back")
        machine.keep()
    _tell(account, release, base.origin, command, time.monotonic() - began)


def clean() -> None:
    """Remove the machine, every image and file that the lab keeps, and the engine's process if the lab started it."""
    engine = ensure_engine(_say)
    _remove(engine)
    remove_images(engine)
    stop_if_ours(_say)
    shutil.rmtree(cache_directory(), ignore_errors=True)
    _say("nothing of the lab is left")


def _write_inventory(machine: Machine, release: releases.Release) -> str:
    """Write the inventory that the user can go on with, the passwords beside it, and return the account's."""
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
    engine.docker("rm", "-f", "-v", NAME, check=False)
    shutil.rmtree(FOLDER, ignore_errors=True)
    machines.remove_leftovers(engine)


def _tell(account: Account, release: releases.Release, base: str, command: list[str], seconds: float) -> None:
    again = " ".join(os.path.relpath(word, REPOSITORY) if Path(word).is_absolute() else word for word in command)
    admin = (FOLDER / "password-admin").read_text().strip()
    print(f"""
A Baïkal server stands, after {seconds:.0f} s.

    address        {account.url}/dav.php/   (self-signed: .cache/demo/server.crt)
    account        {account.user}, password {account.password}
    admin pages    {account.url}/admin/, password {admin}
    release        Baïkal {release.version}, {release.origin}
    machine        {DISTRIBUTION}, {base}; docker exec -it {NAME} baikalctl check

    run it again   {again}   (nothing changes)
    remove it      make demo-down
""")


def _say(text: str) -> None:
    print(f"demo: {text.removeprefix('lab: ')}", flush=True)


if __name__ == "__main__":
    main()
