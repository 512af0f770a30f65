"""Where the pipeline gets its rows: a made-up bicycle hire's export, read page by page like a web service.

The rows are in a file next to this module, so the example needs no network. An outage can be requested.
"""

import time
from itertools import islice
from pathlib import Path

from trigger_sdk import current_run

DATA = Path(__file__).parent / "data" / "trips.csv"


class SourceUnavailable(Exception):
    """The source did not answer; the request may be repeated."""


class TripSource:
    """An export of CSV lines below a header. `latency_seconds` is how long one request takes."""

    def __init__(self, path: Path, latency_seconds: float = 0.15) -> None:
        self.path = path
        self.latency_seconds = latency_seconds

    def count_pages(self, page_size: int) -> int:
        time.sleep(self.latency_seconds)
        with self.path.open(encoding="utf-8") as file:
            rows = sum(1 for _ in file) - 1
        return -(-rows // page_size)

    def fetch_page(self, number: int, page_size: int, *, fails_at: int | None = None) -> list[str]:
        """The lines of page `number`, counted from 1. SourceUnavailable if it is `fails_at` in a first attempt."""
        time.sleep(self.latency_seconds)
        run = current_run()
        # Nothing outlives the container, so only the attempt's number can decide when an outage ends.
        if number == fails_at and run is not None and run.attempt_number == 1:
            raise SourceUnavailable(f"page {number}: the source answered 503")
        first = 1 + (number - 1) * page_size
        with self.path.open(encoding="utf-8") as file:
            return [line.rstrip("\n") for line in islice(file, first, first + page_size)]
