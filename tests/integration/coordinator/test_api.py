"""The coordinator's door: who gets in, what is refused, and what is said while the database is away."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from apps import protocol as wire
from apps.workers.models import Worker
from tests.coordinator_harness import (
    TOKEN,
    Coordinator,
    Refused,
    a_coordinator,
    answer,
    checkpoint_of,
    claimed_run,
    finish_of,
    start_of,
    until,
)
from tests.factories import make_deployment, make_task
from trigger_site.coordinator.exchange import BODY_MAX_BYTES

EMPTY_BODIES = {
    "workers": wire.Registration(uuid4(), "n", "process", 1, "1.0"),
    "polls": wire.Poll(uuid4(), uuid4(), 1),
    "heartbeats": wire.Heartbeat(uuid4(), []),
    "starts": wire.Batch([]),
    "checkpoints": wire.Batch([]),
    "logs": wire.Batch([]),
    "finishes": wire.Batch([]),
}


@pytest.mark.parametrize("given", ["", "Bearer", f"Bearer {TOKEN}x", TOKEN, f"Basic {TOKEN}", "Bearer "])
@pytest.mark.parametrize("path", [*EMPTY_BODIES, "elsewhere"])
def test_nothing_is_answered_without_the_worker_token(coordinator: Coordinator, path: str, given: str) -> None:
    body = wire.encode(EMPTY_BODIES.get(path, wire.Message()))

    exchange = coordinator.request("POST", path, body, {"authorization": given})

    with pytest.raises(Refused) as refused:
        answer(exchange, wire.Message)
    assert (refused.value.status, refused.value.kind) == (401, "worker-token-wrong")
    assert not Worker.objects.exists()


@pytest.mark.parametrize("path", ["polls", "heartbeats"])
def test_unknown_worker_has_to_register(coordinator: Coordinator, path: str) -> None:
    with pytest.raises(Refused) as refused:
        coordinator.post(path, EMPTY_BODIES[path], wire.Message)

    assert (refused.value.status, refused.value.kind) == (404, "unknown-worker")


@pytest.mark.parametrize("path", EMPTY_BODIES)
@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x80", b"\x93\x01", b'{"items": []}', b"\xde\xff\xff"], ids=repr)
def test_malformed_message_is_refused(coordinator: Coordinator, path: str, body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        answer(coordinator.request("POST", path, body), wire.Message)

    expected = {(400, "malformed-message"), (422, "message-invalid")}
    assert (refused.value.status, refused.value.kind) in expected


def test_message_over_the_limit_is_refused_while_it_arrives(coordinator: Coordinator) -> None:
    megabyte = b"x" * 2**20

    exchange = coordinator.request("POST", "finishes", [megabyte] * (BODY_MAX_BYTES // 2**20 + 1))

    with pytest.raises(Refused) as refused:
        answer(exchange, wire.Message)
    assert refused.value.status == 413


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "polls"), ("POST", "runs"), ("GET", "deployments/x"), ("PUT", "polls")]
)
def test_other_addresses_are_not_found(coordinator: Coordinator, method: str, path: str) -> None:
    status, _ = coordinator.request(method, path).wait()

    assert status == 404


def test_load_with_a_token_that_is_no_token_is_refused(coordinator: Coordinator, claim: wire.Claim) -> None:
    status, _ = coordinator.request("GET", f"runs/{claim.run_id}/checkpoints", headers={"x-attempt-token": "zz"}).wait()

    assert status == 401


@pytest.mark.parametrize("protocol", ["2.0", "0.9", "", "x"])
def test_worker_of_another_major_is_refused(coordinator: Coordinator, protocol: str) -> None:
    with pytest.raises(Refused) as refused:
        coordinator.register(protocol=protocol)

    assert (refused.value.status, refused.value.kind) == (409, "protocol-mismatch")
    assert not Worker.objects.exists()


def test_worker_of_a_newer_minor_is_welcome(coordinator: Coordinator) -> None:
    worker_id = coordinator.register(protocol="1.7")

    assert Worker.objects.get().id == worker_id


def test_deployment_is_sent_whole(coordinator: Coordinator) -> None:
    deployment = make_deployment(archive=b"a tar")
    make_task("t", deployment=deployment, options={"memory_bytes": 1024, "max_duration_seconds": 5, "queue": "q"})

    reply = coordinator.get(f"deployments/{deployment.id}", wire.DeploymentReply)

    assert (reply.archive, reply.content_hash) == (b"a tar", bytes(deployment.content_hash))
    assert reply.tasks == {"t": wire.TaskOptions(max_duration_seconds=5, memory_bytes=1024)}
    assert coordinator.request("GET", f"deployments/{uuid4()}").wait()[0] == 404


# The database is away.


@pytest.fixture
def cut_off() -> Iterator[Coordinator]:
    """A coordinator whose database's port nobody listens on."""
    with a_coordinator("host=127.0.0.1 port=9 dbname=none user=none connect_timeout=1") as coordinator:
        coordinator.dispatch()
        yield coordinator


