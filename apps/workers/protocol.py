"""What workers and coordinators say to each other over `/coordinator/v1`: the messages and their encoding.

Bodies are MessagePack, so that task values travel as opaque bytes and nothing in them can break out of its field.
Shared by both sides; imports neither Django nor an app.
"""

from typing import Any, TypeVar
from uuid import UUID

import msgspec

PROTOCOL_VERSION = "1.1"
"""Major and minor; a coordinator refuses a worker of another major."""

POLL_SECONDS = 20.0
HEARTBEAT_SECONDS = 30.0
HEARTBEAT_RETRY_SECONDS = 5.0
LEASE_SECONDS = 60
SELF_KILL_SECONDS = 55.0
"""A worker kills an attempt this long after it sent the last acknowledged renewal: before the lease can have ended."""

CONFIRM_SECONDS = 10
"""A claim that the worker does not confirm within this time is released."""

SUSPECT_SECONDS = 5
"""A worker whose connection broke and that did not come back within this time loses its leases."""

DATABASE_AWAY_SECONDS = 15 * 60
"""For so long a worker takes a coordinator's "database away" for a sign of life."""

BATCH_MAX_ITEMS = 500
BATCH_MAX_BYTES = 8_000_000


class Message(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=False):
    """Base of all messages; unknown fields are ignored, so that either side may be the newer one."""


class Registration(Message):
    worker_id: UUID
    name: str
    executor: str
    concurrency: int
    protocol: str
    executor_note: str = ""


class Registered(Message):
    heartbeat_seconds: float
    lease_seconds: int


class Poll(Message):
    worker_id: UUID
    poll_id: UUID
    capacity: int
    is_repeat: bool = False
    """The reply to this poll_id may have been lost: answer with its claims, if it has any."""
    cancels_seen: list[UUID] = []


class Claim(Message):
    run_id: UUID
    public_id: str
    """The run's id as people see it."""
    attempt: int
    token: bytes
    task: str
    deployment_id: UUID
    payload: bytes
    max_attempts: int
    has_checkpoints: bool = False
    scope: str = ""
    """What idempotency keys are made from: the public id of this run, or of the one that it replays."""
    has_run_out_of_memory: bool = False
    """An earlier attempt did: this one gets the task's larger memory limit."""


class PollReply(Message):
    claims: list[Claim] = []
    cancels: list[UUID] = []
    is_draining: bool = False


class Lease(Message):
    """The right to write for one attempt."""

    run_id: UUID
    token: bytes


class Heartbeat(Message):
    worker_id: UUID
    leases: list[Lease]
    is_stopping: bool = False
    """The last heartbeat of a worker that stops on purpose."""


class HeartbeatReply(Message):
    stale: list[UUID]
    """Runs whose attempt is no longer this worker's: it kills them."""
    cancels: list[UUID] = []


class Start(Message):
    run_id: UUID
    token: bytes
    container: str
    start_kind: str
    running_seconds: float
    resumed_from: str | None = None


class CheckpointItem(Message):
    run_id: UUID
    token: bytes
    key: str
    data: bytes
    binds: list[str] = []
    carried: bytes | None = None
    kind: str = "checkpoint"
    codec: int = 1
    duration_seconds: float | None = None


class LogItem(Message):
    level: str
    source: str
    message: str
    at: str
    sequence: int
    fields: bytes | None = None


class LogBatch(Message):
    run_id: UUID
    token: bytes
    attempt: int
    lines: list[LogItem]


class Finish(Message):
    """The end of an attempt: completed with an output, or another outcome with its error."""

    run_id: UUID
    token: bytes
    outcome: str
    output: bytes | None = None
    error: dict[str, Any] | None = None
    retry_after_seconds: float | None = None
    is_abort: bool = False
    container: str | None = None
    start_kind: str | None = None
    resumed_from: str | None = None
    running_seconds: float | None = None
    exit_code: int | None = None
    peak_memory_bytes: int | None = None


class Starts(Message):
    items: list[Start]


class Checkpoints(Message):
    items: list[CheckpointItem]


class Logs(Message):
    items: list[LogBatch]


class Finishes(Message):
    items: list[Finish]


class Result(Message):
    """What became of one item; `status` as in HTTP: 200 done, 409 stale or in conflict, 422 refused, 503 try again."""

    status: int
    code: str = ""
    message: str = ""
    index: int = 0
    state: str = ""


class Results(Message):
    items: list[Result]


class StoredCheckpoint(Message):
    key: str
    index: int
    data: bytes | None
    """None for a step whose result has to be asked for."""
    binds: list[str] = []
    carried: bytes | None = None
    kind: str = "checkpoint"
    codec: int = 1


class StoredCheckpoints(Message):
    """A page in commit order; the next one starts after `next_after`."""

    items: list[StoredCheckpoint]
    next_after: int | None = None


class StoredData(Message):
    data: bytes | None


class TaskOptions(Message):
    """What a worker needs of a task's options, under the names that the deployment stores them by."""

    max_duration_seconds: float = 3600.0
    memory_bytes: int = 512 * 1024 * 1024
    disk_bytes: int = 2 * 1024 * 1024 * 1024
    warm_start: str = "fork"
    retry_out_of_memory_bytes: int | None = None
    """The memory limit of attempts after one that ran out of memory; None: `memory_bytes` as before."""


class DeploymentReply(Message):
    deployment_id: UUID
    task_set: str
    version: int
    kind: str
    content_hash: bytes
    tasks: dict[str, TaskOptions]
    image: str = ""
    archive: bytes | None = None


class Problem(Message):
    """The body of every refusal."""

    type: str
    detail: str


T = TypeVar("T")

encode = msgspec.msgpack.Encoder().encode


def decode(raw: bytes, message: type[T]) -> T:
    """The message in the bytes; raises msgspec.ValidationError naming the field."""
    return msgspec.msgpack.decode(raw, type=message)
