"""Tells which example folders `make run` must deploy: those the database does not have in their current state."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from apps.runs.errors import DeploymentRefused
from apps.runs.models import Deployment
from apps.runs.tasks.archives import build_archive
from trigger_site.development.local import write_private

SDK_DIR = settings.BASE_DIR / "sdk" / "python" / "trigger_sdk"


def folders_to_deploy(var_dir: Path) -> Iterator[Path]:
    """Yields changed folders; all of them if our SDK, which inspects them, has changed since last time."""
    mark = var_dir / "deployed-by-sdk"
    is_same_sdk = mark.exists() and mark.read_text() == sdk_hash()
    for folder in sorted(settings.BASE_DIR.glob("examples/*/")):
        if any(folder.glob("*.py")) and not (is_same_sdk and is_deployed(folder)):
            yield folder


def remember_sdk(var_dir: Path) -> None:
    write_private(var_dir / "deployed-by-sdk", sdk_hash())


def is_deployed(folder: Path) -> bool:
    """Whether the newest deployment of a task set is this folder, byte for byte."""
    try:
        content_hash = hashlib.sha256(build_archive(folder)).digest()
    except DeploymentRefused:  # the deploy command says why
        return False
    newest = Deployment.objects.order_by("task_set", "-version").distinct("task_set")
    return any(bytes(found) == content_hash for found in newest.values_list("content_hash", flat=True))


def sdk_hash() -> str:
    digest = hashlib.sha256()
    for path in sorted(SDK_DIR.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(SDK_DIR)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
