"""Runs the measurements that are named (all by default) and prints one table."""

import argparse
import sys
from collections.abc import Callable

from benchmarks import check_time, checkpoints, measures
from benchmarks.measures import Row
from benchmarks.setup_time import make_run
from benchmarks.site import Site, running_site

ON_SITE: dict[str, tuple[str, int, Callable[[Site], list[Row]]]] = {
    "latency": ("process", 10, measures.latency),
    "burst": ("process", 10, measures.burst),
    "checkpoints": ("process", checkpoints.PARALLEL_RUNS, checkpoints.latency),
    "parallel": ("process", checkpoints.PARALLEL_RUNS, checkpoints.throughput),
    "memory": ("process", 10, measures.memory),
    "cold": ("docker", 10, measures.cold_start),
}
"""By name: the executor, the worker's slots, and what measures it."""

ALONE: dict[str, Callable[[], list[Row]]] = {
    "check": check_time.check,
    "resume": checkpoints.resume,
    "setup": make_run,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join([*ON_SITE, *ALONE])}; default: all")
    names = parser.parse_args().names or [*ON_SITE, *ALONE]
    unknown = [name for name in names if name not in ON_SITE and name not in ALONE]
    if unknown:
        parser.error(f"no measurement {', '.join(unknown)}")
    rows: list[Row] = []
    for name in names:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        try:
            rows += _measure(name)
        except RuntimeError as error:
            print(f"{name}: {error}", file=sys.stderr)
            rows.append(Row(name, float("nan"), "", "", "could not be measured: see above"))
    _print_table(rows)
    return 0


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
