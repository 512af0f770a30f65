"""Which runs replay a run: the way down. The way up is `Run.replay_of`."""

from collections.abc import Sequence
from uuid import UUID

from apps.http.pages import cursor_page
from apps.runs.models import Run


def replay_page(run_id: UUID, *, cursor: str | None = None, limit: int = 50) -> tuple[Sequence[Run], str | None]:
    """The replays of the run, newest first, and the cursor of the next page."""
    return cursor_page(Run.objects.filter(replay_of_id=run_id), "replays", cursor, limit)


def replay_count(run_id: UUID) -> int:
    return Run.objects.filter(replay_of_id=run_id).count()
