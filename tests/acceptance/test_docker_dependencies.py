"""Locked packages in an image, and variables in a container, on a real engine: there for the task, and nowhere else."""

import io
import json
import os
import tarfile
from pathlib import Path

import docker
import pip
import pytest

from apps.workers.node.executors.requirements import lock_requirements
from apps.workers.node.variables import Variables
from tests.acceptance.docker_support import (
    BASE_IMAGE,
    LABEL_TASK_SET,
    TASK_SET,
    deployment_of,
    make_config,
    open_executor,
    running,
    write_folder,
)
from tests.wheels import make_wheel

pytestmark = pytest.mark.docker

SECRET = "sk_live_0123456789"
INDEX = "https://user:index-password@index.invalid/simple"
SELLS = """
import os
import tinyshop
from trigger_sdk import task

KEY = os.environ["SHOP_KEY"]

@task(id="sell")
def sell():
    return [tinyshop.VERSION, KEY, "PIP_INDEX_URL" in os.environ]
"""
PIP_DOCKERFILE = f"""
FROM {BASE_IMAGE}
COPY pip /tmp/pip
RUN python3 -m pip --version || \\
    cp -r /tmp/pip "$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/pip"
"""


@pytest.fixture
def base_with_pip(docker_client: docker.APIClient) -> str:
    """The base image, with this environment's pip if it has none."""
    reference = f"trigger-site-test-pip:{os.getpid()}"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as context:
        info = tarfile.TarInfo("Dockerfile")
        info.size = len(PIP_DOCKERFILE)
        context.addfile(info, io.BytesIO(PIP_DOCKERFILE.encode()))
        context.add(Path(pip.__file__).parent, "pip")
    buffer.seek(0)
    labels = {LABEL_TASK_SET: TASK_SET}
    events = list(
        docker_client.build(
            fileobj=buffer, custom_context=True, tag=reference, rm=True, labels=labels, decode=True, network_mode="none"
        )
    )
    assert not [event for event in events if "error" in event], events
    return reference


@pytest.mark.asyncio
async def test_locked_packages_are_in_the_image_and_secrets_in_the_process_only(
    docker_client: docker.APIClient,
    base_with_pip: str,
    worker_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write_folder(tmp_path / "shop", tasks=SELLS)
    make_wheel(folder / "wheels", "tinyshop", "1.0")
    (folder / "requirements.txt").write_text("--no-index\n--find-links wheels\ntinyshop\n")
    deployment = deployment_of(folder, lock=lock_requirements(folder))
    monkeypatch.setenv("PIP_INDEX_URL", INDEX)

    async with (
        open_executor(make_config(worker_folder, base_image=base_with_pip)) as executor,
        running(executor, deployment, "sell", variables=Variables("1", {"SHOP_KEY": SECRET})) as run,
    ):
        container = docker_client.inspect_container(run.container)
        assert await run.returned() == ["1.0", SECRET, False]

    image = container["Image"]
    shown = json.dumps([container, docker_client.inspect_image(image), docker_client.history(image)])
    assert SECRET not in shown
    assert "index-password" not in shown
