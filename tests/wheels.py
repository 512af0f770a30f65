"""Small packages for tests of installations, as wheels in a folder that serves as the only index."""

import os
import zipfile
from pathlib import Path

import pytest


def make_wheel(folder: Path, name: str, version: str, *, requires: str = "") -> Path:
    """A pure wheel whose module has `VERSION`."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += f"Requires-Dist: {requires}\n" if requires else ""
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, content)
    return wheel


def index_variables(folder: Path, cache: Path) -> dict[str, str]:
    """Variables under which the installer knows nothing but this folder's wheels."""
    return {"UV_FIND_LINKS": str(folder), "UV_NO_INDEX": "1", "UV_CACHE_DIR": str(cache)}


def install_from(monkeypatch: pytest.MonkeyPatch, folder: Path, cache: Path) -> None:
    """Lets this process's installer know these wheels, whatever the developer's settings say."""
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_")):
            monkeypatch.delenv(name)
    for name, value in index_variables(folder, cache).items():
        monkeypatch.setenv(name, value)
