"""Whatever passes the check of values can be stored, given back byte for byte and shown on every page."""

import json
from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trigger_sdk.values import codec

from apps.runs.models import Run
from apps.storage.values import ValueRefused, check_value
from tests.factories import bearer, make_checkpoint, make_log_line, make_run, make_task, make_user
from tests.stored_values import keys, text

pytestmark = pytest.mark.django_db

PAGES = (
    "/runs/{id}", "/runs/{id}/summary", "/runs/{id}/values", "/runs/{id}/output", "/runs/{id}/values/payload",
    "/runs/{id}/values/payload?path=", "/runs/{id}/values/payload?path=0", "/runs/{id}/values/payload?path=0&text",
    "/runs/{id}/checkpoints", "/runs/{id}/checkpoints/0", "/runs/{id}/checkpoints/1",
    "/runs/{id}/checkpoints/0/carried", "/runs/{id}/replays/new", "/runs/{id}/replays/data/0",
    "/runs/{id}/replays/data/1", "/runs/{id}/replays/payload", "/runs/{id}/log-lines", "/runs",
)  # fmt: skip

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
json_values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)


@st.composite
def deep_values(draw: st.DrawFn) -> Any:
    """Up to exactly 64 levels, of lists and objects mixed."""
    value = draw(leaves)
    for kind in draw(st.lists(st.sampled_from("[{t"), min_size=40, max_size=62)):
        value = [value] if kind == "[" else {"t": value} if kind == "t" else {draw(keys): value}
    return value


def shown_on_every_page(client: Client, run_id: str) -> None:
    for address in PAGES:
        answer = client.get(address.format(id=run_id))
        assert answer.status_code in (200, 404), address
        assert answer.status_code == 200 or "values" in address or "carried" in address, address


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=json_values | deep_values(), name=keys)
def test_what_is_stored_is_given_back_and_shown(client: Client, value: Any, name: str) -> None:
    make_task()
    raw = json.dumps({name: value}, ensure_ascii=False)
    check_value(raw.encode())
    headers = bearer()

    made = client.post(
        "/api/v1/tasks/process-order/runs",
        json.dumps({"payload": {name: value}, "options": {"metadata": {name: value}}}),
        content_type="application/json",
        headers=headers,
    )
    assert made.status_code == 201, made.content
    run = Run.objects.select_related("value").get(id=Run.objects.latest("id").id)
    stored = codec.parse_payload(run.value.payload.encode())
    assert stored == {name: value}
    Run.objects.filter(id=run.id).update(state="completed", finished_at="2026-01-01T00:00:00Z")
    type(run.value).objects.filter(run_id=run.id).update(output=raw)
    make_checkpoint(run, "first", data=raw, carried=raw, size_bytes=len(raw.encode()))
    make_checkpoint(run, "second", kind="step", data=raw, size_bytes=len(raw.encode()), index=1)
    make_log_line(run, "a line", fields={name: value})

    detail = client.get(f"/api/v1/runs/{run.public_id}", headers=headers)
    logs = client.get(f"/api/v1/runs/{run.public_id}/logs", headers=headers)
    saved = client.get(f"/api/v1/runs/{run.public_id}/checkpoints/first", headers=headers)

    assert raw in detail.content.decode()
    assert raw in saved.content.decode()
    # In `jsonb` numbers may be written in another form.
    assert list(detail.json()["metadata"]) == list(logs.json()["items"][0]["fields"]) == [name]
    client.force_login(make_user("operator"))
    shown_on_every_page(client, run.public_id)


def levels(count: int) -> Any:
    value: Any = 1
    for _ in range(count):
        value = {"k": value}
    return value


@pytest.mark.parametrize("form", ["payload", "metadata"])
@pytest.mark.parametrize(("count", "status"), [(64, 201), (65, 422)])
def test_triggers_take_64_levels(client: Client, form: str, count: int, status: int) -> None:
    make_task()
    body = {"payload": levels(count)} if form == "payload" else {"options": {"metadata": levels(count)}}

    answer = client.post(
        "/api/v1/tasks/process-order/runs", json.dumps(body), content_type="application/json", headers=bearer()
    )

    assert answer.status_code == status
    if status == 422:
        assert answer.json()["errors"][0]["path"].startswith(form if form == "payload" else "options.metadata")


@pytest.mark.parametrize(("count", "status"), [(64, 201), (65, 422)])
def test_batches_take_64_levels(client: Client, count: int, status: int) -> None:
    make_task()
    body = {"items": [{"task": "process-order"}, {"task": "process-order", "payload": levels(count)}]}

    answer = client.post("/api/v1/batches", json.dumps(body), content_type="application/json", headers=bearer())

    assert answer.status_code == status
    if status == 422:
        assert answer.json()["errors"][0]["path"].startswith("items[1].payload")


@pytest.mark.parametrize("field", ["payload", "checkpoint_data"])
@pytest.mark.parametrize(("count", "status"), [(64, 201), (65, 422)])
def test_replays_take_64_levels(client: Client, field: str, count: int, status: int) -> None:
    task = make_task(resume_points=[{"key": "first", "names": ["k"], "restores": [], "line": 3}])
    run = make_run(task, state="completed", payload="{}")
    make_checkpoint(run, "first", data='{"k":1}', binds=["k"])
    wanted = {"payload": levels(count)} if field == "payload" else {"checkpoint_data": {"first": levels(count)}}
    place = {} if field == "payload" else {"from_checkpoint": "first"}

    answer = client.post(
        f"/api/v1/runs/{run.public_id}/replays",
        json.dumps({**wanted, **place}),
        content_type="application/json",
        headers=bearer(),
    )

    assert answer.status_code == status, answer.content


@pytest.mark.parametrize("opening", [b"[", b'{"k":', b'[{"k":'])
def test_the_check_counts_levels_exactly(opening: bytes) -> None:
    closing = opening[:1].replace(b"[", b"]").replace(b"{", b"}") if len(opening) < 6 else b"}"
    closing = b"}]" if opening == b'[{"k":' else closing
    per_turn = 2 if opening == b'[{"k":' else 1

    check_value(opening * (64 // per_turn) + b"1" + closing * (64 // per_turn))

    with pytest.raises(ValueRefused, match="deeper than 64"):
        check_value(b"[" + opening * (64 // per_turn) + b"1" + closing * (64 // per_turn) + b"]")


@settings(max_examples=300, deadline=None)
@given(raw=st.binary(max_size=40) | st.text(max_size=40).map(lambda found: found.encode("utf-8", "surrogatepass")))
def test_the_check_agrees_with_the_reader_that_names_paths(raw: bytes) -> None:
    assert _is_refused(raw, check_value) == _is_refused(raw, codec.parse_payload)


@settings(max_examples=200, deadline=None)
@given(value=json_values | deep_values(), spelling=st.sampled_from([None, 2]), is_ascii=st.booleans())
def test_every_spelling_of_a_value_passes(value: Any, spelling: int | None, *, is_ascii: bool) -> None:
    check_value(json.dumps(value, indent=spelling, ensure_ascii=is_ascii).encode())


def _is_refused(raw: bytes, check: Any) -> bool:
    try:
        check(raw)
    except (ValueRefused, codec.CodecError, codec.MalformedJson):
        return True
    return False
