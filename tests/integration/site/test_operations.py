"""Queues, what is set by hand, and dead letters by the Python clients and the command line, on a real server."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from trigger_sdk import AsyncClient, Client
from trigger_sdk.cli import EXIT_FAILED, EXIT_OK, EXIT_REFUSED, EXIT_USAGE, execute
from trigger_sdk.client import ApiError

from apps.queues.dead_letters import many as bulk
from apps.queues.models import Queue
from apps.runs.models import Run, TaskControl
from apps.storage.ids import uuid7
from tests.factories import bearer, make_run, make_task
from tests.integration.queues.letters import letter
from tests.live_server import running_server

pytestmark = pytest.mark.django_db(transaction=True)

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Connected as an operator, as is the command line."""
    headers = bearer("operator")
    with running_server(headers) as live:
        monkeypatch.setenv("TRIGGER_URL", live.url)
        monkeypatch.setenv("TRIGGER_API_KEY", headers["Authorization"].removeprefix("Bearer "))
        with Client() as connected:
            yield connected


def states() -> list[str]:
    return list(Run.objects.order_by("id").values_list("state", flat=True))


def test_client_limits_pauses_and_reads_queues(client: Client) -> None:
    make_task("noop", options={"queue": "mail/eu"})

    changed = client.set_queue("mail/eu", max_concurrency=5, rate_limit="100/m", is_paused=True)
    client.set_queue("mail/eu", rate_limit=None)

    assert changed["rate_limit"] == "100/m"
    assert [(queue["name"], queue["max_concurrency"], queue["rate_limit"]) for queue in client.queues()] == [
        ("mail/eu", 5, None)
    ]
    assert client.queue("mail/eu")["tasks"] == ["noop"]
    with pytest.raises(ApiError, match="from 1 to 1,000,000") as refusal:
        client.set_queue("mail/eu", max_depth=0)
    assert (refusal.value.status, refusal.value.errors[0]["path"]) == (422, "max_depth")


def test_client_sets_tasks_and_lifts_their_cool_down(client: Client) -> None:
    make_task("noop", options={"max_concurrency": 20})
    TaskControl.objects.create(task_id="noop", failing_runs=[uuid7() for _ in range(12)])

    client.set_task("noop", max_concurrency=2, rate_limit_per_key="5/s")

    assert client.task("noop")["limits"]["max_concurrency"] == {"declared": 20, "override": 2, "effective": 2}
    assert client.lift_cooldown("noop")["failing_count"] == 0
    assert client.set_task("noop", max_concurrency=None)["limits"]["max_concurrency"]["effective"] == 20


