"""How a claim divides a worker's free slots among lanes, within every limit. Pure: rows in, numbers out.

A lane is one task's runs of one queue and concurrency key; the lanes of one queue and key form a group, inside which
priority decides. Groups take turns, so a key that floods its queue starves nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from apps.queues.claim.rates import parse_rate

QUEUE = "queue"
UNBOUNDED = 1_000_000_000


class Lane(NamedTuple):
    queue: str
    task_id: str
    concurrency_key: str

    @property
    def group(self) -> Group:
        return Group(self.queue, self.concurrency_key)


class Group(NamedTuple):
    queue: str
    concurrency_key: str


class Bound(NamedTuple):
    """What a limit is on: `scope` is queue, task or key."""

    scope: str
    name: str
    concurrency_key: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """What bounds a lane: how many more runs each of its limits leaves room for, by what the limit is on."""

    lane: Lane
    is_retired: bool
    deployment_id: UUID
    is_cooling: bool
    now: datetime
    """The clock of the whole claim."""
    rates: Mapping[Bound, tuple[str, float]]
    """The rate's text and by how many seconds its next even arrival lies in the future."""
    slots: Mapping[Bound, int]


@dataclass(frozen=True, slots=True)
class Take:
    """At most so many runs of this lane.

    `is_squeezed`: it may come to more, when it is known how much of a limit that they share the groups before leave.
    So nothing of its group may go before a run that the lane still has.
    """

    terms: Terms
    count: int
    is_squeezed: bool = False


@dataclass(frozen=True, slots=True)
class GroupTake:
    group: Group
    count: int
    takes: Sequence[Take]

    @property
    def is_squeezed(self) -> bool:
        return any(take.is_squeezed for take in self.takes)


def terms_of(row: object) -> Terms:
    """A row of `lane_terms.sql`."""
    get = row.__getattribute__
    lane = Lane(get("queue"), get("task_id"), get("concurrency_key"))
    bounds = {
        "queue": Bound("queue", lane.queue),
        "task": Bound("task", lane.task_id),
        "key": Bound("key", lane.task_id, lane.concurrency_key),
    }
    slots = {
        bound: get(f"{scope}_limit") - get(f"{scope}_running")
        for scope, bound in bounds.items()
        if get(f"{scope}_limit") is not None
    }
    if get("is_cooling"):
        # One probe at a time.
        slots[bounds["task"]] = min(slots.get(bounds["task"], 1), 0 if get("is_probing") else 1)
    rates = {
        bound: (get(f"{scope}_rate"), get(f"{scope}_ahead"))
        for scope, bound in bounds.items()
        if get(f"{scope}_rate") is not None
    }
    return Terms(lane, get("is_retired"), get("deployment_id"), get("is_cooling"), get("now"), rates, slots)


@dataclass(slots=True)
class Room:
    """What the limits leave during one transaction; every run taken is booked at once."""

    slots: dict[Bound, int] = field(default_factory=dict)
    rates: dict[Bound, int] = field(default_factory=dict)
    charges: dict[Bound, int] = field(default_factory=dict)
    """Runs that were taken, by the rates that they count for."""

    @classmethod
    def of(cls, terms: Iterable[Terms]) -> Room:
        room = cls()
        for each in terms:
            room.slots.update(each.slots)
            for bound, (text, ahead) in each.rates.items():
                room.rates[bound] = parse_rate(text).room(ahead)
        return room

    def copy(self) -> Room:
        return Room(dict(self.slots), dict(self.rates), dict(self.charges))

    def of_queue(self, terms: Terms) -> int:
        """What the queue leaves, which all lanes of a group share."""
        return self._least(bound for bound in _bounds(terms) if bound.scope == QUEUE)

    def of_lane(self, terms: Terms) -> int:
        """What the task and its key leave."""
        return self._least(bound for bound in _bounds(terms) if bound.scope != QUEUE)

    def is_open(self, terms: Terms) -> bool:
        return self.of_queue(terms) > 0 and self.of_lane(terms) > 0

    def book_queue(self, terms: Terms, count: int) -> None:
        """Takes room away, or gives it back where the count is negative."""
        self._book(terms, count, is_queue=True)

    def book_lane(self, terms: Terms, count: int) -> None:
        self._book(terms, count, is_queue=False)

    def _least(self, bounds: Iterable[Bound]) -> int:
        return max(0, min((min(self._left(bound)) for bound in bounds), default=UNBOUNDED))

    def _left(self, bound: Bound) -> tuple[int, int]:
        return self.slots.get(bound, UNBOUNDED), self.rates.get(bound, UNBOUNDED)

    def _book(self, terms: Terms, count: int, *, is_queue: bool) -> None:
        for bound in terms.slots:
            if (bound.scope == QUEUE) == is_queue:
                self.slots[bound] -= count
        for bound in terms.rates:
            if (bound.scope == QUEUE) == is_queue:
                self.rates[bound] -= count
                self.charges[bound] = self.charges.get(bound, 0) + count


def plan(groups: Mapping[Group, Sequence[Terms]], room: Room, capacity: int) -> list[GroupTake]:
    """Equal shares of the capacity for the groups in their order, booked in `room`; what nobody can use is left over.

    Only the claim sees whose runs go first inside a group, so each of its lanes books the most that it may get, and the
    queue what the group may get: give back what was not taken. The first groups get the remainder. A lane that finds
    less room than there was before this plan is squeezed (see Take); the first group has no such lane.
    """
    planned: list[GroupTake] = []
    left = capacity
    before = room.copy()
    open_groups = [(group, lanes) for group, lanes in groups.items() if any(map(room.is_open, lanes))]
    for position, (group, lanes) in enumerate(open_groups):
        if left <= 0:
            break
        share = min(-(-left // (len(open_groups) - position)), room.of_queue(lanes[0]))
        takes = list(_takes(lanes, share, room, before))
        for take in takes:
            room.book_lane(take.terms, take.count)
        count = min(share, sum(take.count for take in takes))
        if count:
            room.book_queue(lanes[0], count)
            planned.append(GroupTake(group, count, takes))
            left -= count
    return planned


def _takes(lanes: Sequence[Terms], share: int, room: Room, before: Room) -> Iterator[Take]:
    """The most that each lane of a group may get."""
    for terms in lanes:
        most = min(share, room.of_lane(terms))
        is_squeezed = most < share and len(lanes) > 1 and most < min(share, before.of_lane(terms))
        if most or is_squeezed:
            yield Take(terms, most, is_squeezed)


def _bounds(terms: Terms) -> set[Bound]:
    return {*terms.slots, *terms.rates}
