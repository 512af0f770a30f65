"""What the verbs of `checkpoints` refuse."""

from apps.runs.errors import RunsError


class CheckpointNotFound(RunsError):
    title = "No such checkpoint"


class CheckpointRefused(RunsError):
    """A checkpoint that breaks a limit; `code` is the word that the task's process is told."""

    title = "The checkpoint was refused"

    def __init__(self, detail: str, code: str) -> None:
        super().__init__(detail)
        self.code = code
