from urllib.parse import urlencode
from uuid import UUID

import pytest
from django.http import QueryDict

from apps.http.cursors import write_cursor
from apps.http.errors import RequestInvalid
from apps.runs.errors import RunNotFound
from apps.runs.list.filters import RunFilter
from apps.runs.list.queries import PAGE_SIZE, list_page, neighbours, newer_count, run_lines
from apps.runs.run_page.logs import lines_after, newest_lines
from apps.runs.run_page.summary import run_summary
from apps.runs.tasks.page import task_lines
from tests.factories import make_attempt, make_checkpoint, make_log_line, make_run, make_task, make_worker

pytestmark = pytest.mark.django_db


def chosen(query: str = "") -> RunFilter:
    return RunFilter.read(QueryDict(query))


def run_of(number: int) -> UUID:
    """Ids in a known order."""
    return UUID(int=(0x7 << 76) | (0b10 << 62) | (number << 80))


def test_page_is_newest_first_and_pages_by_key_in_both_directions() -> None:
    ids = [make_run(id=run_of(n)).public_id for n in range(1, PAGE_SIZE + 11)][::-1]

    first = list_page(chosen())
    second = list_page(chosen(first.older_query[1:]))
    back = list_page(chosen(second.newer_query[1:]))

    assert [line.id for line in first.lines] == ids[:PAGE_SIZE]
    assert [line.id for line in second.lines] == ids[PAGE_SIZE:]
    assert [line.id for line in back.lines] == ids[:PAGE_SIZE]
    assert (first.newer_query, second.older_query, back.newer_query) == ("", "", "")


def test_filters_by_state_task_and_search() -> None:
    done = make_run("process-order", state="completed")
    waiting = make_run("process-order")
    other = make_run("send-receipt")

    def found(query: str) -> set[str]:
        return {line.id for line in list_page(chosen(query)).lines}

    assert found("state=completed") == {done.public_id}
    assert found("state=completed&state=pending") == {done.public_id, waiting.public_id, other.public_id}
    assert found("task=send-receipt") == {other.public_id}
    assert found("q=RECEIPT") == {other.public_id}
    assert found("state=completed&task=send-receipt") == set()
    assert len(found("state=nonsense&before=nonsense")) == 3


def test_filters_by_queue_tag_and_time() -> None:
    mail = make_run("send-receipt", queue="mail", tags=["vip", "eu"])
    other = make_run("send-receipt", tags=["eu"])

    def found(**query: str) -> set[str]:
        return {line.id for line in list_page(chosen(urlencode(query))).lines}

    assert found(queue="mail") == {mail.public_id}
    assert found(tag="vip") == {mail.public_id}
    assert found(tag="eu") == {mail.public_id, other.public_id}
    assert found(since=other.created_at.isoformat()) == {other.public_id}
    assert found(until=other.created_at.isoformat()) == {mail.public_id}


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

    large, small = list_page(chosen()).lines

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
    with pytest.raises(RunNotFound):
        run_summary(UUID(int=1))


def test_log_lines_continue_after_the_cursor() -> None:
    run = make_run(state="completed")
    for attempt, sequence in ((1, 1), (1, 2), (2, 1)):
        make_log_line(run, f"{attempt}.{sequence}", attempt=attempt, sequence=sequence)

    whole = newest_lines(run.id)
    rest = lines_after(run.id, write_cursor("logs", 1, 1))

    assert [line.message for line in whole.lines] == ["1.1", "1.2", "2.1"]
    assert whole.cursor == write_cursor("logs", 2, 1)
    assert [line.message for line in rest.lines] == ["1.2", "2.1"]
    assert lines_after(run.id, None).lines == whole.lines
    assert lines_after(run.id, whole.cursor).lines == []


def test_newest_lines_say_that_earlier_ones_are_left_out() -> None:
    run = make_run(state="completed")
    for sequence in (1, 2, 3):
        make_log_line(run, f"line {sequence}", sequence=sequence)

    newest = newest_lines(run.id, limit=2)

    assert [line.message for line in newest.lines] == ["line 2", "line 3"]
    assert newest.has_earlier
    assert not newest_lines(run.id, limit=3).has_earlier


@pytest.mark.parametrize("text", ["", "1", "1.2", "a.b", "x" * 2_000])
def test_cursor_that_no_page_gave_out_is_refused(text: str) -> None:
    with pytest.raises(RequestInvalid, match="after: is not a cursor"):
        lines_after(UUID(int=1), text)
