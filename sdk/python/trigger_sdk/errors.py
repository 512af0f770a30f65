"""The exceptions that task code raises or catches. Holds no behaviour beyond their messages."""

from collections.abc import Sequence
from typing import NamedTuple


class TriggerError(Exception):
    """Base of the errors that this package raises when it is used wrongly."""


class RetryAfter(Exception):
    """Fails the attempt and asks for the next one after `seconds`, instead of the task's own backoff.

    `seconds` is from 0 to 2,592,000 (30 days), else ValueError.
    """

    def __init__(self, seconds: float, reason: str = "") -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= 30 * 86_400:
            hint = "; for a time that may have passed, give max(0, seconds)" if _is_negative(seconds) else ""
            raise ValueError(f"RetryAfter(seconds={seconds!r}): must be a number from 0 to 2,592,000 (30 days){hint}")
        super().__init__(reason or f"retry after {seconds} s")
        self.seconds = float(seconds)
        self.reason = reason


def _is_negative(seconds: object) -> bool:
    return isinstance(seconds, (int, float)) and seconds < 0


class AbortRun(Exception):
    """Ends the run at once as a dead letter, with no further attempt."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RunStopped(BaseException):
    """Base of what is raised inside a run that the platform ends; by design `except Exception` does not catch it."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class RunTimedOut(RunStopped):
    """The attempt reached its `max_duration`."""


class RunCanceled(RunStopped):
    """The run was canceled."""


class RunInterrupted(RunStopped):
    """The worker is draining: the run continues elsewhere from its last checkpoint."""


class CheckpointMisplaced(TriggerError):
    """A checkpoint was reached outside the body of the task that is running."""


class CheckpointRefused(TriggerError):
    """A checkpoint breaks a rule that only shows at run time: its key was already used, or there are too many.

    `is_final`: no attempt can store the value, so the run ends as a dead letter.
    """

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final


class StepError(TriggerError):
    """A step is used in a way that cannot work: a wrong key, option or function."""


class DuplicateStep(StepError):
    """The step's key is already used in this attempt, by another step or by a checkpoint."""


class StepTimedOut(TimeoutError):
    """A call of a step's function took longer than the step's `timeout`."""


class ResumeRefused(TriggerError):
    """The stored checkpoints do not fit the code: the key is gone, or a name the code needs is not stored."""

    def __init__(self, message: str, *, key: str, missing: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.key = key
        self.missing = tuple(missing)


class PayloadError(TriggerError):
    """The payload does not fit the task's parameters. `path` is the place in the payload, such as `$.order.id`."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


class MalformedJson(TriggerError):
    """The text is not JSON at all; `line` and `column` count from 1."""

    def __init__(self, message: str, *, line: int = 1, column: int = 1) -> None:
        super().__init__(f"{message} (line {line}, column {column})")
        self.message = message
        self.line = line
        self.column = column


class CodecError(TriggerError):
    """A value cannot be stored or read. `path` is the place in the value, such as `$.order.client`."""

    code = "codec"

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


class UnsupportedType(CodecError):
    code = "unsupported_type"


class TooDeep(CodecError):
    code = "too_deep"


class TooLarge(CodecError):
    code = "too_large"


class IntegerTooLong(CodecError):
    code = "integer_too_long"


class NotFinite(CodecError):
    code = "not_finite"


class TextRefused(CodecError):
    """A string contains NUL or a lone surrogate, which Postgres cannot store."""

    code = "text_refused"


class DuplicateKey(CodecError):
    code = "duplicate_key"


class TaskOptionError(TriggerError, ValueError):
    """An option of a task or of a retry rule has a wrong value. The message names the option and its limit."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(f"{option}: {message}")
        self.option = option
        self.message = message


class Problem(NamedTuple):
    """One finding of the check. `line` and `column` count from 1, the column in characters; `severity` is `error`, or
    `hint` for code that works but costs more than it needs to."""

    file: str
    line: int
    column: int
    code: str
    message: str
    severity: str = "error"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.severity}: {self.message} [{self.code}]"


class RegistrationError(TriggerError):
    """A task cannot be registered. The attributes describe the first problem; `problems` holds all of them."""

    def __init__(
        self, file: str, line: int, column: int, code: str, message: str, problems: Sequence[Problem] = ()
    ) -> None:
        self.problems = tuple(problems) or (Problem(file, line, column, code, message),)
        super().__init__("\n".join(str(problem) for problem in self.problems))
        self.file = file
        self.line = line
        self.column = column
        self.code = code
        self.message = message

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> "RegistrationError":
        first = problems[0]
        return cls(first.file, first.line, first.column, first.code, first.message, problems)
