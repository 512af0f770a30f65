"""Runs the named measurements (all by default) and prints one table."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import check_time, checkpoints, codec, edge, engine, flood, growth, measures, pickup, rivals, triggering
from benchmarks.measures import Row
from benchmarks.setup_time import make_run
from benchmarks.site import Site, running_site

ON_SITE: dict[str, tuple[str, int, Callable[[Site], list[Row]]]] = {
    "latency": ("process", 10, measures.latency),
    "burst": ("process", 10, measures.burst),
    "burst_warm": ("process", 50, measures.burst_warm),
    "checkpoints": ("process", checkpoints.PARALLEL_RUNS, checkpoints.latency),
    "parallel": ("process", checkpoints.PARALLEL_RUNS, checkpoints.throughput),
    "memory": ("process", 10, measures.memory),
    "pickup": ("process", 1, pickup.pickup),
    "flood": ("process", 10, flood.flood),
    "trigger": ("process", 1, triggering.triggering),
    "edge": ("process", 1, edge.edge),
    "cold": ("docker", 10, measures.cold_start),
}
"""By name: the executor, the worker's slots, and the measuring function."""

ALONE: dict[str, Callable[[], list[Row]]] = {
    "engine": engine.engine,
    "growth": growth.growth,
    "check": check_time.check,
    "codec": codec.codec,
    "resume": checkpoints.resume,
    "setup": make_run,
}


RIVALS = "rivals"


def main() -> int:
    measures_by_name = _measures(*_arguments())
    rows: list[Row] = []
    for name, measure in measures_by_name.items():
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        try:
            rows += measure()
        except RuntimeError as error:
            print(f"{name}: {error}", file=sys.stderr)
            rows.append(Row(name, float("nan"), "", "", "could not be measured: see above"))
    _print_table(rows)
    return 0


def _arguments() -> tuple[list[str], Path | None]:
    """Returns what to measure, and where the other systems are."""
    known = [*ON_SITE, *ALONE]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; default: all of them")
    parser.add_argument(
        "--rivals", type=Path, metavar="DIR", help="a prepared copy of the side-by-side bench; adds the name `rivals`"
    )
    given = parser.parse_args()
    names = given.names or ([RIVALS] if given.rivals else known)
    unknown = [name for name in names if name not in known and not (name == RIVALS and given.rivals)]
    if unknown:
        parser.error(f"no measurement {', '.join(unknown)}" + (" without --rivals DIR" if RIVALS in unknown else ""))
    return names, given.rivals


def _measures(names: list[str], folder: Path | None) -> dict[str, Callable[[], list[Row]]]:
    found: dict[str, Callable[[], list[Row]]] = {name: partial(_measure, name) for name in names}
    if folder is not None and RIVALS in found:
        found[RIVALS] = partial(rivals.rivals, folder.absolute(), _measure)
    return found


def _measure(name: str) -> list[Row]:
    if name in ALONE:
        return ALONE[name]()
    executor, concurrency, measure = ON_SITE[name]
    with running_site(executor=executor, concurrency=concurrency) as site:
        return measure(site)


def _print_table(rows: list[Row]) -> None:
    print("| Figure | Measured | Goal | Circumstances |")
    print("|---|---|---|---|")
    for row in rows:
        print(f"| {row.name} | {row.value:,.1f} {row.unit} | {row.goal} | {row.circumstances} |")


if __name__ == "__main__":
    sys.exit(main())
