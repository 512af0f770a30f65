"""Images of deployments on a real engine: what is built, when, how often, and what a failed build says."""

import asyncio
import io
import os
import tarfile
from hashlib import sha256
from pathlib import Path

import docker
import pytest

from apps.workers.node.executors.base import StartFailedError
from apps.workers.node.executors.docker.engine import Engine
from apps.workers.node.executors.docker.images import LABEL_LAYER, LABEL_TASK_SET, Images, tag_of
from tests.acceptance.docker_support import (
    BASE_IMAGE,
    TASK_SET,
    TASKS,
    deployment_of,
    make_config,
    open_executor,
    running,
    write_folder,
)

pytestmark = pytest.mark.docker

READS_MARKER = """\
from trigger_sdk import task

@task(id="read-marker")
def read_marker() -> str:
    with open("/opt/marker") as file:
        return file.read().strip()
"""
OWN_DOCKERFILE = """\
ARG BASE_IMAGE=python:3.12-slim
FROM ${BASE_IMAGE}
RUN echo made-by-the-user > /opt/marker
USER 1234
ENTRYPOINT ["/bin/false"]
"""


class CountingEngine(Engine):
    """The real engine; counts the images that are built."""

    build_count = 0

    async def build(self, context: bytes, **options: object) -> str:  # type: ignore[override]
        self.build_count += 1
        return await super().build(context, **options)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_folders_own_dockerfile_lies_below_the_platform(
    docker_client: docker.APIClient, worker_folder: Path, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "own", Dockerfile=OWN_DOCKERFILE, tasks=READS_MARKER)

    async with (
        open_executor(make_config(worker_folder)) as executor,
        running(executor, deployment_of(folder), "read-marker") as run,
    ):
        assert await run.returned() == "made-by-the-user"


@pytest.mark.asyncio
async def test_image_deployment_runs_the_tasks_of_its_working_folder(
    docker_client: docker.APIClient, worker_folder: Path
) -> None:
    reference = f"trigger-site-test:{os.getpid()}"
    files = {
        "Dockerfile": f"FROM {BASE_IMAGE}\nRUN echo an-image > /opt/marker\nCOPY tasks.py /app/\nWORKDIR /app\n",
        "tasks.py": READS_MARKER,
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as context:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            context.addfile(info, io.BytesIO(text.encode()))
    buffer.seek(0)
    labels = {LABEL_TASK_SET: TASK_SET}
    events = docker_client.build(
        fileobj=buffer, custom_context=True, tag=reference, rm=True, labels=labels, decode=True
    )
    assert not [event for event in events if "error" in event]
    content_hash = sha256(docker_client.inspect_image(reference)["Id"].encode()).digest()
    deployment = deployment_of(TASKS, kind="image", image=reference, archive=None, content_hash=content_hash)

    async with (
        open_executor(make_config(worker_folder)) as executor,
        running(executor, deployment, "read-marker") as run,
    ):
        assert await run.returned() == "an-image"


@pytest.mark.asyncio
async def test_attempts_that_start_together_share_one_build(docker_client: docker.APIClient, tmp_path: Path) -> None:
    deployment = deployment_of(write_folder(tmp_path / "together", tasks=READS_MARKER + "# together\n"))
    engine = CountingEngine(os.environ)
    await engine.connect()
    try:
        images = Images(engine, BASE_IMAGE)

        found = await asyncio.gather(*(images.get(deployment) for _ in range(5)))
        again = await Images(engine, BASE_IMAGE).get(deployment)

        assert engine.build_count == 1
        assert {image.id for image in found} == {again.id}
    finally:
        engine.close()


@pytest.mark.asyncio
async def test_image_of_another_sdk_is_built_again(docker_client: docker.APIClient, tmp_path: Path) -> None:
    deployment = deployment_of(write_folder(tmp_path / "older", tasks=READS_MARKER + "# older\n"))
    dockerfile = io.BytesIO(f"FROM {BASE_IMAGE}\n".encode())
    labels = {LABEL_LAYER: "of-an-older-sdk", LABEL_TASK_SET: TASK_SET}
    list(docker_client.build(fileobj=dockerfile, tag=tag_of(deployment), labels=labels, rm=True))
    older = docker_client.inspect_image(tag_of(deployment))["Id"]
    engine = CountingEngine(os.environ)
    await engine.connect()
    try:
        found = await Images(engine, BASE_IMAGE).get(deployment)

        assert engine.build_count == 1
        assert found.id != older
    finally:
        engine.close()


@pytest.mark.asyncio
async def test_image_that_was_removed_from_the_engine_is_built_again(
    docker_client: docker.APIClient, worker_folder: Path, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "gone", Dockerfile=OWN_DOCKERFILE, tasks=READS_MARKER + "# gone\n")
    deployment = deployment_of(folder)

    async with open_executor(make_config(worker_folder)) as executor:
        async with running(executor, deployment, "read-marker") as run:
            await run.returned()
        docker_client.remove_image(tag_of(deployment), force=True)
        async with running(executor, deployment, "read-marker") as run:
            assert await run.returned() == "made-by-the-user"


@pytest.mark.asyncio
async def test_failed_build_says_what_failed_and_is_tried_again(
    docker_client: docker.APIClient, worker_folder: Path, tmp_path: Path
) -> None:
    dockerfile = OWN_DOCKERFILE + "USER 0\nRUN echo compiling the extension && echo no compiler >&2 && exit 7\n"
    folder = write_folder(tmp_path / "failing", Dockerfile=dockerfile, tasks=READS_MARKER)
    engine = CountingEngine(os.environ)
    await engine.connect()
    try:
        images = Images(engine, BASE_IMAGE)
        for _ in range(2):
            with pytest.raises(StartFailedError) as caught:
                await images.get(deployment_of(folder))

        assert "no compiler" in str(caught.value)
        assert "non-zero code: 7" in str(caught.value)
        assert engine.build_count == 2
    finally:
        engine.close()


@pytest.mark.asyncio
async def test_archive_that_leaves_its_folder_is_refused(docker_client: docker.APIClient) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../etc/passwd"))
    deployment = deployment_of(TASKS, archive=buffer.getvalue(), content_hash=sha256(buffer.getvalue()).digest())
    engine = CountingEngine(os.environ)
    await engine.connect()
    try:
        with pytest.raises(StartFailedError, match="is outside the folder"):
            await Images(engine, BASE_IMAGE).get(deployment)

        assert engine.build_count == 0
    finally:
        engine.close()
