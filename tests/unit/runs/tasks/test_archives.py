"""Packing a task folder: the same bytes for the same content, without leftovers, within the limit."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from apps.runs.errors import DeploymentRefused
from apps.runs.tasks.archives import ARCHIVE_MAX_BYTES, build_archive
from apps.workers.node.deployments import extract


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "orders"
    (root / "shop").mkdir(parents=True)
    (root / "tasks.py").write_text("import shop\n")
    (root / "shop" / "__init__.py").write_text("")
    return root


def members(archive: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {info.name: info for info in tar.getmembers()}


def test_same_content_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    first = build_archive(folder)
    other = tmp_path / "elsewhere"
    (other / "shop").mkdir(parents=True)
    (other / "shop" / "__init__.py").write_text("")
    (other / "tasks.py").write_text("import shop\n")
    os.utime(other / "tasks.py", (1, 1))
    (other / "tasks.py").chmod(0o600)

    assert build_archive(other) == first
    assert build_archive(folder) == first


def test_another_content_or_name_gives_other_bytes(folder: Path) -> None:
    first = build_archive(folder)
    (folder / "tasks.py").write_text("import shop  # changed\n")
    second = build_archive(folder)
    (folder / "tasks.py").rename(folder / "jobs.py")

    assert len({first, second, build_archive(folder)}) == 3


def test_leftovers_stay_behind(folder: Path) -> None:
    for path in (
        ".git/config", ".venv/bin/python", ".env", "shop/.secret", "shop/__pycache__/x.pyc", "old.pyc",
        "var/postgres/x", "venv/x", "node_modules/x",
    ):  # fmt: skip
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("x")
    (folder / "shop" / "var").mkdir()
    (folder / "shop" / "var" / "kept.txt").write_text("x")

    assert list(members(build_archive(folder))) == ["tasks.py", "shop/__init__.py", "shop/var/kept.txt"]


def test_members_carry_no_owner_time_or_foreign_mode(folder: Path) -> None:
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o4777)

    found = members(build_archive(folder))

    assert {(info.uid, info.gid, info.uname, info.mtime) for info in found.values()} == {(0, 0, "", 0)}
    assert oct(found["run.sh"].mode) == "0o755"
    assert oct(found["tasks.py"].mode) == "0o644"


def test_inner_links_are_kept_and_work_when_unpacked(folder: Path, tmp_path: Path) -> None:
    (folder / "shop" / "link.py").symlink_to(folder / "tasks.py")
    (folder / "again").symlink_to("shop")

    with tarfile.open(fileobj=io.BytesIO(build_archive(folder))) as tar:
        extract(tar, tmp_path / "out")

    assert (tmp_path / "out" / "shop" / "link.py").read_text() == "import shop\n"
    assert (tmp_path / "out" / "again" / "__init__.py").exists()


@pytest.mark.parametrize("target", ["/etc/passwd", "../..", "../orders-secrets"])
def test_links_that_leave_the_folder_are_refused(folder: Path, target: str) -> None:
    (folder.parent / "orders-secrets").write_text("x")
    (folder / "shop" / "link").symlink_to(target if target.startswith("/") else "../" + target)

    with pytest.raises(DeploymentRefused, match=r"shop/link: a symbolic link to .*, outside the folder"):
        build_archive(folder)


def test_broken_links_are_refused(folder: Path) -> None:
    (folder / "link").symlink_to("nothing")

    with pytest.raises(DeploymentRefused, match="does not exist"):
        build_archive(folder)


def test_special_files_are_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe")

    with pytest.raises(DeploymentRefused, match="pipe: neither a file"):
        build_archive(folder)


def test_a_folder_over_the_limit_names_its_largest_files(folder: Path) -> None:
    for name, size in (("model.bin", ARCHIVE_MAX_BYTES), ("data.csv", 1000)):
        with (folder / name).open("wb") as file:
            file.truncate(size)

    with pytest.raises(
        DeploymentRefused, match=r"the limit is 20,000,000.*model.bin \(20,000,000\), data.csv \(1,000\)"
    ):
        build_archive(folder)


def test_a_file_is_no_folder(folder: Path) -> None:
    with pytest.raises(DeploymentRefused, match="is not a folder"):
        build_archive(folder / "tasks.py")
