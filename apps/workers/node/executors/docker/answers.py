"""Interprets the container engine's answers without its library: errors, build streams, image names."""

from collections import deque
from collections.abc import Iterable
from typing import Any

BUILD_LOG_LINES = 20


class EngineError(Exception):
    """The engine refused a call; the text is the engine's own reason, `status` its HTTP status (0 if none)."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class EngineAwayError(EngineError):
    """The engine did not answer: absent, forbidden, restarting or too slow."""


class BuildError(EngineError):
    """An image could not be built; the text ends with the last lines of the build's log."""


def built_image(stream: Iterable[dict[str, Any]]) -> str:
    """Reads the stream to its end even after an error: a half-read connection is never used again."""
    image_id = ""
    error = ""
    log: deque[str] = deque(maxlen=BUILD_LOG_LINES)
    for event in stream:
        image_id = (event.get("aux") or {}).get("ID") or image_id
        error = event.get("error") or error
        log.extend(line for line in (event.get("stream") or "").splitlines() if line.strip())
    if error or not image_id:
        raise BuildError("\n".join([*log, error.strip() or "The engine named no image at the end of the build."]))
    return image_id


def split_reference(reference: str) -> tuple[str, str | None]:
    """Splits into repository and tag; without a tag the library would pull every tag."""
    if "@" in reference:
        return reference, None
    head, colon, tag = reference.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (reference, "latest")


def innermost(error: BaseException) -> str:
    """Returns the system's own message, which the library wraps four times."""
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
