"""Writes starts: an attempt's process has begun."""

from collections.abc import Sequence

from apps.live.notify import announce_now
from apps.live.topics import RUNS
from apps.protocol import STARTS, Result, Start
from apps.runs.lifecycle import start_attempts
from trigger_site.coordinator.database import Connection
from trigger_site.coordinator.kinds.base import Kind, result_of


async def write_starts(connection: Connection, items: Sequence[Start], *, waits: bool) -> list[Result | None]:
    answers = await start_attempts(connection, items, waits=waits)
    announce_now(RUNS, (item.run_id for item in items))
    return [result_of(answer) for answer in answers]


START = Kind(STARTS, write_starts)
