"""The openssl command, which creates and reads keys and certificates."""

from __future__ import annotations

import subprocess

from baikalctl.errors import HostError


def openssl(*arguments: str) -> str:
    """Return the output of an openssl command, including keys; raises :class:`HostError` with its error if it fails."""
    command = ["openssl", *arguments]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            start_new_session=True,  # without a terminal, so that it can't ask for a passphrase
        )
    except subprocess.TimeoutExpired:
        message = f"openssl {arguments[0]} took longer than a minute; is the key damaged?"
        raise HostError(message) from None
    if done.returncode:
        message = f"openssl {arguments[0]} failed: {done.stderr.strip()}"
        raise HostError(message)
    return done.stdout
