"""Measures what runs notice of a neighbour on their worker that writes raw frames to its socket at full speed."""

from benchmarks.measures import Row, latencies_ms, surroundings
from benchmarks.site import Site, percentile

RUNS = 60
FLOODS = ("log", "checkpoint", "load", "begun", "unknown")
FLOOD_SECONDS = 600.0
"""Longer than the measurement, after which the flood is canceled."""


def flood(site: Site) -> list[Row]:
    """Times from trigger over HTTP to the task's first statement, alone and beside one flood of each kind."""
    rows = [_row("process: trigger → task code, p50, without a flood", latencies_ms(site, RUNS), site)]
    for kind in FLOODS:
        hostile = site.client.trigger("flood", {"kind": kind, "seconds": FLOOD_SECONDS})
        # Its first line is written when the flood begins.
        while not list(hostile.logs()):
            continue
        rows.append(_row(f"… beside a flood of {kind} frames", latencies_ms(site, RUNS), site))
        hostile.cancel()
        hostile.wait(60)
    return rows


def _row(name: str, measured: list[float], site: Site) -> Row:
    slowest = f"slowest {max(measured):,.0f} ms, {RUNS} runs one after the other, {surroundings(site)}"
    return Row(name, percentile(measured, 0.5), "ms", "", slowest)
