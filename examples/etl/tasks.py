"""A month of bicycle trips becomes a report: fetch, parse, aggregate, report, with a checkpoint after each stage.

The pages of the source are steps: of twelve pages, a retry fetches only the missing ones.
"""

from typing import Any

from source import DATA, TripSource
from trigger_sdk import AbortRun, Retry, checkpoint, log, step, task
from trips import Parsed, Totals, aggregate, parse, report

source = TripSource(DATA)


@task(id="trips-report", retry=Retry(max_attempts=4, initial=2, factor=2, max=30), max_duration=120)
def trips_report(
    page_size: int = 100, max_rejected_percent: float = 5, fail_at_page: int | None = None
) -> dict[str, Any]:
    if page_size < 1:
        raise AbortRun(f"page_size must be at least 1, not {page_size}")
    page_count = source.count_pages(page_size)
    log.info("counted the pages", pages=page_count)
    checkpoint("counted", {"page_count": page_count})

    lines: list[str] = []
    for number in range(1, page_count + 1):
        lines += step(
            f"page-{number}",
            source.fetch_page,
            number,
            page_size,
            fails_at=fail_at_page,
            retry=Retry(max_attempts=2, initial=0.5),
            timeout=10,
        )
        log.info("have a page", page=number, lines=len(lines))
    checkpoint("fetched", {"lines": lines})

    parsed: Parsed = parse(lines)
    log.info("parsed the rows", trips=len(parsed.trips), rejected=len(parsed.rejected))
    if len(parsed.rejected) * 100 > max_rejected_percent * len(lines):
        raise AbortRun(f"{len(parsed.rejected)} of {len(lines)} rows make no sense: the export itself must be wrong")
    checkpoint("parsed", {"parsed": parsed})

    totals: Totals = aggregate(parsed.trips)
    checkpoint("aggregated", {"totals": totals})

    return report(totals, len(lines), parsed.rejected)
