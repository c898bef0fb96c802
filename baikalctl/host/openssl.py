"""The openssl command, which makes and reads keys and certificates."""

from __future__ import annotations

import subprocess

from baikalctl.errors import HostError


def openssl(*arguments: str) -> str:
    """Return what an openssl command prints, keys included; raises :class:`HostError` with what it says if it fails."""
    command = ["openssl", *arguments]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            start_new_session=True,  # without a terminal to ask for a passphrase on
        )
    except subprocess.TimeoutExpired:
        message = f"openssl {arguments[0]} takes longer than a minute; is the key damaged?"
        raise HostError(message) from None
    if done.returncode:
        message = f"openssl {arguments[0]} failed: {done.stderr.strip()}"
        raise HostError(message)
    return done.stdout
