import pytest
from django.test import Client

from apps.access.models import AuditEntry
from tests.factories import (
    make_run,
    make_user,
)

pytestmark = pytest.mark.django_db


def test_cancellation_moves_the_run_and_leaves_an_audit_entry(operator: Client) -> None:
    run = make_run(state="pending")

    answer = operator.post(f"/runs/{run.public_id}/cancellation", follow=True)

    run.refresh_from_db()
    entry = AuditEntry.objects.get()
    assert "The run is canceled." in answer.text
    assert run.state == "canceled"
    assert (entry.actor, entry.action, entry.subject) == ("olga", "runs.cancel", run.public_id)


def test_refused_cancellation_says_why_and_leaves_nothing(operator: Client) -> None:
    run = make_run(state="completed")

    answer = operator.post(f"/runs/{run.public_id}/cancellation", follow=True)

    assert "cannot be canceled" in answer.text
    assert not AuditEntry.objects.exists()


def test_viewer_may_not_cancel_and_sees_no_button(viewer: Client) -> None:
    run = make_run(state="pending")

    assert viewer.post(f"/runs/{run.public_id}/cancellation").status_code == 403
    assert 'data-dialog="cancel"' not in viewer.get(f"/runs/{run.public_id}").text
    run.refresh_from_db()
    assert run.state == "pending"


def test_cancellation_needs_a_post_and_a_csrf_token() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("operator"))
    run = make_run(state="pending")

    assert client.get(f"/runs/{run.public_id}/cancellation").status_code == 405
    refused = client.post(f"/runs/{run.public_id}/cancellation")
    assert refused.status_code == 403
    assert "This form is too old" in refused.text
