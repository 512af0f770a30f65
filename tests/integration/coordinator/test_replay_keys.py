"""A replay counts under the limits of its own concurrency key, in the real claim."""

from apps.checkpoints.replay.create import replay
from apps.checkpoints.replay.plan import ReplayRequest
from tests.factories import make_run, make_task
from tests.integration.coordinator.claiming import claimed_ids


def test_limit_of_the_new_key_counts_the_replay(committed: str) -> None:
    task = make_task(options={"concurrency_key": "payload.customer", "max_concurrency": 1})
    original = make_run(task, state="completed", payload='{"customer":"a"}', concurrency_key="a")
    of_a = replay(ReplayRequest(run_id=original.id))
    first_of_b, _ = (
        replay(ReplayRequest(run_id=original.id, payload={"customer": "b", "number": number})) for number in range(2)
    )

    assert set(claimed_ids(committed)) == {of_a.id, first_of_b.id}
