"""Bump: a run goes to the front of its queue, before every priority that a trigger may ask for."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.db.models import F

from apps.live.notify import announce_runs
from apps.runs.errors import IllegalMove
from apps.runs.models import BUMPED_PRIORITY, Run
from apps.runs.reads import find_run
from apps.runs.states import RunState, state_words


def bump(*, run_id: UUID) -> Run:
    """The pending run, now before all others of its queue; among bumped ones the oldest goes first.

    Bumping twice is as bumping once. Raises RunNotFound, and IllegalMove where the run is not pending (any more).
    """
    with transaction.atomic():
        moved = Run.objects.filter(id=run_id, state=RunState.PENDING).update(
            priority=BUMPED_PRIORITY, version=F("version") + 1
        )
        if moved:
            announce_runs([run_id], is_pending=True)
    run = find_run(run_id, Run.objects.all())
    if not moved:
        raise IllegalMove(f"A {state_words(run.state)} run cannot be bumped, only a pending one.", run.state)
    return run
