"""Restore every host's data: pyinfra inventory.py restore.py takes the newest archive in backups/HOST/ on this machine.

For another archive, set --data restore_from=PATH, or latest (the newest on the host itself), or restic:latest. The hosts
are deployed to first, so this also restores a server on a new machine. The existing data of a host is kept, and is put
back if the restore fails.
"""

from pyinfra import local
from pyinfra.context import host

from tasks.restore import chosen, reported, restored

source = chosen(host)  # stops here if there is none

local.include("deploy.py")
done = restored(name="Restore the archive", source=source)
reported(name="Report what was restored", restored=done)
