"""The routes of the HTTP API of checkpoints and replays, for the root to mount."""

from ninja import Router

from apps.checkpoints.inspector.api import router as inspector_router
from apps.checkpoints.replay.api import router as replay_router

router = Router()
router.add_router("", inspector_router)
router.add_router("", replay_router)
