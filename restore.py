"""Restore each host's data from its newest archive in backups/HOST/. Run: pyinfra inventory.py restore.py.

For another archive: --data restore_from=PATH, or latest (the newest on the host itself), or restic:latest. The deploy runs
first, so this also restores a lost server on a new machine. The host keeps a copy of its present data, and returns to it if
the archive can't be restored.
"""

import sys
from pathlib import Path

from pyinfra import local
from pyinfra.context import host

sys.path.insert(0, str(Path(__file__).resolve().parent))  # if pyinfra was called in another directory

from tasks.restore import choose_archive, restored, result_shown

source = choose_archive(host)  # stops if there is none

local.include(str(Path(__file__).resolve().with_name("deploy.py")))
output = restored(name="Restore archive", source=source)
result_shown(name="Show restored data", restored=output)
