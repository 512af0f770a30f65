"""Provides deployments' images: the user's own, or one built from the task folder, under a thin platform layer.

An image is built on the node at its first use, once per content, however many attempts wait for it. Knows nothing of
containers.
"""

import asyncio
import hashlib
import io
import os
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import trigger_sdk

from apps.protocol import DeploymentReply
from apps.workers.node.deployments import inner_name
from apps.workers.node.executors.base import StartFailedError
from apps.workers.node.executors.docker import image_setup
from apps.workers.node.executors.docker.answers import EngineAwayError, EngineError
from apps.workers.node.executors.docker.engine import Engine
from apps.workers.node.executors.requirements import has_local_package, index_options, lock_for_pip
from apps.workers.node.installing import installer_settings

TASKS_FOLDER = "/trigger/tasks"
LOCK_FILE = "requirements.lock"
"""The deployment's lock, as a folder's own Dockerfile can use it too."""

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
PIP_SETTINGS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES")

LABEL_LAYER = "trigger-site.layer"
LABEL_TASKS = "trigger-site.tasks"
LABEL_TASK_SET = "trigger-site.task-set"

DEFAULT_DOCKERFILE = f"""\
ARG BASE_IMAGE=python:3.12-slim
FROM ${{BASE_IMAGE}} AS installed
{"".join(f"ARG {name}{chr(10)}" for name in PIP_SETTINGS)}\
COPY {LOCK_FILE} /trigger/tasks/
WORKDIR /trigger/tasks
RUN python3 -m pip install --no-cache-dir --disable-pip-version-check --no-deps \\
    --target {image_setup.PACKAGES_FOLDER} -r {LOCK_FILE}
FROM ${{BASE_IMAGE}}
COPY --from=installed {image_setup.PACKAGES_FOLDER} {image_setup.PACKAGES_FOLDER}
ENV PATH={image_setup.PACKAGES_FOLDER}/bin:$PATH
""".encode()
"""Installs in a stage of its own: what the node's settings say of an index stays out of the image and its history."""

LAYER_DOCKERFILE = f"""\
ARG BELOW
FROM ${{BELOW}}
USER 0:0
COPY sdk {image_setup.SDK_FOLDER}
COPY image_setup.py /trigger/image_setup.py
RUN ["python3", "-I", "/trigger/image_setup.py", "settle"]
"""
LAYER_OF_TASKS = f"""\
COPY tasks {TASKS_FOLDER}
RUN ["python3", "-I", "/trigger/image_setup.py", "compile", "{TASKS_FOLDER}"]
"""
LAYER_END = f"""\
WORKDIR {image_setup.WORK_FOLDER}
HEALTHCHECK NONE
USER {image_setup.USER_ID}:{image_setup.USER_ID}
"""


@dataclass(frozen=True, slots=True)
class TaskImage:
    """An image ready for containers."""

    id: str
    tasks: str
    """The task code's folder inside it."""


class Images:
    """The images of this node's deployments."""

    def __init__(self, engine: Engine, base_image: str) -> None:
        self._engine = engine
        self._base_image = base_image
        self._known: dict[str, asyncio.Task[TaskImage]] = {}

    async def get(self, deployment: DeploymentReply) -> TaskImage:
        """Returns the image, built if necessary; raises StartFailedError with the last lines of the build's log."""
        tag = tag_of(deployment)
        task = self._known.get(tag)
        if task is None:
            task = asyncio.create_task(self._find_or_build(deployment, tag), name=f"image-{tag}")
            self._known[tag] = task
        try:
            # An abandoned attempt must not cancel the build for the others.
            return await asyncio.shield(task)
        except EngineAwayError as error:
            self.forget(deployment)
            raise StartFailedError(f"The image is not available: {error}") from error
        except (EngineError, tarfile.TarError) as error:
            self.forget(deployment)
            raise StartFailedError(
                f"The image of {deployment.task_set} v{deployment.version} could not be built:\n{error}"
            ) from error

    def forget(self, deployment: DeploymentReply) -> None:
        """Drops an image that failed to build or is gone from the engine: the next `get` looks and builds again."""
        task = self._known.get(tag_of(deployment))
        if task is not None and task.done():
            del self._known[tag_of(deployment)]

    async def _find_or_build(self, deployment: DeploymentReply, tag: str) -> TaskImage:
        layer = layer_hash(deployment.image or self._base_image)
        found = await self._engine.image(tag)
        labels = (found or {}).get("Config", {}).get("Labels") or {}
        if found is not None and labels.get(LABEL_LAYER) == layer:
            return TaskImage(found["Id"], labels[LABEL_TASKS])
        below = deployment.image or await self._build_own(deployment)
        tasks = TASKS_FOLDER if deployment.archive is not None else await self._working_folder(below)
        context = await asyncio.to_thread(layer_context, deployment.archive)
        image_id = await self._engine.build(
            context, tag=tag, network="none", build_args={"BELOW": below},
            labels={LABEL_LAYER: layer, LABEL_TASKS: tasks, LABEL_TASK_SET: deployment.task_set},
        )  # fmt: skip
        return TaskImage(image_id, tasks)

    async def _build_own(self, deployment: DeploymentReply) -> str:
        """Builds what is below the layer: the folder's Dockerfile, its requirements, or the plain base image."""
        if deployment.archive is None:
            raise EngineError("The deployment has neither an image nor a folder.")
        context = await asyncio.to_thread(own_context, deployment.archive, deployment.lock)
        if context is None:
            return self._base_image
        return await self._engine.build(
            context,
            build_args={"BASE_IMAGE": self._base_image, **installer_arguments(os.environ)},
            labels={LABEL_TASK_SET: deployment.task_set},
        )

    async def _working_folder(self, reference: str) -> str:
        found = await self._engine.image(reference)
        if found is None:
            await self._engine.pull(reference)
            found = await self._engine.image(reference)
        return str(((found or {}).get("Config") or {}).get("WorkingDir") or "/")


