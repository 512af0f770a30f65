"""What `access` refuses, as named errors; `trigger_site/problems.py` maps them to HTTP."""


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
