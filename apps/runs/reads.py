"""One run by its id, as every door needs it. Changes nothing."""

from uuid import UUID

from apps.runs.errors import RunNotFound
from apps.runs.models import Run, RunQuerySet
from apps.storage.ids import parse_public_id, public_id


def run_id_of(text: str) -> UUID:
    """The UUID of a run's public id; raises RunNotFound where it cannot be one."""
    run_id = parse_public_id("run", text)
    if run_id is None:
        raise RunNotFound(f"There is no run {text[:64]!r}.")
    return run_id


def find_run(run_id: UUID, runs: RunQuerySet | None = None) -> Run:
    """The run, with its values unless `runs` says what else to read with it; raises RunNotFound."""
    rows = Run.objects.select_related("value") if runs is None else runs
    run = rows.filter(id=run_id).first()
    if run is None:
        raise RunNotFound(f"There is no run {public_id('run', run_id)!r}.")
    return run


def require_run(run_id: UUID) -> None:
    """Raises RunNotFound; for the lists of a run, which may be empty."""
    find_run(run_id, Run.objects.only("id"))
