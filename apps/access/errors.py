"""What `access` refuses, as named errors with their HTTP status. `apps.http.errors` has those of all other apps."""

from typing import ClassVar


class AccessError(Exception):
    """Base of the refusals; the text says what is missing and never what a secret looks like."""

    title: ClassVar[str] = "Refused"
    status: ClassVar[int]
    retry_after_seconds: int | None = None

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class KeyRefused(AccessError):
    """No API key was sent, or one that is unknown, expired or revoked."""

    title = "A valid API key is needed"
    status = 401


class NotAllowed(AccessError):
    """The actor's role does not carry the action."""

    title = "Not allowed"
    status = 403


class TooManyTries(AccessError):
    """Too much that was wrong came lately; the next try is read `retry_after_seconds` from now."""

    title = "Too many wrong tries"
    status = 429

    def __init__(self, detail: str, retry_after_seconds: int) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class SignInBusy(AccessError):
    """More passwords are being checked than this process takes on at once; nothing was counted."""

    title = "Too many sign-ins at once"
    status = 503
    retry_after_seconds = 5
