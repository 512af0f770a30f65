from urllib.parse import urlencode
from uuid import UUID

import pytest
from django.http import QueryDict

from apps.runs.list.filters import RunFilter
from apps.runs.list.queries import PAGE_SIZE, list_page, neighbours, newer_count, run_lines
from tests.factories import make_run
from tests.integration.runs.pages import run_of

pytestmark = pytest.mark.django_db


def chosen(query: str = "") -> RunFilter:
    return RunFilter.read(QueryDict(query))


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