def tag_of(deployment: DeploymentReply) -> str:
    """Returns the image's name. A task set's name may contain what an image's may not; the hash tells them apart."""
    name = re.sub(r"[^a-z0-9]+", "-", deployment.task_set.lower()).strip("-") or "tasks"
    digest = deployment.content_hash
    if deployment.lock:
        digest = hashlib.sha256(digest + deployment.lock.encode()).digest()
    return f"trigger-site/{name}:{digest.hex()[:12]}"


def installer_arguments(environment: Mapping[str, str]) -> dict[str, str]:
    """The node's proxies and pip settings as build arguments. Docker keeps proxies out of an image's history, the
    default Dockerfile the others; a folder's own Dockerfile sees only what it asks for by `ARG`."""
    settings = installer_settings(environment)
    proxies = {name: value for name, value in settings.items() if name.upper() in PROXIES}
    return proxies | {name: settings[name] for name in PIP_SETTINGS if name in settings}


@cache
def layer_hash(below: str) -> str:
    """Identifies what the platform adds, and to what: a changed SDK or base image means a rebuild."""
    digest = hashlib.sha256("\0".join([below, LAYER_DOCKERFILE, LAYER_OF_TASKS, LAYER_END]).encode())
    for name, content in sorted(_platform_files().items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


def own_context(archive: bytes, lock: str | None) -> bytes | None:
    """Returns the folder as the context of its own build, with its lock; None if it needs only the base image."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as source:
        names = {member.name.removeprefix("./") for member in source.getmembers()}
        listed = source.extractfile("requirements.txt") if "requirements.txt" in names else None
        requirements = listed.read().decode(errors="replace") if listed else ""
    # Made before there were locks: what the folder lists, with what that needs.
    text = (
        requirements
        if lock is None
        else "\n".join([*index_options(requirements), lock_for_pip(lock), ""])
        if lock
        else ""
    )
    files = {LOCK_FILE: text.encode()} if LOCK_FILE not in names else {}
    if "Dockerfile" in names:
        return _tar(files, archive, "") if text and files else archive
    if not text.strip():
        return None
    dockerfile = DEFAULT_DOCKERFILE if lock is not None else DEFAULT_DOCKERFILE.replace(b" --no-deps", b"")
    if has_local_package(text):  # otherwise a change of the code would install everything again
        dockerfile = dockerfile.replace(f"COPY {LOCK_FILE} ".encode(), b"COPY . ")
    return _tar({"Dockerfile": dockerfile, LOCK_FILE: text.encode()}, archive, "")


def layer_context(archive: bytes | None) -> bytes:
    """Returns the build context of the platform's layer, with the folder, if any, as `tasks`."""
    steps = [LAYER_DOCKERFILE, LAYER_OF_TASKS if archive is not None else "", LAYER_END]
    files = {"Dockerfile": "".join(steps).encode(), **_platform_files()}
    return _tar(files, archive, "tasks/")


def _platform_files() -> dict[str, bytes]:
    setup = Path(image_setup.__file__)
    sdk = Path(trigger_sdk.__file__).parent
    files = {
        f"sdk/trigger_sdk/{path.relative_to(sdk).as_posix()}": path.read_bytes()
        for path in sdk.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return {setup.name: setup.read_bytes(), **files}


def _tar(files: dict[str, bytes], archive: bytes | None, prefix: str) -> bytes:
    """Packs a tar of the files and, under the prefix, the archive; everything is readable by every user."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as target:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(files[name]), 0o644
            target.addfile(info, io.BytesIO(files[name]))
        if prefix:
            folder = tarfile.TarInfo(prefix.rstrip("/"))
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            target.addfile(folder)
        if archive is not None:
            _add_archive(target, archive, prefix)
    return buffer.getvalue()


def _add_archive(target: tarfile.TarFile, archive: bytes, prefix: str) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as source:
        for member in source:
            if not (member.isreg() or member.isdir() or member.issym()):
                raise tarfile.TarError(f"{member.name} is not a file, folder or symbolic link")
            info = tarfile.TarInfo(prefix + inner_name(member.name))
            info.type, info.size, info.linkname = member.type, member.size, member.linkname
            info.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            target.addfile(info, source.extractfile(member) if member.isreg() else None)
