"""Claims runs: due runs become pending, pending runs are leased to one worker. Ends no lease (see `workers.leases`).

The only caller in production is a coordinator, on a connection from its own pool.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import namedtuple_row

from apps.queues.claim.lanes import LANE_LIMIT, Lanes, Place
from apps.queues.claim.rates import parse_rate
from apps.queues.claim.shares import Group, GroupTake, Lane, Room, Terms, plan, terms_of
from apps.runs.retry import COOLING_FROM, COOLING_LONGEST_SECONDS, COOLING_PROBE_SECONDS
from apps.storage.statements import HELD, Statement, statement

PROMOTE_LIMIT = 1000
PAIR_LIMIT = 1000
"""Pairs of queue and task per find."""

LOCK_CLAIMS = statement(__file__, "lock_claims")
PROMOTE_DUE = statement(__file__, "promote_due")
NEXT_DUE = statement(__file__, "next_due")
FIND_LANES = statement(__file__, "find_lanes")
LANE_TERMS = statement(__file__, "lane_terms")
CLAIM_RUNS = statement(__file__, "claim_runs")
CHARGE_RATES = statement(__file__, "charge_rates")
START_PROBES = statement(__file__, "start_probes")
REPEAT_CLAIMS = statement(__file__, "repeat_claims")

BOOKING_TIMEOUT = "SET LOCAL lock_timeout = '100ms'"
"""Other claims wait while rates and cool-downs are written: a session that holds one of those rows must not stop all
claims."""

BOOKING_PAUSE_SECONDS = 2.0
"""If somebody else held a row that had to be written, nothing that needs such writes is claimed for this long."""

Connection = AsyncConnection[Any]


class PollAnsweredError(Exception):
    """The poll already has claims: it was sent twice, and another coordinator, or this one, was faster."""


async def promote_due(database: Connection, *, limit: int = PROMOTE_LIMIT) -> list[UUID]:
    """Makes runs pending when their due time has come; returns their ids."""
    return [row.id for row in await PROMOTE_DUE.run_on(database, limit=limit)]


async def next_due_seconds(database: Connection) -> float | None:
    """Seconds until the next run is due, 0 if one already is; None if no run has a due time."""
    seconds = (await NEXT_DUE.run_on(database))[0].seconds
    return None if seconds is None else max(0.0, seconds)


async def repeat(database: Connection, *, worker_id: UUID, poll_id: UUID, confirm_seconds: int) -> list[Any]:
    """The live claims that this poll was already answered with, by any coordinator; their leases begin again."""
    async with database.transaction():
        return await REPEAT_CLAIMS.run_on(
            database, worker_id=worker_id, poll_id=poll_id, confirm_seconds=confirm_seconds
        )


@dataclass(frozen=True, slots=True)
class Claimed:
    """`rows` as in `claim_runs.sql`; `again_in_seconds`: when more may be available without a notification, if ever."""

    rows: Sequence[Any] = ()
    again_in_seconds: float | None = None


@dataclass(slots=True)
class Claimer:
    """Claims for one coordinator; remembers lanes between claims, but nothing that a limit depends on."""

    lanes: Lanes = field(default_factory=Lanes)
    _is_short: bool = False
    _unbooked_until: float = float("-inf")
    """Until then, lanes that have rates or are cooling down are left out."""
    _held_back: set[Group] = field(default_factory=set)
    """Groups of this pass that waited for what the groups before them would leave; they get one more turn in it."""

    async def claim(
        self, database: Connection, *, worker_id: UUID, poll_id: UUID, limit: int, confirm_seconds: int
    ) -> Claimed:
        """Leases up to `limit` pending runs to the worker and opens their attempts, within all limits.

        Raises PollAnsweredError if the poll already has claims (see `repeat`).
        """
        try:
            return await self._claim(database, worker_id, poll_id, limit, confirm_seconds)
        except BaseException:
            self.lanes = Lanes()  # what it remembers was rolled back
            raise

    async def _claim(
        self, database: Connection, worker_id: UUID, poll_id: UUID, limit: int, confirm_seconds: int
    ) -> Claimed:
        parameters = {"worker_id": worker_id, "poll_id": poll_id, "confirm_seconds": confirm_seconds}
        rows: list[Any] = []
        waits: list[float] = []
        if self.lanes.groups and not self.lanes.may_find(time.monotonic()):
            rows += await self._pass(database, limit, parameters, waits, 0)
        if len(rows) < limit:
            if self.lanes.may_find(time.monotonic()):
                await self._find(database)
                if self.lanes.groups:
                    rows += await self._pass(database, limit - len(rows), parameters, waits, len(rows))
                if self.lanes.has_more:
                    waits.append(self.lanes.pause_seconds)
            else:
                waits.append(self.lanes.pause_seconds)
        return Claimed(rows, min(waits, default=None) if len(rows) < limit else None)

    async def _find(self, database: Connection) -> None:
        began_at = time.monotonic()
        cursors = self.lanes.from_keys
        from_queue, from_task = self.lanes.from_pair
        rows = await FIND_LANES.run_on(
            database,
            from_queue=from_queue,
            from_task=from_task,
            pair_limit=PAIR_LIMIT,
            lane_limit=LANE_LIMIT,
            from_queues=[queue for queue, _ in cursors],
            from_tasks=[task for _, task in cursors],
            from_keys=list(cursors.values()),
        )
        found = [Lane(row.queue, row.task_id, row.concurrency_key) for row in rows if row.queue is not None]
        last = rows[0] if rows[0].pair_count == PAIR_LIMIT else None
        self.lanes.from_pair = ("", "") if last is None else (last.last_queue, last.last_task)
        self.lanes.found(found, began_at=began_at, ended_at=time.monotonic())

    async def _pass(
        self, database: Connection, limit: int, parameters: Mapping[str, Any], waits: list[float], claimed_count: int
    ) -> list[Any]:
        """Like `_try_pass`; without the lanes that need writes if somebody holds the rows to be written."""
        try:
            return await self._try_pass(database, limit, parameters, waits, claimed_count)
        except HELD:
            if not self._books:
                raise
        self._unbooked_until = time.monotonic() + BOOKING_PAUSE_SECONDS
        await self._find(database)  # what is remembered of the lanes was rolled back
        return await self._try_pass(database, limit, parameters, waits, claimed_count) if self.lanes.groups else []

    @property
    def _books(self) -> bool:
        return time.monotonic() >= self._unbooked_until

    async def _try_pass(
        self, database: Connection, limit: int, parameters: Mapping[str, Any], waits: list[float], claimed_count: int
    ) -> list[Any]:
        """One READ COMMITTED transaction: the lock, then what bounds the claim, then the claim.

        The counts are read by a statement that starts after the lock is held; the two are sent together. If the first
        shares fit, the lock is held for three round trips, plus one if a group had to wait for what the groups before
        it leave of a limit that they share.
        """
        rows: list[Any] = []
        self._is_short = False
        self._held_back = set()
        lanes = self.lanes.all()
        async with database.pipeline(), database.transaction():
            await database.execute(LOCK_CLAIMS.text)
            found = await _run(database, LANE_TERMS, {
                "queues": [lane.queue for lane in lanes],
                "tasks": [lane.task_id for lane in lanes],
                "keys": [lane.concurrency_key for lane in lanes],
                "cooling_from": COOLING_FROM,
                "poll_id": parameters["poll_id"],
            })  # fmt: skip
            if found and found[0].poll_count != claimed_count:
                raise PollAnsweredError(f"The poll {parameters['poll_id']} was answered before.")
            terms = [terms for terms in map(terms_of, found) if self._books or not (terms.rates or terms.is_cooling)]
            if len(terms) < len(found):
                waits.append(BOOKING_PAUSE_SECONDS)
            room = Room.of(terms)
            bounds = {**parameters, "now": terms[0].now} if terms else {}
            groups = self.lanes.with_terms(terms)
            while groups and len(rows) < limit:
                planned = plan(groups, room, limit - len(rows))
                if not planned:
                    break
                taken = await _run(database, CLAIM_RUNS, {**bounds, **self._wanted(planned)})
                rows += taken
                groups = self._settle(planned, taken, groups, room)
            await _write_down(database, terms, room, rows)
        waits += _waits(terms, room)
        if self._is_short:
            waits.append(self.lanes.pause_seconds)
        return rows

    def _wanted(self, planned: Sequence[GroupTake]) -> dict[str, Any]:
        takes = [(number, take) for number, group in enumerate(planned, 1) for take in group.takes]
        places = [self.lanes.place(take.terms.lane) for _, take in takes]
        return {
            "groups": [number for number, _ in takes],
            "queues": [take.terms.lane.queue for _, take in takes],
            "tasks": [take.terms.lane.task_id for _, take in takes],
            "keys": [take.terms.lane.concurrency_key for _, take in takes],
            "takes": [take.count for _, take in takes],
            "are_squeezed": [take.is_squeezed for _, take in takes],
            "after_turned": [place.turned_priority for place in places],
            "after_ids": [place.run_id for place in places],
            "is_retired": [take.terms.is_retired for _, take in takes],
            "deployment_ids": [take.terms.deployment_id for _, take in takes],
            "group_takes": [group.count for group in planned],
        }

    def _settle(
        self, planned: Sequence[GroupTake], taken: Sequence[Any], groups: Mapping[Group, list[Terms]], room: Room
    ) -> dict[Group, list[Terms]]:
        """Gives back what was not taken; returns the groups that may have more, in turn order."""
        counts: dict[Lane, int] = {}
        places: dict[Lane, Place] = {}
        for row in taken:  # in order of the lanes, so the last row of each lane wins
            lane = Lane(row.queue, row.task_id, row.concurrency_key)
            counts[lane] = counts.get(lane, 0) + 1
            places[lane] = Place(-row.priority, row.run_id)
        drained: list[Lane] = []
        full: set[Group] = set()
        held_back: list[Group] = []
        for group in planned:
            got = sum(counts.get(take.terms.lane, 0) for take in group.takes)
            room.book_queue(group.takes[0].terms, got - group.count)
            for take in group.takes:
                room.book_lane(take.terms, counts.get(take.terms.lane, 0) - take.count)
                if got < group.count and counts.get(take.terms.lane, 0) < take.count and not group.is_squeezed:
                    drained.append(take.terms.lane)
            if got == group.count:
                full.add(group.group)
            elif group.is_squeezed and group.group not in self._held_back:
                held_back.append(group.group)
            elif group.is_squeezed or len(group.takes) < len(groups[group.group]):
                # A lane that got nothing may get some now that others gave back: the next claim sees to it.
                self._is_short = True
        self.lanes.served(places)
        self.lanes.drained(drained)
        self._held_back.update(held_back)
        # Groups without a turn in this round are as open as those that filled theirs.
        unplanned = [group for group in groups if group not in {each.group for each in planned}]
        # Groups that were held back come before anyone's second share, which the next claim sees to.
        self._is_short |= bool(held_back and full)
        again = [] if held_back else [group for group in groups if group in full]
        return {group: groups[group] for group in (*held_back, *unplanned, *again)}


async def _run(database: Connection, wanted: Statement, parameters: Mapping[str, Any]) -> list[Any]:
    async with database.cursor(row_factory=namedtuple_row) as cursor:
        await cursor.execute(wanted.text, parameters)
        return await cursor.fetchall()


async def _write_down(database: Connection, terms: Sequence[Terms], room: Room, rows: Sequence[Any]) -> None:
    """Writes what bounds later claims, apart from the running runs themselves."""
    charges = {bound: count for bound, count in room.charges.items() if count}
    cooling = {each.lane.task_id for each in terms if each.is_cooling}
    probes = {row.task_id: row.run_id for row in rows if row.task_id in cooling}  # one each, see `terms_of`
    if charges or probes:
        await database.execute(BOOKING_TIMEOUT)
    if charges:
        rates = {bound: parse_rate(text) for each in terms for bound, (text, _) in each.rates.items()}
        await database.execute(
            CHARGE_RATES.text,
            {
                "scopes": [bound.scope for bound in charges],
                "names": [bound.name for bound in charges],
                "keys": [bound.concurrency_key for bound in charges],
                "seconds": [rates[bound].charge_seconds(count) for bound, count in charges.items()],
                "now": terms[0].now,
            },
        )
    if probes:
        parameters = {
            "tasks": list(probes), "run_ids": list(probes.values()), "cooling_from": COOLING_FROM,
            "longest_seconds": COOLING_LONGEST_SECONDS, "probe_seconds": COOLING_PROBE_SECONDS,
        }  # fmt: skip
        await database.execute(START_PROBES.text, parameters)


def _waits(terms: Sequence[Terms], room: Room) -> list[float]:
    """How long until used-up rates leave room again."""
    waits = []
    for each in terms:
        for bound, (text, ahead) in each.rates.items():
            if room.rates[bound] <= 0:
                rate = parse_rate(text)
                waits.append(rate.wait_seconds(max(0.0, ahead) + rate.charge_seconds(room.charges.get(bound, 0))))
    return waits
