"""Unpacking a deployment's archive: what it holds is a stranger's."""

import io
import tarfile
from pathlib import Path

import pytest

from apps.workers.node.deployments import extract


def archive_of(*members: tuple[str, bytes, str]) -> tarfile.TarFile:
    """An opened tar of (name, type, link target)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    buffer.seek(0)
    return tarfile.open(fileobj=buffer)


@pytest.mark.parametrize(
    "members",
    [
        [("../outside", tarfile.REGTYPE, "")],
        [("/etc/outside", tarfile.REGTYPE, "")],
        [("link", tarfile.SYMTYPE, "/etc")],
        [("link", tarfile.SYMTYPE, "../outside")],
        [("here", tarfile.SYMTYPE, "."), ("through", tarfile.SYMTYPE, "here/..")],
        [("hard", tarfile.LNKTYPE, "../outside")],
        [("device", tarfile.CHRTYPE, "")],
        [("pipe", tarfile.FIFOTYPE, "")],
    ],
)
def test_member_that_leaves_the_folder_is_refused(tmp_path: Path, members: list[tuple[str, bytes, str]]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "outside").write_text("untouched")

    with archive_of(*members) as archive, pytest.raises(tarfile.TarError):
        extract(archive, folder)

    assert (tmp_path / "outside").read_text() == "untouched"


def test_file_is_never_written_through_a_link_of_the_archive(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    with (
        archive_of(("d", tarfile.SYMTYPE, "../outside"), ("d/file", tarfile.REGTYPE, "")) as archive,
        pytest.raises((tarfile.TarError, FileExistsError)),
    ):
        extract(archive, folder)

    assert not (tmp_path / "outside").exists()
