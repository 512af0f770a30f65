"""A deployment as a worker fetches it, and the variables of its tasks."""

from uuid import UUID

from apps.protocol.messages import Message


class TaskOptions(Message):
    """The task options a worker needs, under the names by which the deployment stores them."""

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
    lock: str | None = None
    """The packages to install, each with one version and its hashes; empty: none. None if it was never locked."""


UNKNOWN_VERSION = "unknown"
"""In a claim: the tasks' variables could not be looked at, so they must be fetched."""


class VariablesReply(Message):
    """The variables of a deployment's tasks, as they are now."""

    version: str = ""
    values: dict[str, str] = {}
