"""PHP on the command line, which runs Baïkal's own code as the data's owner."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from baikalctl.errors import HostError

OPTIONS = ("-d", "display_errors=stderr", "-d", "log_errors=0")


def program() -> str:
    """Return the path of PHP for the command line; the newest if there are several."""
    several = (path for path in Path("/usr/bin").glob("php[0-9].[0-9]*") if path.name[3:].replace(".", "").isdigit())
    newest = max(several, key=lambda path: tuple(map(int, re.findall(r"\d+", path.name))), default=None)
    path = shutil.which("php") or (newest and str(newest))
    if not path:
        message = "PHP for the command line is missing; install php-cli (php-fpm depends on it), and run again"
        raise HostError(message)
    return path


def environment(folder: str) -> dict[str, str]:
    """Return the environment variables of a Baïkal with its data in ``folder``."""
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "TMPDIR": f"{folder}/Specific",  # Baïkal needs a writable one, and /tmp may be read-only
        "BAIKAL_PATH_CONFIG": f"{folder}/config/",
        "BAIKAL_PATH_SPECIFIC": f"{folder}/Specific/",
    }
