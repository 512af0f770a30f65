"""A run as a client sees it, and what both clients share about runs and waits."""

import time
from typing import Any, Generic

from trigger_sdk.tasks import Out

FINAL_STATES = frozenset({"completed", "dead_letter", "discarded", "canceled", "expired"})


class RunData(Generic[Out]):
    """A run as the server last described it; `data` has every field of the API.

    `returns` is the annotation of what the task returns, for a run that was triggered by the task's function.
    """

    def __init__(self, data: dict[str, Any], returns: Any = None) -> None:
        self.data = data
        self.returns = returns

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def task(self) -> str:
        return str(self.data["task"])

    @property
    def state(self) -> str:
        return str(self.data["state"])

    @property
    def is_final(self) -> bool:
        """True if nothing more happens without a new request."""
        return self.state in FINAL_STATES

    @property
    def payload(self) -> Any:
        return self.data.get("payload")

    @property
    def output(self) -> Out:
        """What the task returned: as JSON, or in the type that the task's function names; None until it is completed.

        CodecError if the output does not fit that type.
        """
        output: Any = self.data.get("output")
        if self.returns is None or output is None:
            return output  # type: ignore[no-any-return]
        from trigger_sdk.client.calls import read_output

        return read_output(output, self.returns)  # type: ignore[no-any-return]

    @property
    def error(self) -> dict[str, Any] | None:
        """`{type, message, stack}` of the last failed attempt."""
        return self.data.get("error")

    @property
    def is_duplicate(self) -> bool:
        """For what a trigger returned: the run already existed, under its idempotency key."""
        return bool(self.data.get("is_duplicate"))

    @property
    def attempt_count(self) -> int:
        return int(self.data["attempt_count"])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.task} {self.state}>"


def id_of(run: "RunData[Any] | str") -> str:
    return run if isinstance(run, str) else run.id


def step_of(run_id: str, deadline: float | None, longest: float) -> float:
    """How long the next wait may take; TimeoutError once the deadline has passed."""
    if deadline is None:
        return longest
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError(f"{run_id} is not final yet")
    return round(min(left, longest), 3)
