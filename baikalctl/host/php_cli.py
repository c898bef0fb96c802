"""PHP on the command line: Baïkal's own code, run for us as the data's owner."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from baikalctl.errors import HostError

OPTIONS = ("-d", "display_errors=stderr", "-d", "log_errors=0")


def program() -> str:
    """Return the PHP for the command line that this host has, the newest one where several are."""
    several = (path for path in Path("/usr/bin").glob("php[0-9].[0-9]*") if path.name[3:].replace(".", "").isdigit())
    newest = max(several, key=lambda path: tuple(map(int, re.findall(r"\d+", path.name))), default=None)
    found = shutil.which("php") or (newest and str(newest))
    if not found:
        message = "PHP for the command line is missing; install php-cli (it comes with php-fpm), and run again"
        raise HostError(message)
    return found


def environment(folder: str) -> dict[str, str]:
    """Return the environment of a Baïkal whose data is in ``folder``."""
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "TMPDIR": f"{folder}/Specific",  # Baïkal needs one that is writable, and /tmp may not be
        "BAIKAL_PATH_CONFIG": f"{folder}/config/",
        "BAIKAL_PATH_SPECIFIC": f"{folder}/Specific/",
    }
