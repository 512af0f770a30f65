"""What a trigger refuses, at every door alike: the verb, a batch, HTTP, the client, the command line."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from django.test import Client
from trigger_sdk import Client as SdkClient
from trigger_sdk.cli import EXIT_OK, EXIT_REFUSED, EXIT_USAGE, execute
from trigger_sdk.client import ApiError
from trigger_sdk.trigger_options import TriggerOptions

from apps.runs.api.schemas import BatchItemIn, TriggerOptionsIn
from apps.runs.errors import OptionInvalid
from apps.runs.lifecycle import trigger, trigger_batch
from apps.runs.models import IdempotencyKey, Run, RunValue
from apps.runs.trigger.options import HTTP, PYTHON
from tests.factories import bearer, make_task
from tests.live_server import LiveServer, running_server

YEAR_SECONDS = 365 * 86_400
NAIVE = datetime(2026, 11, 22, 12)  # noqa: DTZ001 - refused for it
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECONDS = {"delay", "ttl", "idempotency_key_ttl"}


class Wrong(NamedTuple):
    """`sent` is the value as JSON where it differs; `place` is where in the option."""

    name: str
    value: Any
    place: str = ""
    sent: Any = ...
    beside: dict[str, Any] = {}


WRONG = [
    Wrong("prority", 1),
    Wrong("delay_secs", 5),
    *(Wrong("priority", value) for value in (101, -101, 1.0, "1", True, 10**5000)),
    *(Wrong("max_attempts", value) for value in (0, 251, 2.0, "3", False)),
    *(Wrong("queue", value) for value in ("", "q" * 129, 5, "a\x00", ["q"])),
    *(Wrong("concurrency_key", value) for value in ("k" * 257, 5, "a\x00", {})),
    *(Wrong("idempotency_key", value) for value in ("", "k" * 257, 5, "a\x00")),
    *(Wrong("delay", value) for value in (-1, YEAR_SECONDS + 1, True, [5])),
    Wrong("delay", "10m"),
    Wrong("delay", timedelta(days=366), sent=366 * 86_400),
    *(Wrong("ttl", value) for value in (0, 0.5, -1, YEAR_SECONDS + 1, "1h", False)),
    Wrong("ttl", timedelta(0), sent=0),
    Wrong("idempotency_key_ttl", 5),
    *(Wrong("idempotency_key_ttl", value, beside={"idempotency_key": "k"}) for value in (0, YEAR_SECONDS + 1, "1d")),
    Wrong("run_at", NAIVE, sent="2026-11-22T12:00:00"),
    Wrong("run_at", "tomorrow"),
    Wrong("run_at", 1_800_000_000),
    Wrong("run_at", datetime(2126, 1, 1, tzinfo=UTC), sent="2126-01-01T00:00:00Z"),
    Wrong("run_at", datetime.max.replace(tzinfo=UTC), sent="9999-12-31T23:59:59-12:00"),
    Wrong("run_at", datetime(2026, 1, 1, tzinfo=UTC), sent="2026-01-01T00:00:00Z", beside={"delay": 5}),
    *(Wrong("tags", value) for value in ("abc", 5, {"a": 1}, [str(number) for number in range(11)])),
    Wrong("tags", ["fine", ""], "[1]"),
    Wrong("tags", ["t" * 65], "[0]"),
    Wrong("tags", ["a", 5], "[1]"),
    Wrong("tags", ["a", "b", "a\x00"], "[2]"),
    *(Wrong("metadata", value) for value in ([], "text", 5, {"x": "a" * 65_536})),
    Wrong("metadata", {"a": {"b": "\x00"}}, ".a.b"),
    *(Wrong("traceparent", value) for value in ("", 5, "00-abc", TRACE.upper(), f"ff{TRACE[2:]}", f"{TRACE}-00")),
    Wrong("traceparent", f"00-{'0' * 32}-b7ad6b7169203331-01"),
    Wrong("traceparent", f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01"),
]
"""What no door lets through."""

ONLY_PYTHON = [
    Wrong("delay", float("nan")),
    Wrong("delay", float("inf")),
    Wrong("queue", "\ud800"),
    Wrong("tags", ["\ud800"], "[0]"),
    Wrong("metadata", {1, 2}),
    Wrong("metadata", {"a": 1j}),
    Wrong("metadata", {"a": float("nan")}),
    Wrong("delay_seconds", 5),
    Wrong("run_at", datetime.fromisoformat("0001-01-01T00:00+14:00")),
]
"""What JSON does not carry, or has another name for."""

REFUSED_BY_JSON = "\x00"
"""A body with NUL in it is refused as a whole, with the same path."""


def http_name(name: str) -> str:
    return f"{name}_seconds" if name in SECONDS else name


def http_options(wrong: Wrong) -> dict[str, Any]:
    sent = wrong.value if wrong.sent is ... else wrong.sent
    return {http_name(wrong.name): sent, **{http_name(name): value for name, value in wrong.beside.items()}}


def nothing_was_made() -> bool:
    return not (Run.objects.exists() or RunValue.objects.exists() or IdempotencyKey.objects.exists())


def label(value: Any) -> str:
    return f"{value.name}={value.value!r:.30}" if isinstance(value, Wrong) and value.value != 10**5000 else "case"


@pytest.fixture
def post(client: Client) -> Callable[..., Any]:
    headers = bearer("operator")

    def send(path: str, body: Any, **more: str) -> Any:
        raw = json.dumps(body) if not isinstance(body, (str, bytes)) else body
        return client.generic(
            "POST", f"/api/v1{path}", raw, content_type="application/json", headers={**headers, **more}
        )

    return send


@pytest.mark.django_db
@pytest.mark.parametrize("wrong", [*WRONG, *ONLY_PYTHON], ids=label)
def test_a_wrong_option_is_named_by_the_verb(wrong: Wrong) -> None:
    make_task()

    with pytest.raises(OptionInvalid) as refusal:
        trigger("process-order", {}, **{wrong.name: wrong.value, **wrong.beside})  # type: ignore[typeddict-item]

    assert [error.path for error in refusal.value.errors] == [f"options.{wrong.name}{wrong.place}"]
    assert nothing_was_made()


@pytest.mark.django_db
@pytest.mark.parametrize("wrong", WRONG, ids=label)
def test_a_wrong_option_is_named_in_a_batch(wrong: Wrong) -> None:
    make_task()
    options = {wrong.name: wrong.value, **wrong.beside}

    with pytest.raises(OptionInvalid) as refusal:
        trigger_batch([{"task": "process-order"}, {"task": "process-order", "options": options}])

    assert [error.path for error in refusal.value.errors] == [f"items[1].options.{wrong.name}{wrong.place}"]
    assert nothing_was_made()


@pytest.mark.django_db
@pytest.mark.parametrize("wrong", [wrong for wrong in WRONG if wrong.value != 10**5000], ids=label)
def test_a_wrong_option_is_named_over_http(post: Any, wrong: Wrong) -> None:
    make_task()
    options = http_options(wrong)
    place = f"options.{http_name(wrong.name)}{wrong.place}"
    kinds = {"/problems/option-invalid", "/problems/payload-invalid" if "\\u0000" in json.dumps(options) else ""}

    alone = post("/tasks/process-order/runs", {"options": options})
    batch = post("/batches", {"items": [{"task": "process-order"}, {"task": "process-order", "options": options}]})

    for response, path in ((alone, place), (batch, f"items[1].{place}")):
        assert response.status_code == 422, response.content
        assert response.json()["type"] in kinds
        assert [error["path"] for error in response.json()["errors"]] == [path]
    assert nothing_was_made()


@pytest.mark.django_db
def test_an_unknown_option_names_the_near_one(post: Any) -> None:
    make_task()

    with pytest.raises(OptionInvalid, match="did you mean 'priority'"):
        trigger("process-order", {}, prority=1)  # type: ignore[call-arg]

    problem = post("/tasks/process-order/runs", {"options": {"delay_sec": 1, "ttl": 5}}).json()
    assert [error["path"] for error in problem["errors"]] == ["options.delay_sec", "options.ttl"]
    assert "did you mean 'delay_seconds'" in problem["errors"][0]["message"]
    assert "did you mean 'ttl_seconds'" in problem["errors"][1]["message"]


def test_the_document_names_the_options_of_the_door() -> None:
    assert set(TriggerOptionsIn.model_fields) == set(HTTP)
    assert set(TriggerOptions.__annotations__) == set(PYTHON)
    assert set(BatchItemIn.model_fields) == {"task", "payload", "options"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    headers = bearer("operator")
    with running_server(headers) as live:
        monkeypatch.setenv("TRIGGER_URL", live.url)
        monkeypatch.setenv("TRIGGER_API_KEY", headers["Authorization"].removeprefix("Bearer "))
        yield live


@pytest.mark.django_db(transaction=True)
def test_the_client_passes_on_what_the_server_refuses(server: LiveServer) -> None:
    make_task()
    with SdkClient() as connected:
        for wrong in WRONG:
            is_told_by_client = wrong.name not in PYTHON or wrong.value == NAIVE
            if is_told_by_client or wrong.value == 10**5000:
                with pytest.raises((TypeError, ValueError)):
                    connected.trigger("process-order", {}, **{wrong.name: wrong.value})  # type: ignore[typeddict-item]
                continue
            with pytest.raises(ApiError) as refusal:
                connected.trigger("process-order", {}, **{wrong.name: wrong.value, **wrong.beside})  # type: ignore[typeddict-item]
            assert refusal.value.status == 422, wrong
            place = f"options.{http_name(wrong.name)}{wrong.place}"
            assert [error["path"] for error in refusal.value.errors] == [place]

    assert nothing_was_made()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--priority", "101"], EXIT_REFUSED),
        (["--max-attempts", "0"], EXIT_REFUSED),
        (["--queue", "q" * 129], EXIT_REFUSED),
        (["--concurrency-key", "k" * 257], EXIT_REFUSED),
        (["--delay", "366d"], EXIT_REFUSED),
        (["--delay", "1h", "--run-at", "2026-12-01T00:00:00Z"], EXIT_REFUSED),
        (["--ttl", "100ms"], EXIT_REFUSED),
        (["--idempotency-key", ""], EXIT_REFUSED),
        (["--idempotency-key-ttl", "1d"], EXIT_REFUSED),
        ([part for number in range(11) for part in ("--tag", str(number))], EXIT_REFUSED),
        (["--tag", ""], EXIT_REFUSED),
        (["--traceparent", "00-x"], EXIT_REFUSED),
        (["--delay", "soon"], EXIT_USAGE),
        (["--delay", "-5"], EXIT_USAGE),
        (["--ttl", "1 week"], EXIT_USAGE),
        (["--run-at", "2026-12-01T08:00"], EXIT_USAGE),
        (["--run-at", "monday"], EXIT_USAGE),
        (["--metadata", "[]"], EXIT_USAGE),
        (["--metadata", "{"], EXIT_USAGE),
        (["--payload", "{"], EXIT_USAGE),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else str(value),
)
def test_the_command_line_refuses(server: LiveServer, arguments: list[str], code: int, capfd: Any) -> None:
    make_task()

    try:
        given = execute(["run", "process-order", *arguments])
    except SystemExit as stopped:  # argparse's own
        given = int(stopped.code or 0)

    assert given == code
    assert capfd.readouterr().err
    assert nothing_was_made()


@pytest.mark.django_db(transaction=True)
def test_the_command_line_takes_every_option(server: LiveServer, capsys: Any) -> None:
    make_task()

    code = execute(
        ["run", "process-order", "--json", "--payload", '{"n": 1}', "--queue", "fast", "--priority", "-5",
         "--concurrency-key", "c1", "--delay", "10m", "--ttl", "1.5h", "--idempotency-key", "k", "--max-attempts", "7",
         "--idempotency-key-ttl", "2d", "--tag", "a", "--tag", "b", "--metadata", '{"who": "me"}',
         "--traceparent", TRACE]
    )  # fmt: skip

    assert code == EXIT_OK
    shown = json.loads(capsys.readouterr().out)
    run = Run.objects.select_related("value").get()
    assert (shown["state"], shown["tags"], shown["metadata"]) == ("delayed", ["a", "b"], {"who": "me"})
    assert (run.queue, run.priority, run.concurrency_key, run.max_attempts) == ("fast", -5, "c1", 7)
    assert run.due_at is not None
    assert run.expires_at == run.due_at + timedelta(hours=1.5)
    assert run.value.traceparent == TRACE
    key = IdempotencyKey.objects.get()
    assert timedelta(days=2) - timedelta(minutes=1) < key.expires_at - run.created_at <= timedelta(days=2, minutes=1)
