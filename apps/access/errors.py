"""What `access` refuses, as named errors; `apps/http/problems.py` maps them to HTTP."""


class AccessError(Exception):
    """Base of the refusals; the text says what is missing and never what a secret looks like."""

    title = "Refused"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class KeyRefused(AccessError):
    """No API key was sent, or one that is unknown, expired or revoked."""

    title = "A valid API key is needed"


class NotAllowed(AccessError):
    """The actor's role does not carry the action."""

    title = "Not allowed"


class TooManyTries(AccessError):
    """Too much that was wrong came lately; the next try is read `retry_after_seconds` from now."""

    title = "Too many wrong tries"

    def __init__(self, detail: str, retry_after_seconds: int) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class SignInBusy(AccessError):
    """More passwords are being checked than this process takes on at once; nothing was counted."""

    title = "Too many sign-ins at once"
    retry_after_seconds = 5
