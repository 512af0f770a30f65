import pytest
from django.test import Client

from apps.access.models import AuditEntry
from apps.runs.models import Run
from tests.factories import make_checkpoint, make_run, make_user

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(make_user("operator"))
    return client


def run_with_checkpoints() -> Run:
    run = make_run(state="dead_letter")
    make_checkpoint(run, "order-fetched", binds=["order"])
    make_checkpoint(run, "payment-complete", data='{"payment":{"id":"pay_1"}}', carried='{"order":{"paid":true}}')
    return run


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
    make_checkpoint(run, "big", data='{"text":"' + "needle " * 4000 + '"}')

    fragment = operator.get(f"/runs/{run.public_id}/checkpoints", headers=HTMX).text
    data = operator.get(f"/runs/{run.public_id}/checkpoints/0", headers=HTMX).text

    assert "needle" not in fragment
    assert f'hx-get="/runs/{run.public_id}/checkpoints/0"' in fragment
    assert "needle" in data


def test_form_offers_the_start_and_each_checkpoint(operator: Client) -> None:
    run = run_with_checkpoints()

    form = operator.get(f"/runs/{run.public_id}/replays/new?from=payment-complete", headers=HTMX).text

    assert form.count('type="radio"') == 3
    assert 'value="payment-complete" checked' in form


def test_replay_leads_to_the_new_run(operator: Client) -> None:
    run = run_with_checkpoints()

    answer = operator.post(f"/runs/{run.public_id}/replays", {"from_checkpoint": "order-fetched"}, follow=True)

    new = Run.objects.get(replay_of=run)
    entry = AuditEntry.objects.get()
    assert answer.redirect_chain == [(f"/runs/{new.public_id}", 302)]
    assert new.replay_from == "order-fetched"
    assert [checkpoint.key for checkpoint in new.checkpoints.all()] == ["order-fetched"]
    assert (entry.action, entry.subject) == ("runs.replay", run.public_id)


def test_replay_from_an_unknown_checkpoint_changes_nothing(operator: Client) -> None:
    run = run_with_checkpoints()

    answer = operator.post(f"/runs/{run.public_id}/replays", {"from_checkpoint": "nonsense"}, follow=True)

    assert "has no checkpoint" in answer.text
    assert Run.objects.count() == 1
    assert not AuditEntry.objects.exists()


def test_viewer_may_not_replay(client: Client) -> None:
    client.force_login(make_user("viewer"))
    run = run_with_checkpoints()

    assert client.post(f"/runs/{run.public_id}/replays").status_code == 403
    assert "Replay" not in client.get(f"/runs/{run.public_id}/checkpoints", headers=HTMX).text


def test_unknown_run_is_not_found(operator: Client) -> None:
    assert operator.get("/runs/run_00000000000000000000000000/checkpoints").status_code == 404
    assert operator.get("/runs/nonsense/checkpoints/0").status_code == 404
