"""Have every host's data back: pyinfra inventory.py restore.py, with the newest archive in backups/HOST/ on this machine.

Another one: --data restore_from=PATH, or latest (the newest on the host itself), or restic:latest. The deploy goes first,
so this is also what brings a server back on a new machine. What is on a host is kept there, and comes back if the archive
can't serve.
"""

from pyinfra import local
from pyinfra.context import host

from tasks.restore import chosen, restored

source = chosen(host)  # stops here if there is none

local.include("deploy.py")
restored(name="Restore the archive", source=source)
