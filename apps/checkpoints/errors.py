"""What the verbs of `checkpoints` refuse."""

from apps.runs.errors import RunsError


class CheckpointNotFound(RunsError):
    title = "No such checkpoint"


class DeploymentNotFound(RunsError):
    """No deployment of that id, or none that has the run's task."""

    title = "No such deployment"


class ReplayRefused(RunsError):
    """A replay that could not continue, or whose edits would be lost; `errors` name each reason."""

    title = "The replay was refused"


class CheckpointRefused(RunsError):
    """A checkpoint that breaks a limit; `code` is the word that the task's process is told."""

    title = "The checkpoint was refused"

    def __init__(self, detail: str, code: str) -> None:
        super().__init__(detail)
        self.code = code
