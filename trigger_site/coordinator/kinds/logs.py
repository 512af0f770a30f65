"""Writes log lines: they change no state and lock no run, so there is nothing to wait for."""

from collections.abc import Sequence

from apps.live.notify import announce_now
from apps.live.topics import RUNS
from apps.protocol import LOGS, LogBatch, Result
from apps.runs import logs
from trigger_site.coordinator.database import Connection
from trigger_site.coordinator.kinds.base import DONE, STALE, Kind


async def write_logs(connection: Connection, items: Sequence[LogBatch], *, waits: bool) -> list[Result | None]:
    refused_tokens = await logs.save(connection, items)
    announce_now(RUNS, {item.run_id for item in items})
    return [STALE if batch.token in refused_tokens else DONE for batch in items]


LOG = Kind(LOGS, write_logs)
