"""Dead letters in Django's admin: what is listed and found, the verbs as actions, and who may do what."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.access.models import AuditEntry
from apps.queues.dead_letters import admin as dead_letter_admin
from apps.runs.models import Run, RunValue
from apps.storage.ids import uuid7
from tests.factories import make_attempt, make_run, make_user
from tests.integration.checkpoints.orders import deploy, original_run, point
from tests.integration.queues.letters import letter, some_letters

pytestmark = pytest.mark.django_db

LIST = "/admin/queues/deadletter/"


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(make_user("operator", username="olga"))
    return client


def act(client: Client, action: str, runs: list[Run], query: str = "", **fields: Any) -> Any:
    given = {"action": action, "index": "0", "_selected_action": [str(run.pk) for run in runs], **fields}
    return client.post(LIST + query, given, follow=True)


def state_of(run: Run) -> str:
    return str(Run.objects.get(pk=run.pk).state)


def test_list_shows_dead_letters_and_nothing_else(operator: Client) -> None:
    dead, done = letter(message="<script>alert(1)</script>"), make_run("noop", state="completed")

    page = operator.get(LIST).text

    assert dead.public_id in page
    assert done.public_id not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?task=other", {"d"}),
        ("?queue=mail", {"b"}),
        ("?error_type=Timeout", {"b"}),
        ("?since=hour", {"a", "b", "d"}),
        ("?q=MONEY", {"a", "c"}),
        ("?q=vip", {"a"}),
        ("?q=nothing", set()),
        ("?task=no-such-task", set()),
        ("?task=a%00b", set()),
        ("?since=always", {"a", "b", "c", "d"}),
        ("?error_type=Declined&q=100%25", {"d"}),
    ],
)
def test_filters_and_search(operator: Client, query: str, expected: set[str]) -> None:
    made = some_letters()

    page = operator.get(LIST + query).text

    assert {name for name, run in made.items() if run.public_id in page} == expected


def test_search_by_id_finds_that_run(operator: Client) -> None:
    first, second = letter(), letter()

    page = operator.get(LIST, {"q": f" {first.public_id} "}).text

    assert f">{first.public_id}<" in page
    assert second.public_id not in page


def test_queries_of_the_list_do_not_grow_and_read_no_payload(operator: Client) -> None:
    letter()
    operator.get(LIST)
    with CaptureQueriesContext(connection) as few:
        operator.get(LIST)
    for _ in range(30):
        letter()

    with CaptureQueriesContext(connection) as many:
        operator.get(LIST)

    assert len(many) == len(few) <= 12
    assert not any("payload" in query["sql"] for query in many)


def test_large_table_is_counted_up_to_a_limit_only(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_admin, "COUNT_LIMIT", 60)
    Run.objects.bulk_create(
        [Run(task=letter().task, queue="q", state="dead_letter", finished_at="2026-01-01T00:00Z") for _ in range(1)]
        + [Run(task_id="noop", queue="q", state="dead_letter", finished_at="2026-01-01T00:00Z") for _ in range(80)]
    )

    with CaptureQueriesContext(connection) as queries:
        page = operator.get(LIST).text

    counts = [query["sql"] for query in queries if "COUNT(" in query["sql"]]
    assert "60 dead letters" in page
    assert counts
    assert all("LIMIT 60" in sql for sql in counts)


def test_detail_shows_error_attempts_payload_and_the_way_to_the_run(operator: Client) -> None:
    run = original_run(error={"type": "E", "message": "<b>boom</b>", "stack": "Trace\nback", "reason": "spent"})
    make_attempt(run, outcome="failed", error={"type": "E", "message": "boom", "stack": ""}, resumed_from="shipped")

    page = operator.get(f"{LIST}{run.pk}/change/").text

    assert f'href="/runs/{run.public_id}"' in page
    assert "&lt;b&gt;boom&lt;/b&gt;" in page
    assert "Trace\nback" in page
    assert "Failed, from shipped: E: boom" in page
    assert "order_id" in page
    assert "spent" in page
    assert 'name="_save"' not in page
    assert operator.get(f"{LIST}{uuid7()}/change/", follow=True).status_code == 200


def test_large_payload_is_cut(operator: Client) -> None:
    run = letter(payload='{"text":"' + "é" * 100_000 + '"}')

    page = operator.get(f"{LIST}{run.pk}/change/").text

    assert "characters more" in page
    assert len(page) < 60_000


def test_requeue_on_the_original_deployment(operator: Client) -> None:
    runs = [letter(), letter()]
    spared = letter()

    page = act(operator, "requeue_original", runs)

    assert "2 dead letters were requeued." in page.text
    assert [state_of(run) for run in (*runs, spared)] == ["pending", "pending", "dead_letter"]
    entries = AuditEntry.objects.order_by("subject")
    assert [(entry.actor, entry.action, entry.subject) for entry in entries] == [
        ("olga", "runs.requeue", run.public_id) for run in runs
    ]


def test_requeue_on_the_newest_deployment_says_what_cannot_go_on(operator: Client) -> None:
    run = original_run()
    deploy([point("renamed")])

    page = act(operator, "requeue_newest", [run])

    assert "1 stay as they are" in page.text
    assert "has no checkpoint &#x27;shipped&#x27;" in page.text
    assert state_of(run) == "dead_letter"


def test_discard_asks_for_a_note_first(operator: Client) -> None:
    run, spared = letter(), letter()

    asked = act(operator, "discard_with_note", [run])
    empty = act(operator, "discard_with_note", [run], note=" ")
    between = state_of(run)
    done = act(operator, "discard_with_note", [run], note="refunded")

    assert "1 dead letter will be closed" in asked.text
    assert f'name="_selected_action" value="{run.pk}"' in asked.text
    assert "must say why" in empty.text
    assert between == "dead_letter"
    assert "1 dead letter was discarded." in done.text
    assert (state_of(run), state_of(spared)) == ("discarded", "dead_letter")
    assert RunValue.objects.get(run=run).note == "refunded"
    assert AuditEntry.objects.get().details == {"note": "refunded"}


def test_all_that_match_a_filter_are_meant_where_all_were_chosen(operator: Client) -> None:
    mine, others = [letter(queue="mail") for _ in range(3)], letter()

    asked = act(operator, "discard_with_note", mine[:1], "?queue=mail", select_across="1")
    act(operator, "discard_with_note", mine[:1], "?queue=mail", select_across="1", note="spent")

    assert "3 dead letters will be closed" in asked.text
    assert 'name="select_across" value="1"' in asked.text
    assert [state_of(run) for run in (*mine, others)] == ["discarded"] * 3 + ["dead_letter"]


def test_run_that_others_moved_meanwhile_is_left_alone(operator: Client) -> None:
    run = letter()
    Run.objects.filter(pk=run.pk).update(state="pending", finished_at=None)

    act(operator, "requeue_original", [run])
    act(operator, "discard_with_note", [run], note="x")

    assert state_of(run) == "pending"
    assert not AuditEntry.objects.exists()


def test_viewer_sees_and_changes_nothing(client: Client) -> None:
    client.force_login(make_user("viewer"))
    run = letter()

    page = client.get(LIST)
    answers = [act(client, action, [run], note="x") for action in ("requeue_original", "discard_with_note")]

    assert page.status_code == 200
    assert "requeue_original" not in page.text
    assert state_of(run) == "dead_letter"
    assert all(answer.status_code == 200 for answer in answers)


@pytest.mark.parametrize("path", ["add/", "{pk}/delete/"])
def test_nothing_is_added_or_deleted(operator: Client, path: str) -> None:
    run = letter()

    assert operator.get(LIST + path.format(pk=run.pk)).status_code == 403
    assert operator.post(f"{LIST}{run.pk}/change/", {"queue": "x"}).status_code == 403


def test_admin_asks_for_the_sites_own_sign_in_and_role(client: Client) -> None:
    away = client.get(LIST)
    client.force_login(make_user(""))
    nobody = client.get(LIST, follow=True)
    own = client.get("/admin/login/", follow=True)

    assert (away.status_code, away["Location"]) == (302, f"/sign-in?next={LIST}")
    assert (nobody.status_code, own.status_code) == (403, 403)


def test_other_pages_of_the_admin_keep_djangos_permissions(operator: Client, client: Client) -> None:
    index = operator.get("/admin/")

    assert "Dead letters" in index.text or "dead letters" in index.text
    assert "/admin/auth/user/" not in index.text
    assert operator.get("/admin/auth/user/").status_code == 403
    client.force_login(User.objects.create_superuser("root"))
    assert client.get("/admin/auth/user/").status_code == 200
