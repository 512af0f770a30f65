from uuid import UUID

import pytest
from django.http import QueryDict

from apps.runs.list.filters import RunFilter
from apps.runs.list.queries import PAGE_SIZE, neighbours, newer_count, run_lines, run_page, task_lines
from apps.runs.run_page.summary import log_page, read_cursor, run_summary
from apps.storage.ids import public_id
from tests.factories import make_attempt, make_checkpoint, make_log_line, make_run, make_task, make_worker

pytestmark = pytest.mark.django_db


def chosen(query: str = "") -> RunFilter:
    return RunFilter.read(QueryDict(query))


def run_of(number: int) -> UUID:
    """Ids in a known order."""
    return UUID(int=(0x7 << 76) | (0b10 << 62) | (number << 80))


def test_page_is_newest_first_and_pages_by_key_in_both_directions() -> None:
    ids = [make_run(id=run_of(n)).public_id for n in range(1, PAGE_SIZE + 11)][::-1]

    first = run_page(chosen())
    second = run_page(chosen(first.older_query[1:]))
    back = run_page(chosen(second.newer_query[1:]))

    assert [line.id for line in first.lines] == ids[:PAGE_SIZE]
    assert [line.id for line in second.lines] == ids[PAGE_SIZE:]
    assert [line.id for line in back.lines] == ids[:PAGE_SIZE]
    assert (first.newer_query, second.older_query, back.newer_query) == ("", "", "")


def test_filters_by_state_task_and_search() -> None:
    done = make_run("process-order", state="completed")
    waiting = make_run("process-order")
    other = make_run("send-receipt")

    def found(query: str) -> set[str]:
        return {line.id for line in run_page(chosen(query)).lines}

    assert found("state=completed") == {done.public_id}
    assert found("state=completed&state=pending") == {done.public_id, waiting.public_id, other.public_id}
    assert found("task=send-receipt") == {other.public_id}
    assert found("q=RECEIPT") == {other.public_id}
    assert found("state=completed&task=send-receipt") == set()
    assert len(found("state=nonsense&before=nonsense")) == 3


def test_filter_survives_its_own_address() -> None:
    read = chosen("state=running&state=completed&task=a%26b&q=x&before=run_01hzy3v9p5e8r9q3gk4c5m6n7w")

    assert RunFilter.read(QueryDict(read.query[1:])) == read


def test_newer_runs_are_counted_with_the_filter() -> None:
    first = make_run("process-order", id=run_of(1))
    make_run("process-order", id=run_of(2))
    make_run("send-receipt", id=run_of(3))

    assert newer_count(chosen(), first.id) == 2
    assert newer_count(chosen("task=send-receipt"), first.id) == 1


def test_neighbours_are_those_of_the_filtered_list() -> None:
    runs = [make_run("a-task" if n % 2 else "b-task", id=run_of(n)) for n in range(1, 6)]

    assert neighbours(chosen(), runs[2].id) == (runs[3].public_id, runs[1].public_id)
    assert neighbours(chosen("task=a-task"), runs[2].id) == (runs[4].public_id, runs[0].public_id)
    assert neighbours(chosen(), runs[4].id) == ("", runs[3].public_id)


def test_line_shows_a_small_payload_and_leaves_a_large_one() -> None:
    make_run(id=run_of(1), payload='{"order_id":"A1","n":18446744073709551616}')
    make_run(id=run_of(2), payload='{"blob":"' + "".join(map(chr, range(0x4E00, 0x6E00))) + '"}')

    large, small = run_page(chosen()).lines

    assert small.excerpt == 'order_id="A1" n=18446744073709551616'
    assert large.excerpt == ""


def test_lines_of_changed_rows_do_not_depend_on_the_filter() -> None:
    run = make_run(state="completed")

    assert [line.id for line in run_lines([run.id, UUID(int=7)])] == [run.public_id]


def test_task_lines_show_version_resume_points_and_newest_run() -> None:
    make_task("process-order", resume_points=[{"key": "order-fetched", "line": 9, "names": ["order"]}])
    make_task("never-run", is_retired=True)
    make_run("process-order", id=run_of(1))
    newest = make_run("process-order", id=run_of(2), state="completed")

    first, second = task_lines()

    assert (first.id, first.resume_points, first.last_run_id) == ("process-order", ["order-fetched"], newest.public_id)
    assert first.last_run_badge is not None
    assert first.last_run_badge.word == "Completed"
    assert (second.id, second.is_retired, second.last_run_badge) == ("never-run", True, None)


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
    assert run_summary(UUID(int=1)) is None


def test_log_lines_continue_after_the_cursor() -> None:
    run = make_run(state="completed")
    for attempt, sequence in ((1, 1), (1, 2), (2, 1)):
        make_log_line(run, f"{attempt}.{sequence}", attempt=attempt, sequence=sequence)

    whole = log_page(run.id, None)
    rest = log_page(run.id, (1, 1))

    assert [line.message for line in whole.lines] == ["1.1", "1.2", "2.1"]
    assert whole.cursor == "2.1"
    assert [line.message for line in rest.lines] == ["1.2", "2.1"]
    assert log_page(run.id, read_cursor(whole.cursor)).lines == []


@pytest.mark.parametrize("text", ["", "1", "a.b", "-1.2", "1.2.3", "9" * 30 + ".1"])
def test_false_cursor_is_none(text: str) -> None:
    assert read_cursor(text) is None


def test_public_ids_of_the_test_are_ordered() -> None:
    assert public_id("run", run_of(1)) < public_id("run", run_of(2))
