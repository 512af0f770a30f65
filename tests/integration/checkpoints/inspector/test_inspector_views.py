"""The state inspector: checkpoints and steps, groups, search, marks, and what stays text."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.checkpoints.inspector.queries import FOUND_SHOWN, PAGE_SIZE
from apps.checkpoints.models import Checkpoint, Kind
from apps.runs.models import Run
from tests.factories import make_checkpoint, make_run, make_user

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}
HOSTILE = "<script>alert(1)</script>\"'>{{ 7 }}"


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(make_user("operator"))
    return client


def run_with_checkpoints() -> Run:
    run = make_run(state="dead_letter")
    make_checkpoint(run, "order-fetched", binds=["order"])
    make_checkpoint(run, "payment-complete", data='{"payment":{"id":"pay_1"}}', carried='{"order":{"paid":true}}')
    return run


def add_steps(run: Run, count: int, *, first: int = 0) -> None:
    start = run.checkpoints.count()
    fields: dict[str, Any] = {"kind": Kind.STEP, "content_hash": b"x" * 32, "attempt": 1, "duration_seconds": 0.5}
    Checkpoint.objects.bulk_create(
        Checkpoint(run=run, key=f"page-{first + n:04d}", index=start + n, data=f'{{"n":{n}}}', size_bytes=8, **fields)
        for n in range(count)
    )


def shown_keys(fragment: str) -> list[str]:
    return re.findall(r'class="checkpoint-key"[^>]*>([^<]*)<', fragment)


def query_count(act: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as captured:
        act()
    return len(captured)


def test_list_shows_keys_data_and_names(operator: Client) -> None:
    run = run_with_checkpoints()

    fragment = operator.get(f"/runs/{run.public_id}/checkpoints", headers=HTMX).text

    for text in ("order-fetched", "payment-complete", "pay_1", "restores", "carried along"):
        assert text in fragment
    assert "<html" not in fragment
    assert "<html" in operator.get(f"/runs/{run.public_id}/checkpoints").text


def test_tail_answers_with_what_came_later(operator: Client) -> None:
    run = run_with_checkpoints()

    fragment = operator.get(f"/runs/{run.public_id}/checkpoints/tail?after=0", headers=HTMX).text

    assert "payment-complete" in fragment
    assert "order-fetched" not in fragment
    assert "after=1" in fragment


def test_large_data_is_fetched_when_it_is_opened(operator: Client) -> None:
    run = make_run(state="completed")
    big = '{"text":"' + "needle " * 4000 + '"}'
    make_checkpoint(run, "big", data=big, carried=big.replace("needle", "thread"))

    fragment = operator.get(f"/runs/{run.public_id}/checkpoints", headers=HTMX).text
    data = operator.get(f"/runs/{run.public_id}/checkpoints/0", headers=HTMX).text
    carried = operator.get(f"/runs/{run.public_id}/checkpoints/0/carried", headers=HTMX).text

    assert "needle" not in fragment
    assert "thread" not in fragment
    assert f'hx-get="/runs/{run.public_id}/checkpoints/0"' in fragment
    assert f'hx-get="/runs/{run.public_id}/checkpoints/0/carried"' in fragment
    assert "needle" in data
    assert "thread" in carried


def test_large_data_of_the_open_last_checkpoint_is_fetched_at_once(operator: Client) -> None:
    run = make_run(state="completed")
    big = '{"text":"' + "needle " * 4000 + '"}'
    make_checkpoint(run, "first", data=big)
    make_checkpoint(run, "last", data=big)

    fragment = operator.get(f"/runs/{run.public_id}/checkpoints", headers=HTMX).text

    first, last = fragment.split('id="checkpoint-1"')
    assert ('hx-trigger="toggle once"' in first, 'hx-trigger="load"' in first) == (True, False)
    assert 'hx-trigger="load"' in last.split('id="checkpoints-tail"')[0]


def test_few_steps_are_shown_with_their_word_and_duration(operator: Client) -> None:
    run = run_with_checkpoints()
    add_steps(run, 3)

    fragment = operator.get(f"/runs/{run.public_id}/checkpoints", headers=HTMX).text

    assert shown_keys(fragment)[2:] == ["page-0000", "page-0001", "page-0002"]
    assert fragment.count('<span class="checkpoint-word">step</span>') == 3
    assert fragment.count("500 ms") == 3
    assert "3 steps" in fragment
    assert "1.50 s" in fragment


def test_two_thousand_steps_are_one_closed_group_between_the_checkpoints(operator: Client) -> None:
    run = make_run(state="completed")
    make_checkpoint(run, "listed")
    add_steps(run, 2_000)
    make_checkpoint(run, "crawled")

    answer = operator.get(f"/runs/{run.public_id}/checkpoints", headers=HTMX)

    assert shown_keys(answer.text) == ["listed", "crawled"]
    assert "2,000 steps" in answer.text
    assert "page-0000 … page-1999" in answer.text
    assert len(answer.content) < 20_000


def test_steps_of_a_group_come_by_pages_and_end_at_the_next_checkpoint(operator: Client) -> None:
    run = make_run(state="completed")
    make_checkpoint(run, "listed")
    add_steps(run, PAGE_SIZE + 20)
    make_checkpoint(run, "crawled")
    add_steps(run, 2, first=9000)
    url = f"/runs/{run.public_id}/checkpoints/steps?first=1"

    first = operator.get(f"{url}&after=0", headers=HTMX).text
    second = operator.get(f"{url}&after={PAGE_SIZE}", headers=HTMX).text

    assert len(shown_keys(first)) == PAGE_SIZE
    assert f"first=1&amp;after={PAGE_SIZE}" in first
    assert shown_keys(second) == [f"page-{n:04d}" for n in range(PAGE_SIZE, PAGE_SIZE + 20)]
    assert 'hx-trigger="live"' not in second
    assert "<html" in operator.get(url).text


def test_group_that_grows_replaces_its_facts_and_adds_no_row(operator: Client) -> None:
    run = make_run(state="running")
    make_checkpoint(run, "listed")
    add_steps(run, 2)
    page = operator.get(f"/runs/{run.public_id}/checkpoints", headers=HTMX).text
    assert "after=2&amp;group=1" in page

    add_steps(run, 2, first=2)
    tail = operator.get(f"/runs/{run.public_id}/checkpoints/tail?after=2&group=1", headers=HTMX).text
    steps = operator.get(f"/runs/{run.public_id}/checkpoints/steps?first=1&after=2", headers=HTMX).text

    assert 'id="steps-1-facts" hx-swap-oob="true"' in tail
    assert "4 steps" in tail
    assert shown_keys(tail) == []
    assert "after=4&amp;group=1" in tail
    assert shown_keys(steps) == ["page-0002", "page-0003"]
    assert 'hx-trigger="live"' in steps


def test_search_finds_keys_of_both_kinds(operator: Client) -> None:
    run = make_run(state="completed")
    make_checkpoint(run, "Page-listed")
    add_steps(run, FOUND_SHOWN + 30)
    url = f"/runs/{run.public_id}/checkpoints"

    found = operator.get(url, {"key": "page-002"}, headers={**HTMX, "HX-Target": "checkpoint-rows"}).text
    many = operator.get(url, {"key": "page"}, headers=HTMX).text
    nothing = operator.get(url, {"key": HOSTILE}, headers=HTMX).text

    assert shown_keys(found) == [f"page-002{n}" for n in range(10)]
    assert found.lstrip().startswith('<ol class="checkpoint-rows"')
    assert len(shown_keys(many)) == FOUND_SHOWN
    assert shown_keys(many)[0] == "Page-listed"
    assert "type more of the key" in many
    assert "No key contains" in nothing
    assert "<script>" not in nothing


def test_brought_along_and_edited_entries_are_marked(operator: Client) -> None:
    first = make_run(state="completed")
    make_checkpoint(first, "edited", is_edited=True, attempt=0)
    second = make_run(state="pending", replay_of=first)
    make_checkpoint(second, "edited", is_edited=True, attempt=0)
    make_checkpoint(second, "other", attempt=0)
    make_checkpoint(second, "own", attempt=1)

    before = operator.get(f"/runs/{first.public_id}/checkpoints", headers=HTMX).text
    after = operator.get(f"/runs/{second.public_id}/checkpoints", headers=HTMX).text

    assert "edited for this replay" in before
    assert "edited for an earlier replay" in after
    assert after.count("from the original") == 1
    assert after.count("attempt 1") == 1


def test_query_count_does_not_grow_with_the_entries(operator: Client) -> None:
    run = run_with_checkpoints()
    url = f"/runs/{run.public_id}/checkpoints"
    operator.get(url, headers=HTMX)
    few = query_count(lambda: operator.get(url, headers=HTMX))
    add_steps(run, 40)
    for number in range(30):
        make_checkpoint(run, f"later-{number}")

    many = query_count(lambda: operator.get(url, headers=HTMX))

    assert many == few <= 6


def test_hostile_keys_and_data_stay_text(operator: Client) -> None:
    run = make_run(state="completed")
    make_checkpoint(run, HOSTILE, data='{"<script>alert(1)</script>":1}', binds=[HOSTILE], kind=Kind.STEP)
    add_steps(run, 1)

    for path in ("checkpoints", "checkpoints/steps?first=0", "checkpoints?key=script"):
        page = operator.get(f"/runs/{run.public_id}/{path}").text

        assert "alert(1)" in page
        assert "<script>alert" not in page


def test_viewer_reads_and_sees_no_action(client: Client) -> None:
    client.force_login(make_user("viewer"))
    run = run_with_checkpoints()

    fragment = client.get(f"/runs/{run.public_id}/checkpoints", headers=HTMX).text

    assert "pay_1" in fragment
    assert "Replay" not in fragment


@pytest.mark.parametrize(
    "path",
    ["checkpoints", "checkpoints/tail", "checkpoints/steps", "checkpoints/0", "checkpoints/0/carried"],
)
def test_unknown_run_is_not_found(operator: Client, path: str) -> None:
    assert operator.get(f"/runs/run_00000000000000000000000000/{path}").status_code == 404
    assert operator.get(f"/runs/nonsense/{path}").status_code == 404


def test_wrong_numbers_in_an_address_are_left_out(operator: Client) -> None:
    run = run_with_checkpoints()

    for query in ("after=x", "after=-5", "after=99999999999999999999&group=x", "group=7"):
        assert operator.get(f"/runs/{run.public_id}/checkpoints/tail?{query}", headers=HTMX).status_code == 200
