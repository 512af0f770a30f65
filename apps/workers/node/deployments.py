"""Keeps the node's copies of deployments: each fetched once from the coordinator, unpacked into its own folder."""

import asyncio
import io
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from uuid import UUID

from apps.protocol import DeploymentReply
from apps.workers.node.coordinator import CallRefusedError, Coordinator


class DeploymentError(Exception):
    """The deployment is not available on this node; the text says why."""


class Deployments:
    """Fetches each deployment once, however many attempts ask for it at the same time."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._fetched: dict[UUID, asyncio.Task[DeploymentReply]] = {}

    async def get(self, deployment_id: UUID) -> DeploymentReply:
        """Returns the deployment; raises DeploymentError, or the coordinator's error if it does not answer."""
        task = self._fetched.get(deployment_id)
        if task is None or (task.done() and task.exception() is not None):
            task = asyncio.create_task(self._coordinator.deployment(deployment_id), name="fetch-deployment")
            self._fetched[deployment_id] = task
        try:
            return await asyncio.shield(task)
        except CallRefusedError as error:
            raise DeploymentError(str(error)) from error


def unpack(deployment: DeploymentReply, folder: Path) -> Path:
    """Unpacks the deployment below `folder`, under its content hash: once, and completely or not at all."""
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
            extract(archive, partial)
    except (tarfile.TarError, OSError) as error:
        raise DeploymentError(f"The archive of {deployment.task_set} cannot be unpacked: {error}") from error
    partial.rename(target)
    return target


def extract(archive: tarfile.TarFile, folder: Path) -> None:
    """Writes files, folders and inner symbolic links; raises TarError for anything else or outside the folder.

    Replaces `tarfile.data_filter`, which Debian 12's Python 3.11.2 lacks.
    """
    root = folder.resolve()
    links = []
    for member in archive:
        path = root / inner_name(member.name)
        if member.issym():
            links.append((path, member.linkname))
        elif member.isdir():
            path.mkdir(parents=True, exist_ok=True)
        elif member.isreg() and (content := archive.extractfile(member)) is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())
            path.chmod(0o755 if member.mode & 0o100 else 0o644)
        else:
            raise tarfile.TarError(f"{member.name} is not a file, folder or symbolic link")
    for path, target in links:  # last, so that no file is written through one
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
        if not path.resolve().is_relative_to(root):
            raise tarfile.TarError(f"{path.relative_to(root)} is a link that leaves the folder")


def inner_name(name: str) -> str:
    """Returns a member's path within the folder; raises TarError if it is outside."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts:
        raise tarfile.TarError(f"{name} is outside the folder")
    return "/".join(parts)
