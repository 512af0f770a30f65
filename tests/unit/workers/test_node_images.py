"""What is sent to the engine for a folder's own image: its lock, and nothing of where packages come from."""

import hashlib
import io
import tarfile
from uuid import uuid4

from apps.protocol import DeploymentReply
from apps.workers.node.executors.docker.images import installer_arguments, own_context, tag_of

LOCK = "shop==1.0 \\\n    --hash=sha256:00"


def archive_of(**files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def files_of(context: bytes | None) -> dict[str, str]:
    assert context is not None
    with tarfile.open(fileobj=io.BytesIO(context)) as archive:
        found = {member.name: archive.extractfile(member) for member in archive}
    return {name: file.read().decode() for name, file in found.items() if file is not None}


def test_locked_folder_installs_exactly_its_lock() -> None:
    archive = archive_of(tasks__py="", requirements__txt="--extra-index-url https://more.example\nshop\n")

    files = files_of(own_context(archive, LOCK))

    assert files["requirements.lock"] == f"--extra-index-url https://more.example\n{LOCK}\n"
    assert "--no-deps" in files["Dockerfile"]
    assert "COPY requirements.lock /trigger/tasks/" in files["Dockerfile"]
    assert files["Dockerfile"].count("FROM ${BASE_IMAGE}") == 2


def test_package_inside_the_folder_is_there_when_it_is_installed() -> None:
    files = files_of(own_context(archive_of(requirements__txt="./libs/shop\n"), "./libs/shop"))

    assert "COPY . /trigger/tasks/" in files["Dockerfile"]


def test_folders_own_dockerfile_finds_the_lock() -> None:
    archive = archive_of(Dockerfile="FROM x\n", requirements__txt="shop\n")

    assert files_of(own_context(archive, LOCK))["requirements.lock"] == f"{LOCK}\n"
    assert files_of(own_context(archive, LOCK))["Dockerfile"] == "FROM x\n"
    assert own_context(archive, "") == archive


def test_folder_that_needs_nothing_has_no_build_of_its_own() -> None:
    assert own_context(archive_of(tasks__py=""), "") is None
    assert own_context(archive_of(tasks__py=""), None) is None


def test_deployment_from_before_there_were_locks_installs_what_it_lists() -> None:
    files = files_of(own_context(archive_of(requirements__txt="shop\n"), None))

    assert files["requirements.lock"] == "shop\n"
    assert "--no-deps" not in files["Dockerfile"]


def test_same_folder_with_another_lock_is_another_image() -> None:
    content_hash = hashlib.sha256(b"").digest()
    replies = [
        DeploymentReply(uuid4(), "set", 1, "folder", content_hash, {}, lock=lock) for lock in (None, "", "a==1", "a==2")
    ]

    none, empty, first, second = map(tag_of, replies)

    assert none == empty
    assert len({empty, first, second}) == 3


def test_build_gets_index_and_proxies_of_the_node_and_nothing_else() -> None:
    environment = {"PIP_INDEX_URL": "https://i", "https_proxy": "http://p", "UV_CACHE_DIR": "/c", "TRIGGER_X": "1"}

    assert installer_arguments(environment) == {"PIP_INDEX_URL": "https://i", "https_proxy": "http://p"}
