"""Measures how long a run waits for a worker on an idle site: from the commit of its trigger to its claim."""

from benchmarks.measures import Row, surroundings
from benchmarks.site import Site, percentile

RUNS = 300


def pickup(site: Site) -> list[Row]:
    """Measures one run at a time, each at a random moment after the previous one has completed."""
    site.client.trigger("noop").wait(60)
    measured = site.run_module("orm_side", "pickup", str(RUNS))
    around = f"{RUNS} runs, one at a time, 20 to 60 ms apart, ORM trigger(), one worker; {surroundings(site)}"
    return [
        Row("idle: trigger committed → claimed, p50", percentile(measured, 0.5), "ms", "≤ 10", around),
        Row("… p99", percentile(measured, 0.99), "ms", "≤ 50", ""),
    ]
