"""Which runs replay which: the way down from a run. The way up is `Run.replay_of`."""

from collections.abc import Sequence
from uuid import UUID

from apps.http.pages import cursor_page
from apps.runs.models import Run


def replay_page(run_id: UUID, *, cursor: str | None = None, limit: int = 50) -> tuple[Sequence[Run], str | None]:
    """The replays made of the run, newest first, and the cursor of the page after them."""
    return cursor_page(Run.objects.filter(replay_of_id=run_id), "replays", cursor, limit)


def replay_count(run_id: UUID) -> int:
    return Run.objects.filter(replay_of_id=run_id).count()
