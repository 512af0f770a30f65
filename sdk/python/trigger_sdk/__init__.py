"""Durable jobs in plain Python: write a function, mark where it may continue, and run it until it is done.

In task code: `from trigger_sdk import task, checkpoint`. Outside: `from trigger_sdk import Client`. Tests of tasks use
`trigger_sdk.testing`. Every container imports this package, so what only callers need is loaded on first use.

Each of these may import those after it: `cli`, the command `trigger`; `agent`, the process that runs tasks, `client`,
HTTP to a server, and `testing`, runs without one; `tasks`, `log` and `steps`, what task code calls; `run`, what
executes during a run; `compiler`, what is read from a task's source; `values`, what values are and how they are
stored; then options, errors, times and the frames between agent and worker.
"""

from typing import TYPE_CHECKING, Any

from trigger_sdk import log
from trigger_sdk.errors import (
    AbortRun,
    CheckpointMisplaced,
    CodecError,
    DuplicateStep,
    RegistrationError,
    RetryAfter,
    RunCanceled,
    RunInterrupted,
    RunTimedOut,
    StepError,
    StepTimedOut,
)
from trigger_sdk.options import Retry
from trigger_sdk.run.context import RunInfo, current_run, idempotency_key
from trigger_sdk.steps import step
from trigger_sdk.tasks import Task, checkpoint, registry, task

if TYPE_CHECKING:
    from trigger_sdk import codec
    from trigger_sdk.client import AsyncClient, Client

__version__ = "0.1.0"
__all__ = [
    "AbortRun",
    "AsyncClient",
    "CheckpointMisplaced",
    "Client",
    "CodecError",
    "DuplicateStep",
    "RegistrationError",
    "Retry",
    "RetryAfter",
    "RunCanceled",
    "RunInfo",
    "RunInterrupted",
    "RunTimedOut",
    "StepError",
    "StepTimedOut",
    "Task",
    "checkpoint",
    "codec",
    "current_run",
    "idempotency_key",
    "log",
    "registry",
    "step",
    "task",
]


def __getattr__(name: str) -> Any:
    if name in ("Client", "AsyncClient"):
        from trigger_sdk import client

        return getattr(client, name)
    if name == "codec":
        import trigger_sdk.codec as module

        return module
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
