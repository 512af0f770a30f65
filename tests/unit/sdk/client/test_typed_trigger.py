"""Triggering a task by its function: what is sent, what comes back, what is refused, and what a type checker says."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from trigger_sdk import AsyncClient, Client, task
from trigger_sdk.client.calls import to_json
from trigger_sdk.tasks import registry

from tests.unit.sdk.client.peer import Peer

ROOT = Path(__file__).parents[4]
SDK = ROOT / "sdk" / "python"
CACHE = ROOT / ".mypy_cache" / "typed_trigger"
"""Kept, because without it mypy reads the whole standard library for each run of this test."""


class Size(str, Enum):  # noqa: UP042 - what is tested
    LARGE = "large"


@dataclass
class Line:
    product: str
    due: date
    size: Size = Size.LARGE


@dataclass
class Receipt:
    total: Decimal


@pytest.fixture
def peer() -> Iterator[Peer]:
    running = Peer()
    yield running
    running.close()


@pytest.fixture
def client(peer: Peer) -> Iterator[Client]:
    with Client(peer.url, "tr_key") as connected:
        yield connected


def run_of(task_id: str, **more: Any) -> tuple[int, dict[str, Any]]:
    return 201, {"id": "run_1", "task": task_id, "state": "pending", "attempt_count": 0, **more}


def test_function_with_its_arguments_is_its_id_and_payload(peer: Peer, client: Client) -> None:
    @task("typed-order")
    def typed_order(order_id: str, line: Line, *, urgent: bool = False, **extra: int) -> Receipt:
        return Receipt(Decimal(1))

    peer.will_answer(run_of("typed-order"))

    line = Line("tea", date(2026, 5, 1))
    run = client.trigger(typed_order, "A1", line, urgent=True, extra_1=3)

    method, path, _, body = peer.requests[0]
    assert (method, path) == ("POST", "/api/v1/tasks/typed-order/runs")
    assert json.loads(body) == {
        "payload": {
            "order_id": "A1",
            "line": {"product": "tea", "due": "2026-05-01", "size": "large"},
            "urgent": True,
            "extra_1": 3,
        },
        "options": {},
    }
    assert run.output is None


def test_output_has_the_type_that_the_task_returns(peer: Peer, client: Client) -> None:
    @task("typed-receipt")
    def typed_receipt() -> Receipt:
        return Receipt(Decimal("1.50"))

    peer.will_answer(run_of("typed-receipt", output={"total": {"$type": "decimal", "value": "1.50"}}))

    assert client.trigger(typed_receipt).output == Receipt(Decimal("1.50"))


def test_async_client_and_async_tasks_are_the_same(peer: Peer) -> None:
    @task("typed-async")
    async def typed_async(number: int) -> Receipt:
        return Receipt(Decimal(number))

    peer.will_answer(run_of("typed-async", output={"total": {"$type": "decimal", "value": "7"}}))

    async def trigger() -> Receipt:
        async with AsyncClient(peer.url, "tr_key") as client:
            return (await client.with_options(priority=2).trigger(typed_async, 7)).output

    assert asyncio.run(trigger()) == Receipt(Decimal(7))
    assert json.loads(peer.requests[0][3]) == {"payload": {"number": 7}, "options": {"priority": 2}}


def test_options_are_given_before_the_arguments(peer: Peer, client: Client) -> None:
    @task("typed-options")
    def typed_options(task: str, priority: int) -> None: ...

    later = client.with_options(priority=5, tags=["a"])
    peer.will_answer(run_of("typed-options"), run_of("typed-options"), run_of("typed-options"))

    later.trigger(typed_options, task="x", priority=1)
    later.trigger("typed-options", payload={"task": "x", "priority": 1}, priority=6)
    client.trigger(registry["typed-options"], "x", 1)

    sent = [json.loads(body) for _, _, _, body in peer.requests]
    assert [entry["payload"] for entry in sent] == [{"task": "x", "priority": 1}] * 3
    assert [entry["options"] for entry in sent] == [{"priority": 5, "tags": ["a"]}, {"priority": 6, "tags": ["a"]}, {}]


def test_what_is_no_task_or_does_not_fit_is_refused_before_anything_is_sent(peer: Peer, client: Client) -> None:
    def plain(n: int) -> int:
        return n

    with pytest.raises(TypeError, match=r"plain is no task: give it @task\(…\)"):
        client.trigger(plain, 1)
    task("typed-first")(plain)
    with pytest.raises(TypeError, match="missing a required argument: 'n'"):
        client.trigger(plain)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"n\.0: a payload cannot hold a object"):
        client.trigger(plain, [object()])  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="takes one payload"):
        client.trigger("typed-first", {}, {})  # type: ignore[call-overload]
    task("typed-second")(plain)
    with pytest.raises(ValueError, match=r"several tasks \('typed-first', 'typed-second'\)"):
        client.trigger(plain, 1)
    assert peer.requests == []


JSON = [
    (datetime(2026, 5, 1, 8, tzinfo=UTC), "2026-05-01T08:00:00+00:00"),
    (timedelta(seconds=90), "PT90S"),
    (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    (Decimal("1.10"), "1.10"),
    (b"\x00\xff", "AP8="),
    (Path("a/b"), "a/b"),
    ({"a": {2, 1}, "b": (1, None)}, {"a": [1, 2], "b": [1, None]}),
    (Size.LARGE, "large"),
]


@pytest.mark.parametrize(("value", "expected"), JSON)
def test_values_are_sent_as_what_the_task_reads(value: Any, expected: Any) -> None:
    assert to_json(value, ("a",)) == expected
    assert json.dumps(to_json(value, ("a",)))


CHECKED = """\
from trigger_sdk import AsyncClient, Client, Retry, step, task

