"""What workers and coordinators exchange over `/coordinator/v1`: messages, encoding, limits.

Shared by both sides, and below all apps: verbs take the wire's records as they are. Imports neither Django nor apps.
"""

from apps.protocol.deployments import UNKNOWN_VERSION, DeploymentReply, TaskOptions, VariablesReply
from apps.protocol.kinds import AttemptWrite, Batch, RawBatch, Result, Results, WriteKind
from apps.protocol.limits import (
    BATCH_MAX_BYTES,
    BATCH_MAX_ITEMS,
    CONFIRM_SECONDS,
    DATABASE_AWAY_SECONDS,
    HEARTBEAT_RETRY_SECONDS,
    HEARTBEAT_SECONDS,
    LEASE_SECONDS,
    POLL_SECONDS,
    PROTOCOL_VERSION,
    SELF_KILL_SECONDS,
    SUSPECT_SECONDS,
)
from apps.protocol.messages import Message, Problem, decode, encode
from apps.protocol.stored import StoredCheckpoint, StoredCheckpoints, StoredData
from apps.protocol.workers import Claim, Heartbeat, HeartbeatReply, Lease, Poll, PollReply, Registered, Registration
from apps.protocol.writes import CHECKPOINTS, FINISHES, LOGS, STARTS, CheckpointItem, Finish, LogBatch, LogItem, Start

__all__ = [
    "BATCH_MAX_BYTES",
    "BATCH_MAX_ITEMS",
    "CHECKPOINTS",
    "CONFIRM_SECONDS",
    "DATABASE_AWAY_SECONDS",
    "FINISHES",
    "HEARTBEAT_RETRY_SECONDS",
    "HEARTBEAT_SECONDS",
    "LEASE_SECONDS",
    "LOGS",
    "POLL_SECONDS",
    "PROTOCOL_VERSION",
    "SELF_KILL_SECONDS",
    "STARTS",
    "SUSPECT_SECONDS",
    "UNKNOWN_VERSION",
    "AttemptWrite",
    "Batch",
    "CheckpointItem",
    "Claim",
    "DeploymentReply",
    "Finish",
    "Heartbeat",
    "HeartbeatReply",
    "Lease",
    "LogBatch",
    "LogItem",
    "Message",
    "Poll",
    "PollReply",
    "Problem",
    "RawBatch",
    "Registered",
    "Registration",
    "Result",
    "Results",
    "Start",
    "StoredCheckpoint",
    "StoredCheckpoints",
    "StoredData",
    "TaskOptions",
    "VariablesReply",
    "WriteKind",
    "decode",
    "encode",
]
