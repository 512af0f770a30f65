"""What the verbs of `queues` refuse."""

from apps.http.errors import FieldError, Refusal


class RequeueRefused(Refusal):
    """The chosen deployment could not continue the run; `errors` names each reason."""

    title = "The requeue was refused"
    status = 422


class LimitInvalid(Refusal):
    """An invalid limit, rate or pause; `errors` names the fields."""

    title = "A limit is not valid"
    status = 422


class QueueNotFound(Refusal):
    """No task, run or setting names the queue."""

    title = "No such queue"
    status = 404


class NoteInvalid(Refusal):
    """A discard without a note, or with one that cannot be stored."""

    title = "The note is not valid"
    status = 422


class SelectionInvalid(Refusal):
    """It is unclear which dead letters are meant, or how fast they may follow each other."""

    title = "The selection is not valid"
    status = 422


class QueueFull(Refusal):
    """A trigger that exceeds a queue's `max_depth`; nothing was enqueued."""

    title = "The queue is full"
    status = 429

    def __init__(self, detail: str, errors: tuple[FieldError, ...], retry_after_seconds: int) -> None:
        super().__init__(detail, errors)
        self.retry_after_seconds = retry_after_seconds
