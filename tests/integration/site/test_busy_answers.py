"""What another session holds is a clear 503 on every surface, and costs nobody else an answer."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from apps.access.models import ApiKey
from apps.runs.models import Run
from tests.coordinator_harness import connection_url
from tests.factories import bearer, make_run, make_task, make_user
from tests.live_server import LiveServer, running_server
from trigger_site.doctor import Level, examine_timeouts
from trigger_site.timeouts import statement_timeout

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sql]

CANCELS = 24
"""Three times as many as the web process has connections."""


@pytest.fixture
def live() -> Iterator[LiveServer]:
    with running_server(bearer("operator")) as live:
        yield live


@pytest.fixture
def held() -> Iterator[Run]:
    """A run whose row an idle session holds."""
    run = make_run()
    with psycopg.connect(connection_url()) as session:
        session.execute("SELECT 1 FROM runs_run WHERE id = %s FOR UPDATE", (run.id,))
        yield run
        session.rollback()


def test_verb_on_a_held_run_is_a_problem_that_says_so(live: LiveServer, held: Run) -> None:
    answer = live.call("POST", f"/api/v1/runs/{held.public_id}/cancellation")

    assert answer.status == 503
    assert answer.json()["type"] == "/problems/busy"
    assert "Nothing was changed" in answer.json()["detail"]
    assert answer.headers["retry-after"]
    assert Run.objects.get(id=held.id).state == "pending"


def test_page_that_needs_a_held_table_says_so(client: Client, held: Run) -> None:
    client.force_login(make_user("operator"))
    client.raise_request_exception = False
    with psycopg.connect(connection_url()) as session:
        session.execute("LOCK TABLE runs_value IN ACCESS EXCLUSIVE MODE")
        answer = client.get(f"/runs/{held.public_id}")

    assert answer.status_code == 503
    assert "Somebody else holds" in answer.content.decode()
    assert answer["Retry-After"]


def test_action_on_a_held_run_leads_back_to_its_page_and_says_so(client: Client, held: Run) -> None:
    client.force_login(make_user("operator"))
    client.raise_request_exception = False
    page = f"http://testserver/runs/{held.public_id}"

    answer = client.post(f"/runs/{held.public_id}/cancellation", headers={"Referer": page}, follow=True)

    assert answer.redirect_chain == [(page, 302)]
    assert "Nothing was changed; try again." in answer.content.decode()
    assert Run.objects.get(id=held.id).state == "pending"


@pytest.mark.parametrize("page", ["", "https://elsewhere.example/", "javascript:alert(1)"])
def test_action_from_elsewhere_is_answered_where_it_is(client: Client, held: Run, page: str) -> None:
    client.force_login(make_user("operator"))
    client.raise_request_exception = False

    answer = client.post(f"/runs/{held.public_id}/cancellation", headers={"Referer": page})

    assert answer.status_code == 503


def test_many_cancels_of_a_held_run_keep_nobody_else_from_an_answer(live: LiveServer, held: Run) -> None:
    other = make_run()
    cancel = f"/api/v1/runs/{held.public_id}/cancellation"

    with ThreadPoolExecutor(CANCELS) as pool:
        canceling = [pool.submit(live.call, "POST", cancel) for _ in range(CANCELS)]
        while not all(future.done() for future in canceling):
            assert live.call("GET", f"/api/v1/runs/{other.public_id}").status == 200

    assert {future.result().status for future in canceling} == {503}
    assert live.call("POST", f"/api/v1/runs/{other.public_id}/cancellation").status == 200


def test_trigger_for_a_held_queue_is_refused_and_nothing_is_made(live: LiveServer) -> None:
    make_task("noop")
    live.call("PATCH", "/api/v1/queues/noop", b'{"max_depth": 5}')

    with psycopg.connect(connection_url()) as session:
        session.execute("SELECT 1 FROM queues_queue FOR UPDATE")
        answer = live.call("POST", "/api/v1/tasks/noop/runs", b'{"payload": {}}')

    assert (answer.status, answer.json()["type"]) == (503, "/problems/busy")
    assert not Run.objects.exists()


@pytest.mark.parametrize("text", ["SELECT 1 FROM access_apikey FOR UPDATE", "LOCK TABLE access_apikey IN SHARE MODE"])
def test_held_key_opens_all_the_same(live: LiveServer, text: str) -> None:
    """Only the note of its use is left out."""
    with psycopg.connect(connection_url()) as session:
        session.execute(text.encode())
        assert live.call("GET", "/api/v1/runs").status == 200
        session.rollback()
    assert ApiKey.objects.get().last_used_at is None


@pytest.mark.parametrize("name", ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"])
def test_every_connection_of_django_has_its_timeouts(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT setting::int FROM pg_settings WHERE name = %s", [name])
        assert cursor.fetchone() == (settings.DATABASE_TIMEOUTS[name],)


def test_longer_statements_are_allowed_for_a_block_alone() -> None:
    def present() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout'")
            return int(cursor.fetchone()[0])

    with statement_timeout(60):
        inside = present()

    assert (inside, present()) == (60_000, settings.DATABASE_TIMEOUTS["statement_timeout"])


def test_doctor_warns_where_nothing_bounds_a_wait() -> None:
    fine = examine_timeouts()
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = 0")
    try:
        found = examine_timeouts()
    finally:
        connection.close()

    assert fine.level is Level.OK
    assert found.level is Level.WARN
    assert "lock_timeout = 1000" in found.mend
