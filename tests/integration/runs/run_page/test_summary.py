from uuid import UUID

import pytest

from apps.runs.errors import RunNotFound
from apps.runs.run_page.summary import run_summary
from tests.factories import make_attempt, make_checkpoint, make_run, make_worker

pytestmark = pytest.mark.django_db


def test_summary_of_a_retrying_run_tells_what_goes_on() -> None:
    worker = make_worker(name="ada")
    error = {"type": "PaymentDeclined", "message": "declined", "stack": "Traceback"}
    run = make_run(state="retrying", attempt_count=1, error=error)
    make_attempt(run, outcome="failed", number=1, worker_id=worker.id, error=error)
    make_checkpoint(run, "order-fetched", attempt=1)

    summary = run_summary(run.id)

    assert summary is not None
    assert summary.failure is not None
    assert summary.failure.type == "PaymentDeclined"
    assert [attempt.worker for attempt in summary.attempts] == ["ada"]
    assert summary.reason is not None
    assert summary.reason.until == run.due_at
    assert summary.replay_key == "order-fetched"
    assert summary.is_cancelable


def test_summary_links_replays_both_ways() -> None:
    original = make_run(state="completed")
    replay = make_run(replay_of=original, replay_from="order-fetched")

    of_replay, of_original = run_summary(replay.id), run_summary(original.id)

    assert of_replay is not None
    assert of_original is not None
    assert (of_replay.replay_of, of_replay.replay_from) == (original.public_id, "order-fetched")
    assert [link.id for link in of_original.replays] == [replay.public_id]


def test_summary_of_nothing_is_none() -> None:
    with pytest.raises(RunNotFound):
        run_summary(UUID(int=1))
