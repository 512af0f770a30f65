"""Deployments as workers fetch them: archive or image, and the options that an executor needs."""

import json
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from apps.protocol import DeploymentReply, TaskOptions
from apps.storage.statements import statement

LOAD_DEPLOYMENT = statement(__file__, "load_deployment")


async def load(database: AsyncConnection[Any], *, deployment_id: UUID) -> DeploymentReply | None:
    """Loads a deployment; None if it does not exist."""
    rows = await LOAD_DEPLOYMENT.run_on(database, deployment_id=deployment_id)
    if not rows:
        return None
    row = rows[0]
    return DeploymentReply(
        deployment_id=deployment_id,
        task_set=row.task_set,
        version=row.version,
        kind=row.kind,
        content_hash=row.content_hash,
        tasks={task: _task_options(options) for task, options in json.loads(row.options).items()},
        image=row.image,
        archive=row.archive,
        lock=row.lock,
    )


def _task_options(options: dict[str, Any]) -> TaskOptions:
    known = {name: options[name] for name in TaskOptions.__struct_fields__ if options.get(name) is not None}
    return TaskOptions(**known)
