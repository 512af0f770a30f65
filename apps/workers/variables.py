"""Variables of task sets as workers get them: a version with each claim, and the values once per version.

Only a coordinator reads them here: it has the site's secret key, a worker does not.
"""

import hashlib
from collections.abc import Collection
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from apps.protocol import VariablesReply
from apps.runs.variables.encryption import decrypt
from apps.storage.statements import statement, uuid_array

VARIABLE_VERSIONS = statement(__file__, "variable_versions")
LOAD_VARIABLES = statement(__file__, "load_variables")


async def versions(database: AsyncConnection[Any], *, deployment_ids: Collection[UUID]) -> dict[UUID, str]:
    """The present version of each deployment's variables; those without any are left out."""
    rows = await VARIABLE_VERSIONS.run_on(database, deployment_ids=uuid_array(sorted(deployment_ids)))
    return {row.deployment_id: row.version for row in rows}


async def load(database: AsyncConnection[Any], *, deployment_id: UUID) -> VariablesReply:
    """The deployment's present variables with their version. Raises UnreadableValueError."""
    rows = await LOAD_VARIABLES.run_on(database, deployment_id=deployment_id)
    text = "\n".join(f"{row.task_set}/{row.name}/{row.version}" for row in rows)
    values = {row.name: decrypt(row.value, task_set=row.task_set, name=row.name) for row in rows}
    version = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() if rows else ""
    return VariablesReply(version=version, values=values)
