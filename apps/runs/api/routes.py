"""The HTTP API routes of runs and tasks, for the root to mount."""

from ninja import Router

from apps.http.shared_routes import task_routes
from apps.runs.api import tasks as tasks
from apps.runs.api.runs import router as run_router
from apps.runs.api.triggers import router as trigger_router
from apps.runs.variables.api import router as variable_router

router = Router()
router.add_router("", trigger_router)
router.add_router("", run_router)
router.add_router("", task_routes)
router.add_router("", variable_router)
