"""Trips from CSV lines, and sums over them: pure functions that know nothing about runs, files or checkpoints.

A row that cannot be read does not stop the run: it is kept with its line and the reason, and counted in the report.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

COLUMNS = ("trip", "started", "ended", "from", "to", "bike", "fare")
BIKES = frozenset({"classic", "electric", "cargo"})
SHOWN_REJECTS = 5


@dataclass(frozen=True, slots=True)
class Trip:
    id: str
    started_at: datetime
    seconds: int
    start_station: str
    bike: str
    fare: Decimal


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that was left out. `line` is its place in the file, where the header is line 1."""

    line: int
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Parsed:
    trips: list[Trip]
    rejected: list[Rejected]


@dataclass(frozen=True, slots=True)
class BikeTotals:
    trips: int
    seconds: int
    fares: Decimal


@dataclass(frozen=True, slots=True)
class Totals:
    by_bike: dict[str, BikeTotals]
    by_day: dict[str, int]
    by_station: dict[str, int]


class RowError(ValueError):
    """Says in a few words why a row is left out; the report counts by these words."""


def parse(lines: Iterable[str]) -> Parsed:
    """Every row as a trip or as a rejected row; if rows have the same id, the first one counts."""
    trips: list[Trip] = []
    rejected: list[Rejected] = []
    seen: set[str] = set()
    for number, text in enumerate(lines, 2):
        try:
            trip = parse_row(text)
            if trip.id in seen:
                raise RowError("trip seen before")
        except RowError as error:
            rejected.append(Rejected(number, str(error), text))
        else:
            seen.add(trip.id)
            trips.append(trip)
    return Parsed(trips, rejected)


def parse_row(text: str) -> Trip:
    """The trip of one line; RowError if a column is missing or makes no sense."""
    cells = text.split(",")
    if len(cells) != len(COLUMNS):
        raise RowError("wrong number of columns")
    trip_id, started, ended, start_station, end_station, bike, fare = cells
    started_at = _time(started)
    seconds = int((_time(ended) - started_at).total_seconds())
    if seconds <= 0:
        raise RowError("ends before it starts")
    if not start_station or not end_station:
        raise RowError("no station")
    if bike not in BIKES:
        raise RowError("unknown bike")
    return Trip(trip_id, started_at, seconds, start_station, bike, _amount(fare))


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise RowError("not a time") from None
    if at.tzinfo is None:
        raise RowError("not a time")
    return at


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise RowError("fare is no amount") from None
    if not amount.is_finite():
        raise RowError("fare is no amount")
    if amount < 0:
        raise RowError("fare is negative")
    return amount


def aggregate(trips: Iterable[Trip]) -> Totals:
    """Sums by kind of bicycle, and the number of trips by day and by starting station."""
    by_bike: dict[str, BikeTotals] = {}
    by_day: Counter[str] = Counter()
    by_station: Counter[str] = Counter()
    for trip in trips:
        before = by_bike.get(trip.bike, BikeTotals(0, 0, Decimal()))
        by_bike[trip.bike] = BikeTotals(before.trips + 1, before.seconds + trip.seconds, before.fares + trip.fare)
        by_day[trip.started_at.date().isoformat()] += 1
        by_station[trip.start_station] += 1
    return Totals(by_bike, dict(by_day), dict(by_station))


def report(totals: Totals, row_count: int, rejected: list[Rejected]) -> dict[str, Any]:
    """What a person reads: counts, amounts as text with two digits, and the first rows that were left out."""
    by_bike = {
        bike: {
            "trips": total.trips,
            "fares": f"{total.fares:.2f}",
            "mean_minutes": round(total.seconds / total.trips / 60, 1),
        }
        for bike, total in sorted(totals.by_bike.items())
    }
    return {
        "rows": row_count,
        "trips": sum(total.trips for total in totals.by_bike.values()),
        "fares": f"{sum((total.fares for total in totals.by_bike.values()), Decimal()):.2f}",
        "by_bike": by_bike,
        "busiest_day": _most(totals.by_day),
        "busiest_station": _most(totals.by_station),
        "rejected": dict(Counter(row.reason for row in rejected).most_common()),
        "first_rejected": [{"line": row.line, "reason": row.reason} for row in rejected[:SHOWN_REJECTS]],
    }


def _most(counts: dict[str, int]) -> dict[str, Any]:
    """The name with the largest count, alphabetically first if there are several; empty if there are none."""
    if not counts:
        return {}
    name = min(counts, key=lambda name: (-counts[name], name))
    return {"name": name, "trips": counts[name]}