def test_client_moves_dead_letters_call_after_call(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MANY_LIMIT", 2)
    runs = [letter() for _ in range(5)]
    letter(error_type="Timeout")

    requeued = client.requeue_dead_letters(error_type="Declined", rate="1/s")

    assert requeued == {"count": 5, "refused_count": 0, "refused": []}
    due = [Run.objects.get(pk=run.pk).due_at for run in runs]
    assert [(at - due[0]).total_seconds() for at in due] == pytest.approx([0, 1, 2, 3, 4])  # type: ignore[operator]
    assert [group["error_type"] for group in client.dead_letter_groups()["items"]] == ["Timeout"]
    (left,) = client.dead_letters(task="noop")
    refused = client.discard_dead_letters([runs[0].public_id, left["id"]], note="spent")
    assert (refused["count"], [each["id"] for each in refused["refused"]]) == (1, [runs[0].public_id])
    with pytest.raises(ValueError, match="either ids or a filter"):
        client.discard_dead_letters([left["id"]], note="x", task="noop")


def test_client_reads_all_pages_or_as_many_as_asked_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trigger_sdk.client.operations.PAGE_SIZE", 2)
    runs = [letter() for _ in range(5)]

    assert [item["id"] for item in client.dead_letters()] == [run.public_id for run in runs[::-1]]
    assert len(list(client.dead_letters(limit=3))) == 3


def test_client_discards_one_and_reads_why_another_waits(client: Client) -> None:
    run = letter()
    client.set_queue("noop", is_paused=True)
    waiting = make_run("noop")

    assert client.discard(run.public_id, note="refunded").data["note"] == "refunded"
    with pytest.raises(ApiError) as refusal:
        client.discard(run.public_id, note="again")
    assert (refusal.value.status, refusal.value.type) == (409, "/problems/illegal-move")
    assert client.run(waiting.public_id).data["waiting_reason"]["code"] == "queue_paused"


def test_async_client_does_the_same(client: Client) -> None:
    make_task("noop")
    first, second, third = letter(), letter(), letter()

    async def work() -> list[Any]:
        async with AsyncClient() as connected:
            return [
                (await connected.set_queue("noop", is_paused=True))["is_paused"],
                (await connected.queue("noop"))["name"],
                [queue["name"] async for queue in connected.queues()],
                (await connected.set_task("noop", max_concurrency=3))["limits"]["max_concurrency"]["override"],
                (await connected.task("noop"))["id"],
                (await connected.lift_cooldown("noop"))["failing_count"],
                [item["id"] async for item in connected.dead_letters(limit=1)],
                len((await connected.dead_letter_groups())["items"]),
                (await connected.discard(first.public_id, note="x")).state,
                (await connected.discard_dead_letters([second.public_id], note="x"))["count"],
                (await connected.requeue_dead_letters(task="noop"))["count"],
            ]

    assert asyncio.run(work()) == [
        True, "noop", ["noop"], 3, "noop", 0, [third.public_id], 1, "discarded", 1, 1,
    ]  # fmt: skip


def test_commands_of_queues_and_tasks(client: Client, capsys: Printed) -> None:
    make_task("noop", options={"max_concurrency": 20})
    make_run("noop")

    assert execute(["queue", "pause", "noop"]) == EXIT_OK
    assert Queue.objects.get().is_paused
    assert execute(["queue", "resume", "noop"]) == EXIT_OK
    assert execute(["queue", "set", "noop", "--max-depth", "9", "--rate-limit", "5/s"]) == EXIT_OK
    assert execute(["task", "set", "noop", "--max-concurrency", "2"]) == EXIT_OK
    assert execute(["task", "show", "noop"]) == EXIT_OK
    assert execute(["task", "lift-cool-down", "noop", "--json"]) == EXIT_OK
    capsys.readouterr()
    assert execute(["queues"]) == EXIT_OK
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["QUEUE", "STATE", "DEPTH", "RUNNING", "RATE", "OLDEST"]
    assert table[1].split()[:5] == ["noop", "open", "1/9", "0", "5/s"]
    assert execute(["queue", "set", "noop", "--max-depth", "none"]) == EXIT_OK
    queue = Queue.objects.get()
    assert (queue.is_paused, queue.max_depth, queue.rate_limit) == (False, None, "5/s")
    capsys.readouterr()
    execute(["task", "show", "noop"])
    assert "2  (by hand; declared 20)" in capsys.readouterr().out


def test_commands_of_dead_letters(client: Client, capsys: Printed) -> None:
    runs = [letter(), letter(), letter(error_type="Timeout", message="slow\nindeed"), letter(tags=["eu"])]

    assert execute(["dead-letters", "list", "--error-type", "Timeout"]) == EXIT_OK
    assert runs[2].public_id in capsys.readouterr().out
    assert execute(["dead-letters", "groups"]) == EXIT_OK
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["3", "noop", "Declined"]
    assert execute(["dead-letters", "discard", runs[0].public_id, "--note", "spent"]) == EXIT_OK
    assert execute(["discard", runs[1].public_id, "--note", "spent"]) == EXIT_OK
    assert execute(["dead-letters", "requeue", "--tag", "eu", "--rate", "1/s", "--json"]) == EXIT_OK
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["count"] == 1
    assert execute(["dead-letters", "requeue", runs[0].public_id]) == EXIT_FAILED
    assert "A discarded run cannot be requeued" in capsys.readouterr().out
    assert execute(["dead-letters", "requeue", "--all"]) == EXIT_OK
    assert states() == ["discarded", "discarded", "pending", "delayed"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["dead-letters", "requeue"], EXIT_USAGE, "give runs, filters, or --all"),
        (["dead-letters", "discard", "run_1", "--task", "noop", "--note", "x"], EXIT_USAGE, "either runs or filters"),
        (["queue", "set", "mail"], EXIT_USAGE, "nothing to set"),
        (["queue", "set", "mail", "--max-depth", "many"], EXIT_USAGE, "must be a whole number or 'none'"),
        (["queue", "set", "mail", "--max-depth", "0"], EXIT_REFUSED, "from 1 to 1,000,000"),
        (["queue", "show", "mail"], EXIT_REFUSED, "There is no queue"),
        (["task", "pause", "mail"], EXIT_REFUSED, "There is no task"),
        (["discard", "run_1", "--note", "x"], EXIT_REFUSED, "There is no run"),
    ],
)
def test_wrong_commands_say_what_is_wrong(
    client: Client, capsys: Printed, arguments: list[str], code: int, said: str
) -> None:
    run = letter()

    assert execute(arguments) == code

    assert said in capsys.readouterr().err
    assert states() == [run.state]
