"""What the verbs of `queues` refuse."""

from apps.runs.errors import RunsError


class RequeueRefused(RunsError):
    """The chosen deployment could not go on with the run; `errors` name each reason."""

    title = "The requeue was refused"
