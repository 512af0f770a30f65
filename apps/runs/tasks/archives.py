"""A task folder as one tar file: the same bytes for the same content, so that its hash names it.

Decides what belongs to a folder (code, not leftovers). Storing it is `deployments.py`; unpacking it is the node's.
"""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from apps.http.errors import FieldError
from apps.runs.errors import DeploymentRefused

ARCHIVE_MAX_BYTES = 20_000_000
LARGEST_SHOWN = 3
EXCLUDED_EVERYWHERE = frozenset({"__pycache__", "node_modules", "venv"})
EXCLUDED_AT_THE_TOP = frozenset({"var"})
"""Where an installation that was started inside the folder keeps its database."""


def build_archive(folder: Path) -> bytes:
    """The folder as a tar of files and inner symbolic links: sorted, without times, owners and hidden files.

    Raises DeploymentRefused: over 20 MB (naming the largest files), a link that leaves the folder, a special file.
    """
    root = folder.resolve()
    if not root.is_dir():
        raise DeploymentRefused(f"{folder} is not a folder.")
    buffer = io.BytesIO()
    sizes: dict[str, int] = {}
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in _entries(root):
            info = _describe(path, root)
            sizes[info.name] = info.size
            if sum(sizes.values()) > ARCHIVE_MAX_BYTES:
                raise _too_large(folder, _sizes(root))
            if info.issym():
                archive.addfile(info)
            else:
                _add_file(archive, info, path)
    if buffer.tell() > ARCHIVE_MAX_BYTES:
        raise _too_large(folder, sizes)
    return buffer.getvalue()


def _entries(root: Path) -> Iterator[Path]:
    """Files and symbolic links in the order of their names, whatever the file system's."""
    for current, folders, files in os.walk(root):
        here = Path(current)
        excluded = EXCLUDED_EVERYWHERE | (EXCLUDED_AT_THE_TOP if here == root else frozenset())
        kept = sorted(name for name in folders if not name.startswith(".") and name not in excluded)
        folders[:] = [name for name in kept if not (here / name).is_symlink()]
        links = [name for name in kept if (here / name).is_symlink()]
        for name in sorted([*files, *links]):
            if not name.startswith(".") and not name.endswith(".pyc"):
                yield here / name


def _describe(path: Path, root: Path) -> tarfile.TarInfo:
    name = path.relative_to(root).as_posix()
    info = tarfile.TarInfo(name)
    if path.is_symlink():
        target = path.resolve()
        if not target.is_relative_to(root):
            raise _refused(name, f"a symbolic link to {os.readlink(path)}, outside the folder")
        if not target.exists():
            raise _refused(name, f"a symbolic link to {os.readlink(path)}, which does not exist")
        info.type = tarfile.SYMTYPE
        info.linkname = Path(os.path.relpath(target, path.parent)).as_posix()
        return info
    if not path.is_file():
        raise _refused(name, "neither a file nor a folder nor a symbolic link")
    found = path.stat()
    info.size = found.st_size
    info.mode = 0o755 if found.st_mode & 0o100 else 0o644
    return info


def _add_file(archive: tarfile.TarFile, info: tarfile.TarInfo, path: Path) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _refused(info.name, f"not readable: {error.strerror}") from error
    info.size = len(content)  # it may have grown since it was described
    archive.addfile(info, io.BytesIO(content))


def _refused(name: str, message: str) -> DeploymentRefused:
    return DeploymentRefused(f"{name}: {message}.", (FieldError(name, message),))


def _sizes(root: Path) -> dict[str, int]:
    return {path.relative_to(root).as_posix(): path.lstat().st_size for path in _entries(root)}


def _too_large(folder: Path, sizes: dict[str, int]) -> DeploymentRefused:
    largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:LARGEST_SHOWN]
    named = ", ".join(f"{name} ({sizes[name]:,})" for name in largest)
    return DeploymentRefused(
        f"{folder} has {sum(sizes.values()):,} bytes; the limit is {ARCHIVE_MAX_BYTES:,}. The largest files: {named}.",
        tuple(FieldError(name, f"{sizes[name]:,} bytes") for name in largest),
    )
