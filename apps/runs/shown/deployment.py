"""A deployment as the HTTP API shows it beside a run."""

from typing import Annotated, Any

from pydantic import Field

from apps.http.schemas import Strict
from apps.runs.models import Deployment


class DeploymentOut(Strict):
    id: str
    version: Annotated[int, Field(description="Counts the deployments of the task set from 1.")]


def deployment_row(deployment: Deployment) -> dict[str, Any]:
    return {"id": deployment.public_id, "version": deployment.version}
