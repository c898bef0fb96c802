"""All our files on a host, replaced in one transaction that is rolled back if a service refuses its configuration."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import inspect
import json
import shlex
from typing import TYPE_CHECKING, Any

import gevent
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.operation import operation

from baikalctl import paths
from baikalctl.host import install as host_install
from tasks.facts import FilesFact
from tasks.pyinfra_internals.operations import Stdin

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pyinfra.api.operation import OperationMeta

    from baikalctl.rendering.model import Directory, File, FileSet
    from tasks.fact_cache import FactCache


SENDING_SECONDS = 1800
"""The time limit for a host to read its standard input. pyinfra's own limit begins only after that."""
PREPARE = [paths.COMMAND, "certificate", "--prepare"]
"""Creates the certificate that the checks of the services need."""
CERTIFICATE = "certificate"
"""The name under which :data:`PREPARE` is reported."""


@operation()
def synced(files: Callable[[], FileSet], facts: FactCache) -> Generator[StringCommand, None, None]:
    """Upload our files that differ, and remove files of an older configuration.

    ``files`` is called when the host has its packages, because our files depend on their versions. Contents are sent on
    standard input, never in a command line or a temporary file. If a service refuses its new configuration, everything
    is rolled back, and :func:`accepted` fails for that service.
    """
    wanted = files()
    present = facts.ask(FilesFact, files=wanted)
    directories = [directory for directory in wanted.directories if _differs(directory, present, "directory")]
    differing = [file for file in wanted.files if _differs(file, present, "regular file") or _unfinished(file, present)]
    owned = sorted(file.path for file in wanted.files)
    displaced = [link for link, target in wanted.displaced if present["links"].get(link) == target]
    if not (directories or differing or displaced or set(present["owned"]) != set(owned)):
        return

    def bundle() -> dict[str, Any]:
        return {
            "user": paths.USER,
            "directories": [_entry(directory) for directory in directories],
            "files": [_file(file) for file in differing],
            "owned": owned,
            "displaced": wanted.displaced,
            "prepare": {CERTIFICATE: PREPARE} if wanted.services else {},
            "services": {service.name: service.check for service in wanted.services},
            "stamps": paths.STAMPS,
            "record": wanted.record,
            "lock": wanted.lock,
        }

    program = Stdin(lambda: [f"{inspect.getsource(host_install)}\n\nmain({json.dumps(bundle())!r})\n"])
    tolerated = f"|| [ $? -eq {host_install.REFUSED} ]"
    with gevent.Timeout(SENDING_SECONDS, TimeoutError):
        yield StringCommand(
            "/usr/bin/python3", "-I", "-X", "utf8", "-c", QuoteString(host_install.LOADER), tolerated, _stdin=program
        )


@operation()
def accepted(upload: OperationMeta, services: tuple[str, ...] = ()) -> Generator[StringCommand, None, None]:
    """Fail if the ``upload`` was rolled back because one of these ``services``, or any, refused its configuration.

    For any service, it fails as well if the host doesn't say whether there was a refusal.
    """
    if not upload.is_complete() or not upload.did_change():
        return
    refusals = _refusals(upload)
    if refusals is None:
        refusals = {} if services else {"the host": "it gave no proper answer to the upload; run again"}
    for service, reason in refusals.items():
        if not services or service in services:
            text = f"{service} refused its new configuration; that of all services was rolled back:\n{reason}"
            yield StringCommand(f"printf '%s\\n' {shlex.quote(text)} >&2; false")


def _refusals(upload: OperationMeta) -> dict[str, str] | None:
    """Return which services refused the upload, and why; None if its output doesn't say."""
    for line in upload.stdout_lines:
        with contextlib.suppress(ValueError, RecursionError):
            answer = json.loads(line)
            if isinstance(answer, dict) and isinstance(answer.get("refused"), dict):
                return {str(service): str(reason) for service, reason in answer["refused"].items()}
    return None


def _differs(item: File | Directory, present: dict[str, Any], kind: str) -> bool:
    """Tell whether ``item`` differs from what is at its path: in kind, mode, owner, group, or content."""
    state = present["states"].get(item.path)
    if state is None or state != [state[0], f"{item.mode:o}", item.owner, item.group] or kind not in _kinds(state[0]):
        return True
    content = getattr(item, "content", None)
    return content is not None and present["checksums"].get(item.path) != hashlib.sha256(content).hexdigest()


def _unfinished(file: File, present: dict[str, Any]) -> bool:
    """Tell whether an interrupted run may have left ``file`` in place unchecked: then it is uploaded again."""
    return str(host_install.temporary_path(file.path, host_install.OLD)) in present["owned"]


def _kinds(word: str) -> tuple[str, ...]:
    """Return the kind that stat's ``word`` means; it has one of its own for an empty file."""
    return ("regular file",) if word in ("regular file", "regular empty file") else (word,)


def _entry(item: File | Directory) -> dict[str, Any]:
    return {"path": item.path, "owner": item.owner, "group": item.group, "mode": item.mode}


def _file(file: File) -> dict[str, Any]:
    content = base64.b64encode(file.content).decode("ascii")
    return _entry(file) | {"content": content, "service": file.service, "together": file.together}
