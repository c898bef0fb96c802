"""Hostile data for every command that root runs on it: known attacks first, then random changes.

FUZZ_SEED=NUMBER repeats a run, with FUZZ_CASE=NUMBER a single case of it; FUZZ_SECONDS is its time limit.
"""

from __future__ import annotations

import itertools
import os
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from tests.lab.fuzzing import SECRET, Entry, Result, Tree, trees
from tests.lab.mutations import Case, at_random, attacks

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS: Final = float(os.environ.get("FUZZ_SECONDS", "100"))
"""No case starts later, so that the test takes two minutes at most."""
DEADLINE_S: Final = 15.0
"""Limit for a command on this little data; without hostile data, each takes less than a second."""
HOSTS: Final = 2
LEAST: Final = 200
"""Fewer cases are not enough; an idle machine of two cores runs 1,500 in that time."""
MOST: Final = 60
"""How many different failures are shown."""
DATA, BACKUPS, SPOOL = "host/var/lib/baikal", "host/var/backups/baikal", "host/var/spool/nullmailer"
CHANGING: Final = {
    "health": (),
    "check": (),
    "apply --plan": (),
    "backup list": (),
    "backup verify": (),
    "mail": (),
    "backup": (BACKUPS, f"{DATA}/state"),
    "apply": (f"{DATA}/state", f"{DATA}/tls", BACKUPS),
    "restore": (BACKUPS, *(f"{DATA}/{name}" for name in ("state", "tls", "acme", "dkim", "maintenance"))),
    "import": (BACKUPS, *(f"{DATA}/{name}" for name in ("state", "maintenance"))),
}
"""Where each command may create and change root's files; files of PHP's account may always change."""
WRITTEN: Final = (
    f"{DATA}/state/lock",
    f"{DATA}/state/serving",
    f"{DATA}/state/backup.json",
    f"{DATA}/state/applied.json",
)
"""Files that any command may write."""


@dataclass(frozen=True)
class Failure:
    """A forbidden effect of a command."""

    number: int
    case: str
    command: str
    wrong: str


def cases(seed: int) -> Iterator[tuple[int, Case]]:
    """Yield each attack with one of its commands, and then random cases and attacks in turn, with their numbers."""
    random = Random(seed)  # noqa: S311 - a seed has to give the same cases again
    known = attacks()
    random.shuffle(known)
    for number in itertools.count():
        if number < len(known) or number % 2:
            attack = known[number] if number < len(known) else random.choice(known)
            yield number, Case(attack.name, (random.choice(attack.commands),), attack.prepare)
        else:
            yield number, at_random(Random(f"{seed}/{number}"))  # noqa: S311


def failures(tree: Tree, number: int, case: Case) -> list[Failure]:
    """Run the case, and return its failures."""
    (command,) = case.commands
    tree.reset()
    case.prepare(tree)
    words = [word.format(old=tree.old, folder=tree.path("srv/folder")) for word in command]
    before = tree.entries()
    ran = tree.run(words, DEADLINE_S)
    wrong = [*_of_ending(ran), *_of_files(" ".join(command), before, tree.entries(), killed=ran.status is None)]
    return [Failure(number, case.name, " ".join(command), sentence) for sentence in wrong]


def _of_ending(ran: Result) -> Iterator[str]:
    if ran.status is None:
        yield f"it hadn't ended after {DEADLINE_S:.0f} seconds"
    elif ran.status not in {0, 1, 2}:
        yield f"it ended with status {ran.status}"
    if "Traceback" in ran.output:
        yield f"a traceback: {ran.output.strip().splitlines()[-1][:200]}"
    elif ran.status and not ran.output.strip():
        yield "it failed without a message"
    if not ran.output.replace("\n", "").isprintable():
        yield "its output isn't printable"
    if SECRET in ran.output:
        yield "its output has the text of a file that only root may read"


def _of_files(command: str, before: dict[str, Entry], after: dict[str, Entry], *, killed: bool) -> Iterator[str]:
    (verb,) = [each for each in sorted(CHANGING, key=len) if command.startswith(each)][-1:]
    for path in sorted(before.keys() | after.keys()):
        was, now = before.get(path), after.get(path)
        if was == now or path in WRITTEN:
            continue
        change = "made" if was is None else "removed" if now is None else "changed"
        if path.startswith(BACKUPS + "/") and was is not None:
            yield f"an archive was {change}: {path}"
        elif path.startswith(tuple(f"{prefix}/" for prefix in CHANGING[verb])):
            continue
        elif not path.startswith((f"{DATA}/", f"{SPOOL}/")):
            yield f"{path} was {change}, which is outside of the data: {was} → {now}"
        elif os.geteuid() == 0 and not killed and 0 in {each[2] for each in (was, now) if each}:
            yield f"{path}, which is owned by root, was {change}: {was} → {now}"


def test_hostile_data_does_no_harm() -> None:
    """Each command ends in time, with a message and a status, and changes only data."""
    seed = int(os.environ.get("FUZZ_SEED") or secrets.randbelow(2**32))
    print(f"FUZZ_SEED={seed}")
    failed: list[Failure] = []
    deadline = time.monotonic() + SECONDS
    with trees(HOSTS) as hosts, ThreadPoolExecutor(HOSTS) as pool:
        if single := os.environ.get("FUZZ_CASE"):
            failed += failures(
                hosts[0], int(single), next(case for number, case in cases(seed) if number == int(single))
            )
            count = 1
        else:
            coming = cases(seed)
            lock = threading.Lock()

            def work(tree: Tree) -> int:
                done = 0
                while time.monotonic() < deadline:
                    with lock:
                        number, case = next(coming)
                    failed.extend(failures(tree, number, case))
                    done += 1
                return done

            count = sum(pool.map(work, hosts))
    print(f"{count} cases")
    different = {(each.case, each.wrong.partition("/")[0][:60]): each for each in failed}
    lines = [
        f"{each.command} — {each.case}: {each.wrong}  (FUZZ_SEED={seed} FUZZ_CASE={each.number})"
        for each in sorted(different.values(), key=lambda each: (each.wrong, each.case, each.command))
    ]
    assert not lines, f"{len(failed)} of {count} cases (FUZZ_SEED={seed}):\n" + "\n".join(lines[:MOST])
    assert single or count > LEAST, f"only {count} cases in {SECONDS:.0f} seconds"
