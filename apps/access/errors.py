"""The refusals of `access` as named errors with their HTTP status. `apps.http.errors` has the other apps' errors."""

from typing import ClassVar


class AccessError(Exception):
    """Base of the refusals; the text says what is missing and never reveals a secret's form."""

    title: ClassVar[str] = "Refused"
    status: ClassVar[int]
    retry_after_seconds: int | None = None

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class KeyRefused(AccessError):
    """The API key is missing, unknown, expired or revoked."""

    title = "A valid API key is required"
    status = 401


class NotAllowed(AccessError):
    """The actor's role does not allow the action."""

    title = "Not allowed"
    status = 403


class TooManyTries(AccessError):
    """Too many recent tries were wrong; the next one is read in `retry_after_seconds`."""

    title = "Too many wrong tries"
    status = 429

    def __init__(self, detail: str, retry_after_seconds: int) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class SignInBusy(AccessError):
    """This process is already checking as many passwords as it may; nothing was counted."""

    title = "Too many sign-ins at once"
    status = 503
    retry_after_seconds = 5
