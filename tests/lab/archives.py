"""Archives on a machine: the newest one, and damaged or changed copies of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.lab.machine import Machine

FOLDER: Final = "/var/backups/baikal"
MIDDLE: Final = "size=$(stat -c %s made); "
DAMAGES: Final = {
    "byte": MIDDLE + "printf '\\377\\000\\377' | dd of=made bs=1 seek=$((size / 2)) conv=notrunc status=none",
    "truncated": MIDDLE + "truncate -s $((size * 2 / 3)) made",
    "lacking its end": MIDDLE + "truncate -s $((size - 4)) made",
    "longer": "printf more >> made",
    "empty": ": > made",
    "garbage": "head -c 100000 /dev/urandom > made",
    "foreign": "tar -czf made -C /etc hostname passwd",
    "zip": 'python3 -c \'import zipfile; zipfile.ZipFile("made", "w").write("/etc/hostname")\'',
    "absent": "rm made",
    "directory": "rm made; mkdir made",
    "link inside": (
        "mkdir x; tar -xzf made -C x; rm x/database.sqlite; ln -s /etc/shadow x/database.sqlite;"
        " tar -czf made -C x manifest.json $(cd x; ls | grep -v manifest)"
    ),
    "other bytes": (
        "mkdir x; tar -xzf made -C x; printf x | dd of=x/database.sqlite bs=1 seek=9000 conv=notrunc status=none;"
        " tar -czf made -C x manifest.json $(cd x; find . -type f | cut -c3- | grep -v manifest)"
    ),
}
"""Shell commands that damage the archive ``made``, each in another way."""
REPACK: Final = """
import dataclasses, subprocess, sys
from pathlib import Path
sys.path.insert(0, "/usr/local/lib/baikalctl")
from baikalctl.backup import archive, extract, verify_database
from baikalctl.host.tempdir import temporary_directory
path, command = sys.argv[1:]
with temporary_directory(Path("/root")) as folder:
    manifest = extract.unpack(Path(path), folder)
    subprocess.run(command, shell=True, cwd=folder, check=True)
    files = {name: archive.describe(folder / name) for name in manifest.files}
    counts = verify_database.count(folder / "database.sqlite")
    print(archive.write(folder, dataclasses.replace(manifest, files=files, counts=counts, label="repacked")).path)
"""


def newest(machine: Machine) -> str:
    """Return the name of the newest archive on a machine that was made by command or by the timer."""
    return machine.run(f"cd {FOLDER} && ls baikal-*Z.tar.gz | sort | tail -n 1").strip()


def damage(machine: Machine, archive: str, kind: str) -> str:
    """Return the path of a copy of an archive, damaged in one of the :data:`DAMAGES`."""
    machine.run(f"rm -rf /root/damaged && mkdir /root/damaged && cp {archive} /root/damaged/made")
    machine.run(f"cd /root/damaged && {DAMAGES[kind]}")
    return "/root/damaged/made"


def repacked(machine: Machine, archive: str, command: str) -> str:
    """Return the path of a copy of an archive with files changed by the shell ``command``, and a matching manifest."""
    engine = machine.engine
    made = engine.docker("exec", "-i", machine.name, "python3", "-", archive, command, input=REPACK)
    return made.strip().splitlines()[-1]
