"""What one coordinator remembers between claims: the lanes, whose turn it is, and how far each lane was read.

All of it is a hint. Exactness comes from the rows that a claim reads under its lock; a coordinator that forgets
everything loses nothing but time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from apps.queues.claim.shares import Group, Lane, Terms

FIND_SHARE = 4
"""Finding lanes may take a fifth of the time: it wades through the rows that an old snapshot keeps from being removed,
so its pauses grow with what it costs."""

FIND_PAUSE_SECONDS = (0.002, 2.0)

LANE_LIMIT = 500
"""Keys of one queue and task per find; the next find goes on behind them."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a lane, in the order of its index: everything before it was taken or is held by others."""

    turned_priority: int
    run_id: UUID


START = Place(-(2**31), UUID(int=0))


@dataclass(slots=True)
class Lanes:
    """Groups in the order of their turns: who was served goes to the end."""

    groups: dict[Group, dict[Lane, Place]] = field(default_factory=dict)
    from_keys: dict[tuple[str, str], str] = field(default_factory=dict)
    """By queue and task: the key where the next find begins, where the last one's page was full."""
    from_pair: tuple[str, str] = ("", "")
    """The queue and task behind which the next find begins, where the last one's page was full."""
    found_at: float = float("-inf")
    pause_seconds: float = 0.0

    @property
    def has_more(self) -> bool:
        """Whether the last find left lanes to the next one."""
        return bool(self.from_keys) or self.from_pair != ("", "")

    def may_find(self, now: float) -> bool:
        return now >= self.found_at + self.pause_seconds

    def found(self, lanes: Sequence[Lane], *, began_at: float, ended_at: float) -> None:
        """Takes over what a find has found; groups that were known keep their turn, all lanes begin at their start."""
        shortest, longest = FIND_PAUSE_SECONDS
        self.found_at = ended_at
        self.pause_seconds = min(longest, max(shortest, FIND_SHARE * (ended_at - began_at)))
        fresh: dict[Group, dict[Lane, Place]] = {}
        counts: dict[tuple[str, str], int] = {}
        for lane in lanes:
            fresh.setdefault(lane.group, {})[lane] = START
            pair = (lane.queue, lane.task_id)
            counts[pair] = counts.get(pair, 0) + 1
            self.from_keys[pair] = lane.concurrency_key
        self.from_keys = {pair: key for pair, key in self.from_keys.items() if counts.get(pair, 0) >= LANE_LIMIT}
        known = {group: fresh.pop(group) for group in self.groups if group in fresh}
        self.groups = known | fresh

    def all(self) -> list[Lane]:
        return [lane for lanes in self.groups.values() for lane in lanes]

    def with_terms(self, terms: Iterable[Terms]) -> dict[Group, list[Terms]]:
        """Groups in their turns, with the lanes that may be claimed from."""
        open_groups: dict[Group, list[Terms]] = {group: [] for group in self.groups}
        for each in terms:
            open_groups[each.lane.group].append(each)
        return {group: lanes for group, lanes in open_groups.items() if lanes}

    def place(self, lane: Lane) -> Place:
        return self.groups[lane.group][lane]

    def served(self, places: Mapping[Lane, Place]) -> None:
        """The last run that was taken of each lane; their groups have had their turn."""
        for lane, place in places.items():
            self.groups[lane.group][lane] = place
        groups = {lane.group for lane in places}
        for group in [group for group in self.groups if group in groups]:  # in their turns, not in the order of runs
            self.groups[group] = self.groups.pop(group)

    def drained(self, lanes: Iterable[Lane]) -> None:
        """Nothing more was found in them."""
        for lane in lanes:
            group = self.groups.get(lane.group, {})
            group.pop(lane, None)
            if not group:
                self.groups.pop(lane.group, None)
