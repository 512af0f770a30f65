"""Replays as the API and the audit trail show them."""

from typing import Any

from apps.checkpoints.replay.plan import UNCHANGED, ReplayRequest
from apps.checkpoints.replay.preview import ReplayPreview
from apps.runs.models import Run
from apps.runs.shown.deployment import deployment_row

EDITED_KEYS_SHOWN = 20


def audit_details(request: ReplayRequest, copy: Run) -> dict[str, Any]:
    """What was asked for and what it became. Of edits only the keys: values may hold what nobody else should see."""
    asked: dict[str, Any] = {}
    if request.payload is not UNCHANGED:
        asked["has_payload"] = True
    if request.checkpoint_data:
        asked["edited_keys"] = sorted(request.checkpoint_data)[:EDITED_KEYS_SHOWN]
    if request.deployment != "original":
        asked["deployment"] = request.deployment
    if request.has_new_keys:
        asked["has_new_keys"] = True
    return {"from_checkpoint": request.from_checkpoint, "new_run": copy.public_id, **asked}


def preview_row(shown: ReplayPreview) -> dict[str, Any]:
    original = shown.original_deployment
    return {
        "deployment": deployment_row(shown.deployment),
        "original_deployment": None if original is None else deployment_row(original),
        "newest_deployment": deployment_row(shown.newest_deployment),
        "is_other_deployment": shown.is_other_deployment,
        "resumes_after": shown.resumes_after,
        "reused": shown.reused,
        "runs_again": shown.runs_again,
        "segments": shown.segments,
        "uses_original_keys": shown.uses_original_keys,
        "keys_reason": shown.keys_reason,
        "concurrency_key": shown.concurrency_key,
        "original_concurrency_key": shown.original_concurrency_key,
        "warnings": shown.warnings,
        "refusals": shown.refusals,
    }
