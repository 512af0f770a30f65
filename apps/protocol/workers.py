"""A worker's registration, its polls with the claims that answer them, and the renewal of its leases."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta

from apps.protocol.fields import Name, ShortName
from apps.protocol.messages import Message


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
    """The reply to this poll_id may have been lost: answer with its claims, if any."""
    cancels_seen: list[UUID] = []


class Claim(Message):
    run_id: UUID
    public_id: str
    """The run's public id."""
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
    """An earlier attempt ran out of memory: this one gets the task's larger limit."""
    variables_version: str = ""
    """The version of the variables that the attempt gets; empty: it has none."""


class PollReply(Message):
    claims: list[Claim] = []
    cancels: list[UUID] = []
    is_draining: bool = False


class Lease(Message):
    """One attempt's right to write."""

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
