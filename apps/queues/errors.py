"""What the verbs of `queues` refuse."""

from apps.http.errors import FieldError, Refusal


class RequeueRefused(Refusal):
    """The chosen deployment could not go on with the run; `errors` name each reason."""

    title = "The requeue was refused"
    status = 422


class LimitInvalid(Refusal):
    """A limit, a rate or a pause that nothing can have; `errors` name the fields."""

    title = "A limit is not valid"
    status = 422


class QueueNotFound(Refusal):
    """No task, no run and no setting names such a queue."""

    title = "No such queue"
    status = 404


class NoteInvalid(Refusal):
    """A discard without a note, or with one that cannot be stored."""

    title = "The note is not valid"
    status = 422


class SelectionInvalid(Refusal):
    """It cannot be told which dead letters are meant, or how fast they may follow each other."""

    title = "The selection is not valid"
    status = 422


class QueueFull(Refusal):
    """A trigger beyond a queue's `max_depth`; nothing was enqueued."""

    title = "The queue is full"
    status = 429

    def __init__(self, detail: str, errors: tuple[FieldError, ...], retry_after_seconds: int) -> None:
        super().__init__(detail, errors)
        self.retry_after_seconds = retry_after_seconds
