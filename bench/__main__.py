"""``make bench``: measure all sections, or the named ones, and write one report."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import grading, picture, provisioning, recovery, report, scale, serving
from bench.contenders import Bench, BenchmarkError
from tests.lab import release as releases
from tests.lab.deploying import REPOSITORY
from tests.lab.engine import cache_directory, ensure_engine
from tests.lab.errors import LabError
from tests.lab.http_request import PASSWORD
from tests.lab.leftovers import remove_leftovers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECTIONS: Final[dict[str, Callable[[Bench], Iterator[report.Row]]]] = {
    "machine": provisioning.one_machine,
    "machines": provisioning.many_machines,
    "image": provisioning.image,
    "serving": serving.rows,
    "tls": grading.rows,
    "data": recovery.rows,
    "scale": scale.rows,
}
FOLDER: Final = REPOSITORY / ".cache" / "bench"


def main() -> None:
    """Run the chosen sections; print the report, and save it as Markdown, JSON and a picture."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("section", nargs="*", help=f"{', '.join(SECTIONS)}; all by default")
    parser.add_argument("--runs", type=int, default=3, help="number of alternating runs; figures are their medians")
    parser.add_argument("--ansible", type=Path, required=True, help="the directory of ansible-playbook")
    chosen = parser.parse_args()
    if unknown := set(chosen.section) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(sorted(unknown))}; choose from {', '.join(SECTIONS)}")
    if chosen.runs < 1:
        parser.error("at least one run is needed")
    FOLDER.mkdir(parents=True, exist_ok=True)
    os.environ["BAIKAL_ADMIN_PASSWORD"] = PASSWORD  # of short-lived machines
    try:
        rows, about = _measure(chosen.section or list(SECTIONS), chosen.runs, chosen.ansible)
    except (LabError, BenchmarkError) as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit("bench: stopped; only cached files are left")
    print(report.markdown(rows, about))
    _say(f"kept in {FOLDER}")


def _measure(sections: list[str], runs: int, ansible: Path) -> tuple[list[report.Row], dict[str, str]]:
    """Return all rows and a description of the machine; the report is saved after each row."""
    engine = ensure_engine(_say)
    remove_leftovers(engine)
    release = releases.obtain(cache_directory())
    bench = Bench(engine=engine, release=release, runs=runs, say=_say, ansible=ansible.resolve())
    about = {
        **report.machine(),
        "release": f"Baïkal {release.version}, {release.origin}",
        "engine": engine.version,
        "date": time.strftime("%Y-%m-%d"),
    }
    rows: list[report.Row] = []
    for section in sections:
        _say(section)
        for row in SECTIONS[section](bench):
            rows.append(row)
            (FOLDER / "report.md").write_text(report.markdown(rows, about), encoding="utf-8")
            (FOLDER / "report.json").write_text(report.to_json(rows, about), encoding="utf-8")
            _say(f"  {row.name}: " + ", ".join(f"{name} {row.median(name):.3g}" for name in row.figures))
    picture.draw([row for row in rows if row.section == scale.SECTION], FOLDER / "scale.svg")
    return rows, about


def _say(text: str) -> None:
    print(f"bench: {text.removeprefix('lab: ')}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
