"""One run per idempotency key (R9), whatever callers do at once: lost replies, crashes before the commit, batches whose
keys stand in any order. `--long`: 10,000 keys."""

import http.client
import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction

from apps.runs.lifecycle import trigger, trigger_batch
from apps.runs.models import IdempotencyKey, Run, RunValue
from tests.callers import at_once
from tests.factories import bearer, make_task
from tests.live_server import LiveServer, running_server

CALLER_COUNT = 32
HTTP_KEY_COUNT = 15


class Crash(Exception):
    """The caller dies with its transaction open."""


def payload_of(key: str) -> dict[str, Any]:
    return {"order_id": key}


def call(keys: Sequence[str], chance: random.Random) -> dict[str, UUID]:
    """Triggers these keys, as one batch or one alone, until a reply arrives; most are lost or crash before."""
    while True:
        fate = chance.random()
        try:
            with transaction.atomic():
                if len(keys) == 1:
                    runs = [trigger("process-order", payload_of(keys[0]), idempotency_key=keys[0])]
                else:
                    runs = trigger_batch(
                        [
                            {"task": "process-order", "payload": payload_of(key), "options": {"idempotency_key": key}}
                            for key in keys
                        ]
                    )
                if fate < 0.2:
                    raise Crash
        except Crash:
            continue
        if fate > 0.4:
            return {key: run.id for key, run in zip(keys, runs, strict=True)}


def trigger_all(keys: Sequence[str], seed: int, largest: int) -> dict[str, UUID]:
    """One caller: all keys in its own order, in pieces of its own sizes."""
    chance = random.Random(seed)
    left = chance.sample(keys, len(keys))
    got: dict[str, UUID] = {}
    while left:
        size = chance.choice([1, chance.randint(1, largest)])
        got |= call(left[:size], chance)
        del left[:size]
    return got


def verify(keys: Sequence[str], answers: Sequence[dict[str, UUID]]) -> None:
    runs = dict(Run.objects.values_list("idempotency_key", "id"))
    assert Counter(Run.objects.values_list("idempotency_key", flat=True)) == Counter(keys)
    assert dict(IdempotencyKey.objects.values_list("key", "run_id")) == runs
    assert RunValue.objects.count() == len(keys)
    for answer in answers:
        assert answer == runs


@pytest.mark.parametrize(("key_count", "largest"), [(300, 30), pytest.param(10_000, 200, marks=pytest.mark.long)])
def test_one_run_per_key(committed: str, key_count: int, largest: int) -> None:
    make_task()
    keys = [f"key-{number}" for number in range(key_count)]

    answers = at_once(CALLER_COUNT, lambda number: trigger_all(keys, number, largest))

    verify(keys, answers)
    print(f"{key_count:,} keys, {CALLER_COUNT} callers: {Run.objects.count():,} runs")


def post_and_hang_up(server: LiveServer, body: bytes) -> None:
    """The reply is lost: the connection is closed as soon as the request is out."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    connection.request("POST", "/api/v1/tasks/process-order/runs", body, server.headers)
    connection.close()


def test_one_run_per_key_over_http(committed: str) -> None:
    make_task()
    keys = [f"key-{number}" for number in range(HTTP_KEY_COUNT)]

    def repeat(server: LiveServer, seed: int) -> list[tuple[str, int, str, bool]]:
        chance = random.Random(seed)
        answers = []
        for key in chance.sample(keys, len(keys)):
            body = json.dumps({"payload": payload_of(key), "options": {"idempotency_key": key}}).encode()
            for _ in range(chance.randint(0, 2)):
                post_and_hang_up(server, body)
            answer = server.call("POST", "/api/v1/tasks/process-order/runs", body)
            shown = answer.json()
            answers.append((key, answer.status, shown["id"], shown["is_duplicate"]))
        return answers

    with running_server(bearer("operator")) as server:
        found = [each for answers in at_once(CALLER_COUNT, lambda n: repeat(server, n)) for each in answers]

    assert {status for _, status, _, _ in found} <= {200, 201}
    assert all((status == 200) == is_duplicate for _, status, _, is_duplicate in found)
    assert len({(key, run) for key, _, run, _ in found}) == HTTP_KEY_COUNT
    made = Counter(key for key, status, _, _ in found if status == 201)
    assert all(count == 1 for count in made.values())
    verify(keys, [])
