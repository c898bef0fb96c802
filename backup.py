"""Create an archive of each host's data and download it to backups/HOST/. Run: pyinfra inventory.py backup.py.

The archives contain the calendars of all users, private keys and password hashes, as the hosts do: protect backups/ as
you protect the hosts. If one host fails, the others continue.
"""

import sys
from pathlib import Path

from pyinfra.context import host

sys.path.insert(0, str(Path(__file__).resolve().parent))  # if pyinfra was called in another directory

from tasks.fetch_archives import archive_created, archive_downloaded
from tasks.fleet.summary import at_the_end_of

if host == next(iter(host.state.inventory.get_active_hosts())):
    at_the_end_of(host.state)  # once

created = archive_created(name="Create archive")
archive_downloaded(name="Download archive", created=created)
