"""What workers and coordinators say to each other over `/coordinator/v1`: the messages and their encoding.

Bodies are MessagePack, so that task values travel as opaque bytes and nothing in them can break out of its field.
Shared by both sides; imports neither Django nor an app.
"""

from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta

# As wide as the columns that hold them; what does not fit is refused with the field's name, and its item alone.
Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00]*\Z")]
ShortName = Annotated[str, Meta(max_length=16, pattern=r"^[^\x00]*\Z")]
Container = Annotated[str, Meta(max_length=128)]
StartKind = Annotated[str, Meta(max_length=8)]
Key = Annotated[str, Meta(max_length=200)]
Seconds = Annotated[float, Meta(ge=0, le=10 * 366 * 86_400)]
"""How long something has taken, at most ten years; NaN is refused."""
Index = Annotated[int, Meta(ge=0, le=2**31 - 1)]
ExitCode = Annotated[int, Meta(ge=-(2**15), le=2**15 - 1)]
Bytes = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Token = Annotated[bytes, Meta(max_length=64)]

PROTOCOL_VERSION = "1.1"
"""Major and minor; a coordinator refuses a worker of another major."""

POLL_SECONDS = 20.0
HEARTBEAT_SECONDS = 30.0
HEARTBEAT_RETRY_SECONDS = 5.0
LEASE_SECONDS = 60
SELF_KILL_SECONDS = 55.0
"""A worker kills an attempt this long after it sent the last acknowledged renewal: before the lease can have ended."""

CONFIRM_SECONDS = 20
"""A claim that the worker does not confirm within this time is released. Longer than a silence of the database that the
pulse takes for none (15 s): what was claimed just before one must have time to be confirmed after it."""

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
    name: Name
    executor: ShortName
    concurrency: Annotated[int, Meta(ge=1, le=100_000)]
    protocol: ShortName
    executor_note: Annotated[str, Meta(max_length=10_000, pattern=r"^[^\x00]*\Z")] = ""


class Registered(Message):
    heartbeat_seconds: float
    lease_seconds: int


class Poll(Message):
    worker_id: UUID
    poll_id: UUID
    capacity: Annotated[int, Meta(ge=0, le=100_000)]
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
    token: Token
    container: Container
    start_kind: StartKind
    running_seconds: Seconds
    resumed_from: Key | None = None


class CheckpointItem(Message):
    run_id: UUID
    token: Token
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
    sequence: Index
    fields: bytes | None = None


class LogBatch(Message):
    run_id: UUID
    token: Token
    attempt: Index
    lines: list[LogItem]


class Finish(Message):
    """The end of an attempt: completed with an output, or another outcome with its error."""

    run_id: UUID
    token: Token
    outcome: str
    output: bytes | None = None
    error: dict[str, Any] | None = None
    retry_after_seconds: float | None = None
    is_abort: bool = False
    container: Container | None = None
    start_kind: StartKind | None = None
    resumed_from: Key | None = None
    running_seconds: Seconds | None = None
    exit_code: ExitCode | None = None
    peak_memory_bytes: Bytes | None = None


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


class RawItems(Message):
    """Any batch, its items not read yet."""

    items: list[msgspec.Raw]


T = TypeVar("T")

encode = msgspec.msgpack.Encoder().encode


def decode(raw: bytes | msgspec.Raw, message: type[T]) -> T:
    """The message in the bytes; raises msgspec.ValidationError naming the field, or msgspec.DecodeError."""
    try:
        return msgspec.msgpack.decode(raw, type=message)
    except (UnicodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error
