"""The requeue form: which code, where it goes on, why it cannot; and the run that goes on."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.access.models import AuditEntry
from apps.runs.models import Run
from tests.factories import make_checkpoint, make_run, make_user
from tests.integration.checkpoints.orders import deploy, original_run, point
from tests.markup import one_line

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(make_user("operator", username="olga"))
    return client


def form_of(client: Client, run: Run) -> str:
    return one_line(client.get(f"/runs/{run.public_id}/requeue/new", headers=HTMX).text)


def test_dead_letter_has_requeue_as_its_first_action(operator: Client) -> None:
    letter, done = original_run(), make_run(state="completed")

    assert f'hx-get="/runs/{letter.public_id}/requeue/new"' in operator.get(f"/runs/{letter.public_id}").text
    assert f'hx-get="/runs/{done.public_id}/requeue/new"' not in operator.get(f"/runs/{done.public_id}").text


def test_newest_deployment_is_proposed_where_there_is_a_newer_one(operator: Client) -> None:
    run = original_run()
    assert form_of(operator, run).count('type="radio"') == 1

    deploy()
    form = form_of(operator, run)

    assert 'value="latest"' in form
    assert form.index('value="latest"') < form.index('value="original"')
    assert form.count("checked") == 1
    assert form.index("checked") < form.index('value="original"')
    assert "proposed" in form
    assert form.count("after <code>shipped</code>") == 2
    assert "<html" not in form
    assert "<html" in operator.get(f"/runs/{run.public_id}/requeue/new").text


def test_deployment_that_cannot_go_on_says_why_and_is_not_offered(operator: Client) -> None:
    run = original_run()
    deploy([point("renamed")])

    form = form_of(operator, run)

    assert "has no checkpoint &#x27;shipped&#x27;" in form
    assert 'aria-describedby="requeue-latest" disabled' in form
    assert 'aria-describedby="requeue-original" checked' in form
    assert "proposed" not in form


def test_button_is_off_where_nothing_can_go_on(operator: Client) -> None:
    run = original_run()
    make_checkpoint(run, "of-no-code")

    form = form_of(operator, run)

    assert 'type="submit" disabled' in form


def test_requeue_leads_back_to_the_run_which_is_pending_on_the_newest_code(operator: Client) -> None:
    run = original_run()
    newest = deploy()

    answer = operator.post(f"/runs/{run.public_id}/requeue", {"deployment": "latest"}, follow=True)

    run.refresh_from_db()
    entry = AuditEntry.objects.get()
    assert answer.redirect_chain == [(f"/runs/{run.public_id}", 302)]
    assert "Requeued: it goes on with orders v2." in answer.text
    assert (run.state, run.deployment_id) == ("pending", newest.id)
    assert (entry.actor, entry.action, entry.subject) == ("olga", "runs.requeue", run.public_id)
    assert entry.details == {"deployment": "latest"}


def test_refused_requeue_comes_back_with_its_reasons_and_changes_nothing(operator: Client) -> None:
    run = original_run()
    deploy([point("renamed")])

    answer = operator.post(f"/runs/{run.public_id}/requeue", {"deployment": "latest"})

    run.refresh_from_db()
    assert answer.status_code == 422
    assert "has no checkpoint" in answer.text
    assert run.state == "dead_letter"
    assert not AuditEntry.objects.exists()


def test_unknown_deployment_is_refused(operator: Client) -> None:
    run = original_run()

    answer = operator.post(f"/runs/{run.public_id}/requeue", {"deployment": "dep_<script>"})

    assert answer.status_code == 422
    assert "There is no deployment" in answer.text
    assert "dep_<script>" not in answer.text


@pytest.mark.parametrize("state", ["pending", "running", "completed", "canceled"])
def test_other_states_are_refused_by_name(operator: Client, state: str) -> None:
    run = make_run(state=state)

    fragment = form_of(operator, run)
    page = operator.get(f"/runs/{run.public_id}/requeue/new", follow=True)
    posted = operator.post(f"/runs/{run.public_id}/requeue", follow=True)

    for text in (fragment, page.text, posted.text):
        assert "cannot be requeued" in text
    run.refresh_from_db()
    assert run.state == state
    assert not AuditEntry.objects.exists()


def test_query_count_of_the_form_does_not_grow(operator: Client) -> None:
    run = original_run()
    deploy()
    form_of(operator, run)
    with CaptureQueriesContext(connection) as few:
        form_of(operator, run)
    for number in range(20):
        make_checkpoint(run, f"later-{number}", kind="step")

    with CaptureQueriesContext(connection) as many:
        form_of(operator, run)

    assert len(many) == len(few) <= 24


def test_viewer_may_not_requeue_and_sees_no_button(client: Client) -> None:
    client.force_login(make_user("viewer"))
    run = original_run()

    assert client.get(f"/runs/{run.public_id}/requeue/new").status_code == 403
    assert client.post(f"/runs/{run.public_id}/requeue").status_code == 403
    assert "requeue" not in client.get(f"/runs/{run.public_id}").text.replace("Requeue a dead letter", "").lower()
    run.refresh_from_db()
    assert run.state == "dead_letter"


def test_requeue_needs_a_post_and_a_csrf_token() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("operator"))
    run = original_run()

    assert client.get(f"/runs/{run.public_id}/requeue").status_code == 405
    assert client.post(f"/runs/{run.public_id}/requeue").status_code == 403


def test_unknown_run_is_not_found(operator: Client) -> None:
    for run_id in ("run_00000000000000000000000000", "nonsense"):
        assert operator.get(f"/runs/{run_id}/requeue/new").status_code == 404
        assert operator.post(f"/runs/{run_id}/requeue").status_code == 404
