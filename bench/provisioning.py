"""Provisioning compared with peers: new machines, unchanged runs, many hosts, images, and the control machine's resources."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bench import baking, starting
from bench.contenders import Bench, Contender, Host, OurDeploy
from bench.peers.contending import Ansible, BareSsh, IdiomaticPyinfra, ShellScript
from bench.peers.equality import State, refuse_differences, refuse_other_limit, state_of
from bench.peers.payload import Wanted, platform_of, wanted
from bench.report import OURS, Goal, Row, alternating
from bench.slow_line import slow_line
from tests.lab.images import PACKAGES, machine_image
from tests.lab.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from baikalctl.rendering.model import Platform
    from tests.lab.engine import Engine

    Measure = Callable[[], float]

DISTRIBUTION = "debian:12"
WARM = (*PACKAGES, *Ansible.needs, "unzip")
"""Preinstalled packages on machines for rows that don't measure packages; two peers unpack the release with unzip."""
HOSTS = 10
ROUND_TRIP_S = 0.05
FIRST_LIMIT_MB = 99
"""The first value of the upload limit for a changed setting; each round uses one less."""
ONE_OF_THEM = f"{OURS}, one of them"
FRESH_NOTE = (
    "the results were compared: files, configuration, rows, services, and answers to clients; "
    f"{' and '.join(Ansible.needs)} were preinstalled on Ansible's machines, which it needs"
)
CHANGED_NOTE = (
    "upload_limit_mb: two files change, two services reload them; checked by a request that is then too large"
)


def one_machine(bench: Bench) -> Iterator[Row]:
    """Yield the rows for one machine; like all here, raises ``BenchmarkError`` if a contender has a wrong result."""
    with _environment(bench) as environment:
        yield from _one_machine(environment)


def many_machines(bench: Bench) -> Iterator[Row]:
    """Yield the rows for ten machines at once."""
    with _environment(bench) as environment:
        yield from _many_machines(environment)


def image(bench: Bench) -> Iterator[Row]:
    """Yield the rows for images."""
    with _environment(bench) as environment:
        yield from baking.rows(bench, environment.wanted())
    yield from starting.rows(bench)


@contextmanager
def _environment(bench: Bench) -> Iterator[Environment]:
    with tempfile.TemporaryDirectory(prefix="baikal-bench-") as folder:
        yield Environment(bench, Path(folder), _platform(bench))


@dataclass
class Environment:
    """The environment of all rows; rendered files are in ``folder``."""

    bench: Bench
    folder: Path
    platform: Platform
    rendered: dict[int, Wanted] = field(default_factory=dict)

    def wanted(self, upload_limit_mb: int = FIRST_LIMIT_MB + 1) -> Wanted:
        """Return the wanted state, rendered for the peers once for each value of the changing setting."""
        if upload_limit_mb not in self.rendered:
            folder = self.folder / f"limit-{upload_limit_mb}"
            payload = wanted(folder, self.bench.release, self.platform, upload_limit_mb=upload_limit_mb)
            self.rendered[upload_limit_mb] = payload
        return self.rendered[upload_limit_mb]

    def measured(
        self, section: str, name: str, contenders: dict[str, Measure], *, goals: tuple[Goal, ...] = (), note: str = ""
    ) -> Row:
        """Measure all contenders' seconds in rounds, and return the row; ours is first, independent of the order."""
        self.bench.say(f"  {section}: {name}")
        taken = alternating(contenders, self.bench.runs, self.bench.say)
        figures = {contender: taken[contender] for contender in sorted(taken, key=lambda name: name != OURS)}
        return Row(section=section, name=name, unit="s", figures=figures, goals=goals, note=note)