@task("order", retry=Retry(max_attempts=2))
def order(order_id: str, *, count: int = 1) -> float:
    return 1.5

@task("pause")
async def pause(seconds: int) -> bytes:
    return b""

def fetch(number: int, name: str = "") -> str:
    return name

@step("tag-{number}", retry=Retry(max_attempts=2))
def tagged(number: int) -> str:
    return "x"

async def ask(number: int) -> bytes:
    return b""

async def right(client: Client, other: AsyncClient) -> None:
    reveal_type(client.trigger(order, order_id="A1"))  # Run[float]
    reveal_type(client.trigger(order, "A1", count=2).wait().output)  # "float"
    reveal_type(client.trigger(pause, 3).output)  # "bytes"
    reveal_type((await other.trigger(pause, seconds=3)).output)  # "bytes"
    reveal_type(client.trigger("order", {"order_id": "A1"}, priority=3).output)  # "Any"
    reveal_type(step("a", fetch, 1))  # "str"
    reveal_type(step("a", fetch, 1, name="x", retry=Retry(), timeout=3))  # "str"
    reveal_type(step("a", fetch, number=1, timeout=3))  # "str"
    reveal_type(await step("a", ask, 1))  # "bytes"
    reveal_type(tagged(3))  # "str"

async def wrong(client: Client, other: AsyncClient) -> None:
    client.trigger(order)  # error
    client.trigger(order, order_id=1)  # error
    client.trigger(order, "A1", 2)  # error
    client.trigger(order, "A1", priority=3)  # error
    await other.trigger(pause, "x")  # error
    client.trigger("order", {}, prio=3)  # error
    step("a", fetch, "x")  # error
    step("a", fetch)  # error
    step("a", fetch, 1, retries=3)  # error
    step("a", fetch, 1, retry=3)  # error
    step("a", fetch, "x", retry=Retry())  # error
    tagged("x")  # error
"""


def test_type_checker_knows_arguments_and_results(tmp_path: Path) -> None:
    file = tmp_path / "typed.py"
    file.write_text(CHECKED)
    lines = CHECKED.splitlines()

    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(CACHE), str(file)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env={"MYPYPATH": str(SDK)})

    revealed = re.findall(r'typed\.py:(\d+): note: Revealed type is "(.*)"', answer.stdout)
    expected = {number: line.split("# ")[1].strip('"') for number, line in enumerate(lines, 1) if "reveal_type" in line}
    assert {int(number): kind.rpartition("client.client.")[2] for number, kind in revealed} == expected, answer.stdout
    errors = {int(number) for number in re.findall(r"typed\.py:(\d+): error", answer.stdout)}
    assert errors == {number for number, line in enumerate(lines, 1) if line.endswith("# error")}, answer.stdout
