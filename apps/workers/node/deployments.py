"""The node's copies of deployments: fetched once from the coordinator, unpacked into a folder of their own."""

import asyncio
import io
import shutil
import tarfile
from pathlib import Path
from uuid import UUID

from apps.workers.protocol import DeploymentReply

from .coordinator import Coordinator, RefusedError


class DeploymentError(Exception):
    """The deployment cannot be had on this node; the text says why."""


class Deployments:
    """Fetches each deployment once, however many attempts ask for it at the same time."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._fetched: dict[UUID, asyncio.Task[DeploymentReply]] = {}

    async def get(self, deployment_id: UUID) -> DeploymentReply:
        """The deployment; raises DeploymentError, or the coordinator's error where it does not answer."""
        task = self._fetched.get(deployment_id)
        if task is None or (task.done() and task.exception() is not None):
            task = asyncio.create_task(self._coordinator.deployment(deployment_id), name="fetch-deployment")
            self._fetched[deployment_id] = task
        try:
            return await asyncio.shield(task)
        except RefusedError as error:
            raise DeploymentError(str(error)) from error


def unpack(deployment: DeploymentReply, folder: Path) -> Path:
    """The deployment's files below `folder`, under its content hash; unpacked once, and whole or not at all."""
    target = folder / deployment.content_hash.hex()[:32]
    if target.is_dir():
        return target
    if deployment.archive is None:
        raise DeploymentError(
            f"The deployment {deployment.task_set} v{deployment.version} is an image; it has no folder."
        )
    partial = folder / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with tarfile.open(fileobj=io.BytesIO(deployment.archive)) as archive:
            archive.extractall(partial, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise DeploymentError(f"The archive of {deployment.task_set} cannot be unpacked: {error}") from error
    partial.rename(target)
    return target
