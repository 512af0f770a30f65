"""Which runs replay which: the way down from a run. The way up is `Run.replay_of`."""

from uuid import UUID

from apps.http.cursors import read_run_cursor, write_run_cursor
from apps.runs.models import Run


def replay_page(run_id: UUID, *, cursor: str | None = None, limit: int = 50) -> tuple[list[Run], str | None]:
    """The replays made of the run, newest first, and the cursor of the page after them."""
    replays = Run.objects.filter(replay_of_id=run_id).newest_first()
    if cursor is not None:
        replays = replays.filter(id__lt=read_run_cursor("replays", cursor))
    found = list(replays[: limit + 1])
    return found[:limit], write_run_cursor("replays", found[limit - 1].id) if len(found) > limit else None


def replay_count(run_id: UUID) -> int:
    return Run.objects.filter(replay_of_id=run_id).count()
