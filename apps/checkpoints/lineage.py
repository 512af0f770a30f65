"""Which runs replay which: the way down from a run. The way up is `Run.replay_of`."""

from uuid import UUID

from apps.runs.errors import FieldError
from apps.runs.ids import parse_public_id
from apps.runs.models import Run
from apps.runs.requests import RequestInvalid


def replay_page(run_id: UUID, *, cursor: str | None = None, limit: int = 50) -> tuple[list[Run], str | None]:
    """The replays made of the run, newest first, and the cursor of the page after them."""
    replays = Run.objects.filter(replay_of_id=run_id).newest_first()
    if cursor is not None:
        before = parse_public_id("run", cursor)
        if before is None:
            raise RequestInvalid.at((FieldError("cursor", "is not a cursor that a page gave out"),))
        replays = replays.filter(id__lt=before)
    found = list(replays[: limit + 1])
    return found[:limit], found[limit - 1].public_id if len(found) > limit else None


def replay_count(run_id: UUID) -> int:
    return Run.objects.filter(replay_of_id=run_id).count()
