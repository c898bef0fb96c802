"""Run ``baikalctl`` in a separate process on a host whose directories are below another root.

``python -m tests.unit.redirected ROOT USER VERB…``. PATH is the host's own: ROOT/programs comes first.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from baikalctl import paths


def redirect(root: str, user: str) -> None:
    """Put every path of a host below ``root``; call it before any other module of baikalctl is imported."""
    for name, value in vars(paths).items():
        if name.isupper() and isinstance(value, str) and value.startswith("/"):
            setattr(paths, name, f"{root}{value}")
    paths.USER = user
    os.environ["PATH"] = f"{root}/programs:{os.environ['PATH']}"


def run(root: str, user: str, *arguments: str) -> NoReturn:
    """Run the command, and exit with its status."""
    redirect(root, user)
    from pathlib import Path

    from baikalctl.cli import main
    from baikalctl.mail import nullmailer

    spool = Path(f"{root}/var/spool/nullmailer")
    nullmailer.SPOOL = spool
    nullmailer.QUEUE, nullmailer.FAILED = spool / "queue", spool / "failed"
    nullmailer.TRIGGER = spool / "trigger"
    nullmailer.ACCOUNT = user
    sys.exit(main(list(arguments)))


if __name__ == "__main__":
    run(*sys.argv[1:])
