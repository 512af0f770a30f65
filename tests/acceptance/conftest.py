"""Parts that several acceptance tests need and that may be missing on a machine: they skip with the reason, or fail.

`TRIGGER_TEST_REQUIRE=docker` turns a skip into a failure.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.acceptance import docker_support


@pytest.fixture(scope="session")
def docker_client() -> Iterator[docker.APIClient]:
    """A client of the container engine under test (`DOCKER_HOST`), which has the base image (`TRIGGER_BASE_IMAGE`)."""
    docker_support.require_engine()
    client = docker.APIClient(docker_support.ADDRESS)
    docker_support.remove_leftovers(client)
    yield client
    docker_support.remove_images(client)
    client.close()


@pytest.fixture
def worker_folder() -> Iterator[Path]:
    """A folder for a worker; its path is short because sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="tw-"))
    yield folder
    shutil.rmtree(folder)
