"""The replay form: what it offers, what comes back of what was typed, and the run that it makes."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.access.models import AuditEntry
from apps.checkpoints.models import Checkpoint
from apps.checkpoints.replay.page import EDITOR_BYTES, FOLD_SHOWN
from apps.runs.models import Run, RunValue
from tests.factories import make_checkpoint, make_run, make_task, make_user
from tests.integration.checkpoints.orders import POINTS, deploy, original_run, point
from tests.markup import one_line

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}
HOSTILE = "<script>alert(1)</script>\"'>{{ 7 }}"


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(make_user("operator", username="olga"))
    return client


def form_of(client: Client, run: Run, **query: Any) -> str:
    return one_line(client.get(f"/runs/{run.public_id}/replays/new", query, headers=HTMX).text)


def preview_of(client: Client, run: Run, **fields: Any) -> str:
    return one_line(client.post(f"/runs/{run.public_id}/replays/preview", fields, headers=HTMX).text)


def test_form_offers_the_start_each_checkpoint_and_each_step(operator: Client) -> None:
    run = original_run()

    form = form_of(operator, run, **{"from": "payment-complete"})

    assert form.count('type="radio" name="from_checkpoint"') == 5
    assert 'value="payment-complete" checked' in form
    assert "after step <code>page-1</code>" in form
    assert "1180591620717411303424" not in form
    assert "&quot;total&quot;: 10.10" in form
    assert "<html" in operator.get(f"/runs/{run.public_id}/replays/new").text


def test_unknown_origin_begins_at_the_start(operator: Client) -> None:
    run = original_run()

    assert 'value="" checked' in form_of(operator, run, **{"from": "nonsense"})


def test_only_another_newest_deployment_is_offered(operator: Client) -> None:
    run = original_run()
    assert 'name="deployment"' not in form_of(operator, run)

    deploy()
    form = form_of(operator, run, **{"from": "order-fetched"})

    assert "orders v1" in form
    assert 'value="latest" checked' in form
    assert "proposed" in form


def test_newest_that_cannot_go_on_is_not_proposed(operator: Client) -> None:
    run = original_run()
    deploy([point("renamed")])

    form = form_of(operator, run, **{"from": "order-fetched"})

    assert 'value="original" checked' in form
    assert "continues" in form.lower()


def test_many_steps_are_folded_and_the_chosen_one_is_among_them(operator: Client) -> None:
    run = original_run()
    first = run.checkpoints.count()
    fields: dict[str, Any] = {"kind": "step", "content_hash": b"x" * 32, "attempt": 1, "size_bytes": 1, "data": "1"}
    Checkpoint.objects.bulk_create(
        Checkpoint(run=run, key=f"page-{n:04d}", index=first + n, **fields) for n in range(2_000)
    )

    form = form_of(operator, run, **{"from": "page-0003"})

    assert "2,000 steps" in form
    assert 'value="page-0003" checked' in form
    assert form.count('type="radio" name="from_checkpoint"') == 5 + FOLD_SHOWN + 1
    assert len(form) < 120_000


def test_query_count_of_the_form_does_not_grow(operator: Client) -> None:
    run = original_run()
    form_of(operator, run)
    with CaptureQueriesContext(connection) as few:
        form_of(operator, run, **{"from": "shipped"})
    for number in range(30):
        make_checkpoint(run, f"later-{number}", kind="step")

    with CaptureQueriesContext(connection) as many:
        form_of(operator, run, **{"from": "later-29"})

    assert len(many) == len(few) <= 16


def test_preview_says_what_is_reused_and_what_runs_again(operator: Client) -> None:
    run = original_run()

    answer = preview_of(operator, run, from_checkpoint="page-1")

    assert "Continues after <code>order-fetched</code>" in answer
    assert "1 checkpoint and 1 step" in answer
    assert "<code>payment-complete</code>" in answer
    assert answer.count('<span class="flow-word">skipped</span>') == 1
    assert answer.count('<span class="flow-word">runs</span>') == 3
    assert "original&#x27;s idempotency keys" in answer
    assert "<html" not in answer
    assert " disabled" not in answer
    assert not AuditEntry.objects.exists()
    assert Run.objects.count() == 1


def test_preview_says_which_code_changed(operator: Client) -> None:
    run = original_run()
    deploy(segments=("s0", "other", "s2", "s3"))

    answer = preview_of(operator, run, from_checkpoint="payment-complete", deployment="latest")

    assert answer.count("code changed since") == 1
    assert "on orders v2" in answer


def test_refusals_stand_beside_their_fields_and_disable_the_button(operator: Client) -> None:
    run = original_run()
    fields = {"from_checkpoint": "order-fetched", "data-0": '{"order":{},"extra":1}', "data-2": "{}", "payload": "{"}

    answer = preview_of(operator, run, **fields)

    notes = dict(zip(("form", "from", "deployment", "payload", "data-0", "data-2"), _notes(answer), strict=True))
    assert "Not JSON" in notes["payload"]
    assert 'data-json-place="1:2"' in notes["payload"]
    assert "<code>note</code> is missing" in notes["data-0"]
    assert "has no `extra`" in notes["data-0"]
    assert "made anew" in notes["data-2"]
    assert "<p>" not in notes["form"] + notes["from"] + notes["deployment"]
    assert "4 reasons" in answer
    assert 'id="replay-submit" type="submit" disabled hx-swap-oob="true"' in answer


def test_editor_of_a_checkpoint_holds_data_and_carried_values(operator: Client) -> None:
    run = original_run()

    editor = operator.get(f"/runs/{run.public_id}/replays/data/2", headers=HTMX).text
    exact = operator.get(f"/runs/{run.public_id}/replays/data/1", headers=HTMX).text
    closed = operator.get(f"/runs/{run.public_id}/replays/data/2?closed", headers=HTMX)

    assert 'name="data-2"' in editor
    assert "&quot;items&quot;: [\n    1.0\n  ]" in editor
    assert "carried along" in editor
    assert "1180591620717411303424" in exact
    assert "1e16" in exact
    assert "textarea" not in closed.text
    assert closed["HX-Trigger"] == "replay-changed"
    assert 'id="notes-data-2" hx-swap-oob="true"' in closed.text
    assert operator.get(f"/runs/{run.public_id}/replays/data/99").status_code == 404


def test_large_values_are_edited_on_request(operator: Client) -> None:
    big = json.dumps({"text": "x" * EDITOR_BYTES})
    run = original_run(payload=big)
    make_checkpoint(run, "big", data=big, kind="step")

    form = form_of(operator, run)
    asked = operator.get(f"/runs/{run.public_id}/replays/data/4", headers=HTMX).text
    data = operator.get(f"/runs/{run.public_id}/replays/data/4?large", headers=HTMX).text
    payload = operator.get(f"/runs/{run.public_id}/replays/payload", headers=HTMX).text

    assert "It has 64.0 KB" in form
    assert "xxxx" not in form + asked
    assert "Edit it all the same" in asked
    assert 'name="data-4"' in data
    assert 'name="payload"' in payload
    assert "xxxx" in payload


def test_replay_leads_to_the_new_run(operator: Client) -> None:
    run = original_run()

    answer = operator.post(f"/runs/{run.public_id}/replays", {"from_checkpoint": "order-fetched"}, follow=True)

    new = Run.objects.get(replay_of=run)
    entry = AuditEntry.objects.get()
    assert answer.redirect_chain == [(f"/runs/{new.public_id}", 302)]
    assert new.replay_from == "order-fetched"
    assert new.idempotency_scope == run.id
    assert [checkpoint.key for checkpoint in new.checkpoints.all()] == ["order-fetched"]
    assert (entry.actor, entry.action, entry.subject) == ("olga", "runs.replay", run.public_id)


def test_edits_and_choices_arrive_exactly(operator: Client) -> None:
    run = original_run()
    newest = deploy()
    fields = {
        "from_checkpoint": "payment-complete",
        "deployment": "latest",
        "payload": '{"order_id":"A1",\r\n"total":18446744073709551617}',
        "data-1": "18446744073709551618",
        "data-2": '{"payment":{"id":2},"items":[2.0]}',
        "new_keys": "1",
    }

    answer = operator.post(f"/runs/{run.public_id}/replays", fields)

    new = Run.objects.get(replay_of=run)
    rows = {row.key: row for row in new.checkpoints.all()}
    assert answer["Location"] == f"/runs/{new.public_id}"
    assert (new.deployment, new.idempotency_scope) == (newest, None)
    assert RunValue.objects.get(run=new).payload == '{"order_id":"A1","total":18446744073709551617}'
    assert (rows["page-1"].data, rows["page-1"].is_edited) == ("18446744073709551618", True)
    assert (rows["payment-complete"].data, rows["payment-complete"].carried) == (
        '{"payment":{"id":2}}',
        '{"items":[2.0]}',
    )
    assert not rows["order-fetched"].is_edited
    assert AuditEntry.objects.get().details["edited_keys"] == ["page-1", "payment-complete"]


def test_payload_that_was_only_shown_stays_the_same_bytes(operator: Client) -> None:
    run = original_run(payload='{ "order_id":"A1", "total":1e16}')

    operator.post(f"/runs/{run.public_id}/replays", {"payload": '{\r\n  "order_id": "A1",\r\n  "total": 1e16\r\n}'})

    new = Run.objects.get(replay_of=run)
    assert RunValue.objects.get(run=new).payload == '{ "order_id":"A1", "total":1e16}'
    assert new.idempotency_scope == run.id
    assert "has_payload" not in AuditEntry.objects.get().details


def test_refused_replay_brings_back_what_was_typed(operator: Client) -> None:
    run = original_run()
    fields = {
        "from_checkpoint": "order-fetched",
        "data-0": '{"order": 7, "oops": 1}',
        "payload": '{"order_id": "B2", "total": 3}',
        "new_keys": "1",
    }

    answer = operator.post(f"/runs/{run.public_id}/replays", fields)

    assert answer.status_code == 422
    assert "{&quot;order&quot;: 7, &quot;oops&quot;: 1}" in answer.text
    assert "{&quot;order_id&quot;: &quot;B2&quot;, &quot;total&quot;: 3}" in answer.text
    page = one_line(answer.text)
    assert 'value="order-fetched" checked' in page
    assert 'name="new_keys" value="1" checked' in page
    assert "has no `oops`" in answer.text
    assert "disabled" not in answer.text  # without scripts nothing would enable it again
    assert Run.objects.count() == 1
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"from_checkpoint": "nonsense"}, "has no checkpoint"),
        ({"deployment": "dep_nonsense"}, "There is no deployment"),
        ({"payload": "[1,"}, "Not JSON"),
        ({"payload": '{"a":NaN}'}, "NaN is not JSON"),
        ({"payload": "null"}, "is null"),
        ({"data-77": "1"}, "no checkpoint at the place 77"),
        ({"from_checkpoint": "page-1", "data-1": '{"$type":"decimal","value":"x"}'}, "is not a stored decimal"),
        ({"from_checkpoint": HOSTILE, "payload": HOSTILE, "deployment": HOSTILE}, "Not JSON"),
    ],
)
def test_wrong_fields_are_said_and_change_nothing(operator: Client, fields: dict[str, str], said: str) -> None:
    run = original_run()

    answer = operator.post(f"/runs/{run.public_id}/replays", fields)

    assert answer.status_code == 422
    assert said in answer.text
    assert "<script>alert" not in answer.text
    assert Run.objects.count() == 1
    assert not AuditEntry.objects.exists()


def test_preview_is_a_page_of_its_own_without_scripts(operator: Client) -> None:
    run = original_run()

    page = one_line(operator.post(f"/runs/{run.public_id}/replays/preview", {"from_checkpoint": "shipped"}).text)

    assert "<html" in page
    assert 'value="shipped" checked' in page
    assert "Continues after <code>shipped</code>" in page


def test_hostile_keys_and_data_stay_text(operator: Client) -> None:
    task = make_task("hostile", resume_points=[point(HOSTILE, [HOSTILE])])
    run = make_run(task, state="completed", payload=json.dumps({HOSTILE: HOSTILE}))
    make_checkpoint(run, HOSTILE, data=json.dumps({HOSTILE: HOSTILE}), binds=[HOSTILE])
    url = f"/runs/{run.public_id}/replays"
    answers = [
        operator.get(f"{url}/new", {"from": HOSTILE, "edit": "0"}),
        operator.get(f"{url}/data/0", headers=HTMX),
        operator.post(f"{url}/preview", {"from_checkpoint": HOSTILE, "data-0": HOSTILE}, headers=HTMX),
        operator.post(f"{url}/preview", {"from_checkpoint": HOSTILE, "data-0": '{"<script>alert(1)":1}'}, headers=HTMX),
    ]

    for answer in answers:
        assert answer.status_code == 200
        assert "alert(1)" in answer.text
        assert "<script>alert" not in answer.text


def test_original_that_never_started_can_be_replayed(operator: Client) -> None:
    run = make_run(make_task(resume_points=POINTS))

    form = form_of(operator, run)

    assert "Begins at the start" in form
    assert operator.post(f"/runs/{run.public_id}/replays", {"from_checkpoint": ""}).status_code == 302


def test_viewer_may_not_replay(client: Client) -> None:
    client.force_login(make_user("viewer"))
    run = original_run()

    for path in ("new", "payload", "data/0"):
        assert client.get(f"/runs/{run.public_id}/replays/{path}").status_code == 403
    for path in ("replays", "replays/preview"):
        assert client.post(f"/runs/{run.public_id}/{path}").status_code == 403
    assert "replays/new" not in client.get(f"/runs/{run.public_id}").text
    assert Run.objects.count() == 1


def test_replay_needs_a_post_and_a_csrf_token() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("operator"))
    run = original_run()

    for path in ("replays", "replays/preview"):
        assert client.get(f"/runs/{run.public_id}/{path}").status_code == 405
        assert client.post(f"/runs/{run.public_id}/{path}").status_code == 403


def test_unknown_run_is_not_found(operator: Client) -> None:
    for run_id in ("run_00000000000000000000000000", "nonsense"):
        for path in ("replays/new", "replays/payload", "replays/data/0"):
            assert operator.get(f"/runs/{run_id}/{path}").status_code == 404
        for path in ("replays", "replays/preview"):
            assert operator.post(f"/runs/{run_id}/{path}").status_code == 404


def _notes(answer: str) -> list[str]:
    return [part.partition("</div>")[0] for part in answer.split('class="field-notes"')[1:]]