@dataclass
class Machines:
    """Each contender's machines; as a context manager, all are removed at the end of the block."""

    engine: Engine
    standing: dict[str, list[Machine]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        """Return the machines; they are removed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove every machine."""
        for owner in list(self.standing):
            self.remove(owner)

    def boot(self, owner: str, image: str, count: int = 1, *, lists: str = "now") -> list[Host]:
        """Remove the machines of ``owner``, and return ``count`` new ones.

        ``lists`` is the time of the last update of apt's lists. A lab image has none, in a new directory, and Ansible
        uses the age of the directory.
        """
        self.remove(owner)
        machines = self.standing[owner] = []
        with ThreadPoolExecutor(count) as pool:
            booting = [pool.submit(Machine.start, self.engine, image) for _ in range(count)]
        machines += [boot.result() for boot in booting if not boot.exception()]
        for boot in booting:
            boot.result().run(f"touch -d '{lists}' /var/lib/apt/lists")
        return self.hosts(owner)

    def hosts(self, owner: str) -> list[Host]:
        """Return the machines of ``owner``."""
        return [Host.of(machine) for machine in self.standing[owner]]

    def remove(self, owner: str) -> None:
        """Remove the machines of ``owner``, if there are any."""
        for machine in self.standing.pop(owner, []):
            machine.remove()


@dataclass
class Equality:
    """Compares each contender's result with ours; each is checked once, ours first."""

    environment: Environment
    states: dict[str, State] = field(default_factory=dict)

    def prove(self, contender: Contender, machine: Machine) -> None:
        """Raise ``BenchmarkError`` if the state of ``machine`` after ``contender`` differs from ours."""
        if contender.name not in self.states:
            state = state_of(machine, self.environment.bench.release, self.environment.wanted())
            self.states[contender.name] = state
            refuse_differences(self.states[OURS], state, contender.name)


def _platform(bench: Bench) -> Platform:
    """Return the platform of a machine with the packages; our files depend on it."""
    with Machine.start(bench.engine, machine_image(bench.engine, DISTRIBUTION, WARM)) as machine:
        return platform_of(machine)


def _one_machine(environment: Environment) -> Iterator[Row]:
    bench = environment.bench
    again: list[Contender] = [OurDeploy(bench), Ansible(bench), IdiomaticPyinfra(bench)]
    with Machines(bench.engine) as machines:
        yield _fresh(environment, machines, [again[0], ShellScript(bench), *again[1:]])
        hosts = {contender.name: machines.hosts(contender.name) for contender in again}
        local = (Goal(at_most=0.6), Goal(compared_to=Ansible.name, at_most=1 / 12))
        yield _unchanged(environment, "nothing to change, local link", [*again, BareSsh(bench)], hosts, goals=local)
        with _slow(hosts) as far:
            name = f"nothing to change, {1000 * ROUND_TRIP_S:g} ms round trip"
            yield _unchanged(environment, name, [*again, BareSsh(bench)], far, goals=(Goal(at_most=1.8),))
        yield _changed(environment, again, hosts)
        yield from _control_machine(environment, again, hosts)


def _fresh(environment: Environment, machines: Machines, contenders: Sequence[Contender]) -> Row:
    """Provision bare machines, a new one for each run; those of the last round are kept."""
    engine = environment.bench.engine
    bare = {contender.name: machine_image(engine, DISTRIBUTION, contender.needs) for contender in contenders}
    equality = Equality(environment)

    def measure(contender: Contender) -> float:
        hosts = machines.boot(contender.name, bare[contender.name], lists="last week")
        seconds = contender.run(hosts, environment.wanted()).seconds
        equality.prove(contender, hosts[0].machine)
        return seconds

    return environment.measured(
        "One machine",
        "bare machine to an answering server",
        _by_name(contenders, measure),
        goals=(Goal(compared_to=ShellScript.name, at_most=1.10),),
        note=FRESH_NOTE,
    )


def _unchanged(
    environment: Environment,
    name: str,
    contenders: Sequence[Contender],
    hosts: dict[str, list[Host]],
    *,
    goals: tuple[Goal, ...],
) -> Row:
    """Measure unchanged runs; a contender without its own machine uses ours."""

    def measure(contender: Contender) -> float:
        return contender.unchanged(hosts.get(contender.name, hosts[OURS]), environment.wanted()).seconds

    return environment.measured("One machine", name, _by_name(contenders, measure), goals=goals)


def _changed(environment: Environment, contenders: Sequence[Contender], hosts: dict[str, list[Host]]) -> Row:
    """Change one setting in each round, and restore the first value at the end."""
    limits = {contender.name: FIRST_LIMIT_MB for contender in contenders}

    def measure(contender: Contender) -> float:
        limit = limits[contender.name]
        limits[contender.name] -= 1
        payload = environment.wanted(limit)
        run = contender.run(hosts[contender.name], payload)
        refuse_other_limit(hosts[contender.name][0].machine, environment.bench.release, limit)
        return run.seconds

    row = environment.measured("One machine", "one changed setting", _by_name(contenders, measure), note=CHANGED_NOTE)
    for contender in contenders:
        contender.run(hosts[contender.name], environment.wanted())
    return row


def _many_machines(environment: Environment) -> Iterator[Row]:
    """Start with packages preinstalled: ten runs of apt at once would only measure the processor."""
    bench = environment.bench
    section = f"{HOSTS} machines"
    warm = machine_image(bench.engine, DISTRIBUTION, WARM)
    ours, ansible = OurDeploy(bench), Ansible(bench)
    with Machines(bench.engine) as machines:

        def fresh(contender: Contender) -> float:
            return contender.run(machines.boot(section, warm, HOSTS), environment.wanted()).seconds

        note = "with the distribution's packages preinstalled; all machines share this computer's processor"
        yield environment.measured(
            section, "to an answering server on each", _by_name([ansible, ours], fresh), note=note
        )

        def unchanged(contender: Contender) -> float:
            return contender.unchanged(machines.hosts(section), environment.wanted()).seconds

        def one() -> float:
            return ours.unchanged(machines.hosts(section)[:1], environment.wanted()).seconds

        measures = _by_name([ours, ansible], unchanged) | {ONE_OF_THEM: one}
        goals = (Goal(compared_to=ONE_OF_THEM, at_most=2.5),)
        note = (
            "both on the same machines, provisioned by ours: twenty that boot systemd are more than many kernels allow"
        )
        yield environment.measured(section, "nothing to change", measures, goals=goals, note=note)


def _control_machine(
    environment: Environment, contenders: Sequence[Contender], hosts: dict[str, list[Host]]
) -> Iterator[Row]:
    """Measure memory and processor time of the same runs; ``WATCHER`` documents what is counted."""
    section, name = "The control machine", "nothing to change on one machine"
    memory: dict[str, list[float]] = {contender.name: [] for contender in contenders}

    def measure(contender: Contender) -> float:
        run = contender.unchanged(hosts[contender.name], environment.wanted(), watched=True)
        memory[contender.name].append(run.memory_mib)
        return run.cpu_s

    note = "user and system time, with all child processes that were waited for"
    row = environment.measured(section, f"processor time, {name}", _by_name(contenders, measure), note=note)
    largest = "of the largest process; Ansible has several, which share much of their memory"
    yield Row(section=section, name=f"memory at most, {name}", unit="MiB", figures=memory, note=largest)
    yield row


@contextmanager
def _slow(hosts: dict[str, list[Host]]) -> Iterator[dict[str, list[Host]]]:
    """Yield the same machines behind a slow line."""
    with ExitStack() as lines:
        yield {
            owner: [
                Host.of(host.machine, lines.enter_context(slow_line(host.machine.ssh_port, ROUND_TRIP_S)))
                for host in theirs
            ]
            for owner, theirs in hosts.items()
        }


def _by_name(contenders: Sequence[Contender], measure: Callable[[Contender], float]) -> dict[str, Measure]:
    return {contender.name: partial(measure, contender) for contender in contenders}