@pytest.mark.parametrize("path", ["workers", "polls", "heartbeats"])
def test_away_database_is_a_503_that_workers_recognise(cut_off: Coordinator, path: str) -> None:
    exchange = cut_off.request("POST", path, wire.encode(EMPTY_BODIES[path]))

    with pytest.raises(Refused) as refused:
        answer(exchange, wire.Message)
    assert (refused.value.status, refused.value.kind) == (503, "database-away")
    assert exchange.headers[b"retry-after"] == b"1"


def test_write_meets_an_away_database(cut_off: Coordinator) -> None:
    with pytest.raises(Refused) as refused:
        cut_off.starts(wire.Start(uuid4(), b"t", "box", "cold", 0.0))

    assert (refused.value.status, refused.value.kind) == (503, "database-away")


def test_broken_connections_are_a_503_and_the_next_call_works(
    committed: str, coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    def break_connections() -> None:
        with psycopg.connect(committed, autocommit=True) as session:
            session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                "AND application_name = 'coordinator-harness' AND datname = current_database()"
            )

    def finish() -> list[wire.Result]:
        try:
            return coordinator.finish(finish_of(claim))
        except Refused as refused:
            if (refused.status, refused.kind) != (503, "database-away"):
                raise
            return []

    break_connections()

    assert until(finish)[0].status == 200


# Values that do not fit.

UNFIT: dict[str, list[dict[str, object]]] = {
    "starts": [
        {"container": "c" * 129}, {"start_kind": "a long kind"}, {"resumed_from": "k" * 201}, {"running_seconds": -1.0},
        {"running_seconds": float("nan")}, {"running_seconds": 1e300}, {"container": "nul\x00"}, {"token": b"x" * 65},
    ],
    "checkpoints": [
        {"key": "k" * 201}, {"key": ""}, {"key": "nul\x00"}, {"kind": "other"}, {"codec": 2**40}, {"data": b"\xff"},
        {"binds": ["nul\x00"]}, {"duration_seconds": float("nan")}, {"carried": b"\xff"},
    ],
    "finishes": [
        {"outcome": "won"}, {"exit_code": 2**20}, {"peak_memory_bytes": -1}, {"peak_memory_bytes": 2**63},
        {"running_seconds": float("inf")}, {"container": "c" * 129}, {"output": b"\xff"},
    ],
}  # fmt: skip


def items_of(path: str, claim: wire.Claim, **fields: object) -> wire.Message:
    makers: dict[str, Any] = {"starts": start_of, "checkpoints": checkpoint_of, "finishes": finish_of}
    item = makers[path](claim)
    for name, value in fields.items():
        setattr(item, name, value)
    return item  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("path", "fields"), [(path, fields) for path, each in UNFIT.items() for fields in each], ids=repr
)
def test_unfit_value_is_refused_for_its_item_alone(
    coordinator: Coordinator, worker_id: UUID, claim: wire.Claim, path: str, fields: dict[str, object]
) -> None:
    neighbour = claimed_run(coordinator, worker_id)
    batch = {"items": [items_of(path, claim, **fields), items_of(path, neighbour)]}

    unfit, fit = answer(coordinator.request("POST", path, wire.encode(batch)), wire.Results).items

    assert unfit.status in (413, 422)
    assert unfit.message
    assert fit.status == 200


def test_text_that_is_no_utf8_is_refused_for_its_item_alone(
    coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    neighbour = claimed_run(coordinator, worker_id)
    body = wire.encode(wire.Batch([start_of(claim, resumed_from="QQQQ"), start_of(neighbour)])).replace(
        b"QQQQ", b"Q\xffQQ"
    )

    unfit, fit = answer(coordinator.request("POST", "starts", body), wire.Results).items

    assert (unfit.status, unfit.code, fit.status) == (422, "invalid", 200)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "n" * 129),
        ("name", ""),
        ("name", "a\x00b"),
        ("executor", "e" * 17),
        ("concurrency", 0),
        ("concurrency", 2**40),
    ],
)
def test_registration_that_does_not_fit_names_its_field(coordinator: Coordinator, field: str, value: object) -> None:
    registration = wire.Registration(uuid4(), "node-1", "process", 10, wire.PROTOCOL_VERSION)
    setattr(registration, field, value)

    with pytest.raises(Refused) as refused:
        coordinator.post("workers", registration, wire.Registered)

    assert (refused.value.status, refused.value.kind) == (422, "message-invalid")
    assert f"$.{field}" in str(refused.value)
    assert not Worker.objects.exists()


@pytest.mark.parametrize("capacity", [-1, 2**40])
def test_poll_for_an_impossible_number_of_runs_is_refused(
    coordinator: Coordinator, worker_id: UUID, capacity: int
) -> None:
    with pytest.raises(Refused) as refused:
        coordinator.post("polls", wire.Poll(worker_id, uuid4(), capacity), wire.PollReply)

    assert (refused.value.status, refused.value.kind) == (422, "message-invalid")
