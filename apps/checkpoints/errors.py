"""What the verbs of `checkpoints` refuse."""

from apps.http.errors import Refusal


class CheckpointNotFound(Refusal):
    title = "No such checkpoint"
    status = 404


class DeploymentNotFound(Refusal):
    """No deployment of that id, or none that has the run's task."""

    title = "No such deployment"
    status = 404


class ReplayRefused(Refusal):
    """A replay that could not continue, or whose edits would be lost; `errors` name each reason."""

    title = "The replay was refused"
    status = 422


class CheckpointRefused(Refusal):
    """A checkpoint that breaks a limit; `code` is the word that the task's process is told."""

    title = "The checkpoint was refused"
    status = 422

    def __init__(self, detail: str, code: str) -> None:
        super().__init__(detail)
        self.code = code
