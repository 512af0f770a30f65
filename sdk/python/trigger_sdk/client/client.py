"""Triggers, waits for, reads, cancels, replays and requeues runs over the HTTP API."""

import copy
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from trigger_sdk.client.calls import call_of
from trigger_sdk.client.http_api import HttpApi, find_server, path_part
from trigger_sdk.client.operations import Operations
from trigger_sdk.client.run_data import RunData, id_of, step_of
from trigger_sdk.client.triggering import batch_body, is_repeatable, positional_payload, trigger_body
from trigger_sdk.tasks import Out, Task
from trigger_sdk.trigger_options import TriggerOptions

P = ParamSpec("P")
Returned = TypeVar("Returned")

WAIT_STEP_SECONDS = 20.0
"""The longest single wait at the server; longer waits consist of several."""


class Run(RunData[Out]):
    def __init__(self, client: "Client", data: dict[str, Any], returns: Any = None) -> None:
        super().__init__(data, returns)
        self.client = client

    def refresh(self) -> "Run[Out]":
        self.data = self.client.read(self.id)
        return self

    def wait(self, timeout: float | None = None) -> "Run[Out]":
        """Waits until the run is final. TimeoutError after `timeout` seconds; the run continues anyway."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.is_final:
            step = step_of(self.id, deadline, WAIT_STEP_SECONDS)
            self.data = self.client.read(self.id, wait_seconds=step)
        return self

    def logs(self) -> Iterator[dict[str, Any]]:
        """The log lines so far, oldest first: `{attempt, sequence, level, source, message, fields, logged_at}`."""
        cursor: str | None = None
        while True:
            lines, cursor = self.client.log_page(self.id, after=cursor)
            yield from lines
            if not lines:
                return

    def attempts(self) -> list[dict[str, Any]]:
        return self.client.attempts(self.id)

    def checkpoints(self) -> list[dict[str, Any]]:
        return self.client.checkpoints(self.id)

    def cancel(self) -> "Run[Out]":
        """Asks the run to stop; a running task has seconds to clean up. ApiError 409 if the run is final."""
        self.data = self.client.cancel(self).data
        return self


class Client(Operations):
    """`Client()` finds a development server by itself; elsewhere give `url` and `api_key` or set the environment."""

    def __init__(self, url: str | None = None, api_key: str | None = None) -> None:
        self.api = HttpApi(*find_server(url, api_key))
        self.options: TriggerOptions = {}

    def with_options(self, **options: Unpack[TriggerOptions]) -> "Client":
        """The same client, whose triggers have these options unless they are given others."""
        other = copy.copy(self)
        other.options = {**self.options, **options}
        return other

    @overload
    def trigger(self, task: str, payload: Any = None, **options: Unpack[TriggerOptions]) -> Run[Any]: ...
    @overload
    def trigger(
        self, task: Callable[P, Coroutine[Any, Any, Returned]], /, *arguments: P.args, **named: P.kwargs
    ) -> Run[Returned]: ...
    @overload
    def trigger(self, task: Callable[P, Returned], /, *arguments: P.args, **named: P.kwargs) -> Run[Returned]: ...
    @overload
    def trigger(self, task: Task[P, Returned], /, *arguments: P.args, **named: P.kwargs) -> Run[Returned]: ...
    def trigger(self, /, *arguments: Any, **named: Any) -> Run[Any]:  # type: ignore[misc]  # all forms are read from both
        """Starts a run; it is stored when this returns.

        `trigger("process-order", {"order_id": "A1"}, delay=60)` names the task by its id; the options are those of
        `TriggerOptions`. `trigger(process_order, order_id="A1")` takes the task's function with its arguments, and the
        run's `output` has the type that it returns; options are given by `with_options`.

        With a known `idempotency_key` the result is that key's run (`is_duplicate`); with any key the request is sent
        again if its reply was lost. ApiError 404 for an unknown task, 409 for a key already used for a different
        trigger, 422 for a wrong payload or option, 429 for a full queue (`retry_after`). After Unreachable it is
        unknown whether the run exists. TypeError for a function that is no task, or arguments that do not fit it.
        """
        task, *rest = arguments or (named.pop("task"),)
        returns = None
        if isinstance(task, str):
            payload = positional_payload(rest, named)
        else:
            task, payload, returns = call_of(task, rest, named)
            named = {}
        body = trigger_body(payload, {**self.options, **named})
        made = self.api.post(f"/tasks/{path_part(task)}/runs", body, is_repeatable=is_repeatable(body))
        return Run(self, made, returns)

    def trigger_batch(self, items: Iterable[Mapping[str, Any]]) -> list[Run]:
        """Starts up to 1,000 runs, all or none; returns them in the order of the items, without their values.

        An item is `{"task": …, "payload": …, "options": {…}}`. ApiError as for `trigger`, with `items[n]` in its paths.
        """
        body = batch_body(items)
        made = self.api.post("/batches", body, is_repeatable=is_repeatable(body))
        return [Run(self, item) for item in made["items"]]

    def run(self, run_id: str) -> Run:
        return Run(self, self.read(run_id))

    def runs(
        self,
        *,
        state: str | None = None,
        task: str | None = None,
        queue: str | None = None,
        tag: str | None = None,
        since: str | None = None,
        until: str | None = None,
        replay_of: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Run]:
        """Runs, newest first, without payload and output; further pages are read as you iterate."""
        chosen = {"state": state, "task": task, "queue": queue, "tag": tag}
        chosen |= {"since": since, "until": until, "replay_of": replay_of}
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            size = 200 if left is None else min(left, 200)
            page = self.api.get("/runs", {**chosen, "cursor": cursor, "limit": size})
            yield from (Run(self, item) for item in page["items"])
            cursor = page["next_cursor"]
            if cursor is None:
                return
            left = None if left is None else left - len(page["items"])

    def bump(self, run: "Run | str") -> Run:
        """Moves a pending run to the front of its queue; ApiError 409 unless it is pending."""
        return Run(self, self.api.post(f"/runs/{path_part(id_of(run))}/bump", {}))

    def cancel(self, run: "Run | str") -> Run:
        return Run(self, self.api.post(f"/runs/{path_part(id_of(run))}/cancellation", {}))

    def replay(
        self,
        run: "Run | str",
        from_checkpoint: str | None = None,
        *,
        payload: Any = None,
        checkpoint_data: Mapping[str, Any] | None = None,
        deployment: str = "original",
        new_idempotency_keys: bool = False,
    ) -> Run:
        """A new run that continues after that checkpoint or step of the original, or begins at the start.

        `payload` replaces the original's (None keeps it), `checkpoint_data` the stored data of reused keys, each
        complete and in its stored form. `deployment` is "original", "latest" or an id. ApiError 404 for an unknown key
        or deployment, 422 with the reasons if the replay could not continue.
        """
        body = replay_body(from_checkpoint, payload, checkpoint_data, deployment, new_idempotency_keys)
        return Run(self, self.api.post(f"/runs/{path_part(id_of(run))}/replays", body))

    def preview_replay(
        self,
        run: "Run | str",
        from_checkpoint: str | None = None,
        *,
        payload: Any = None,
        checkpoint_data: Mapping[str, Any] | None = None,
        deployment: str = "original",
        new_idempotency_keys: bool = False,
    ) -> dict[str, Any]:
        """What that replay would reuse and run again, with which code and keys; `refusals` say why it is impossible."""
        body = replay_body(from_checkpoint, payload, checkpoint_data, deployment, new_idempotency_keys)
        shown: dict[str, Any] = self.api.post(f"/runs/{path_part(id_of(run))}/replays/preview", body)
        return shown

    def requeue(self, run: "Run | str", *, deployment: str = "original") -> Run:
        """The same run, pending again from its last checkpoint with a fresh budget; ApiError 409 unless it is a dead
        letter."""
        return Run(self, self.api.post(f"/runs/{path_part(id_of(run))}/requeue", {"deployment": deployment}))

    def discard(self, run: "Run | str", *, note: str) -> Run:
        """Closes a dead letter; the note says why. ApiError 409 unless it is one."""
        return Run(self, self.api.post(f"/runs/{path_part(id_of(run))}/discard", {"note": note}))

    def read(self, run_id: str, *, wait_seconds: float = 0) -> dict[str, Any]:
        """The run's fields; with `wait_seconds` the answer comes when the run is final or that time is up."""
        query = {"wait_seconds": wait_seconds or None}
        answer: dict[str, Any] = self.api.get(f"/runs/{path_part(run_id)}", query, wait_seconds=wait_seconds)
        return answer

    def log_page(self, run_id: str, *, after: str | None = None) -> tuple[list[dict[str, Any]], str | None]:
        """Log lines after a cursor, and the cursor to continue from (the same one if there are none yet)."""
        page = self.api.get(f"/runs/{path_part(run_id)}/logs", {"after": after, "limit": 1000})
        return page["items"], page["next_cursor"] or after

    def attempts(self, run_id: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.api.get(f"/runs/{path_part(run_id)}/attempts")["items"]
        return items

    def checkpoints(self, run_id: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.api.get(f"/runs/{path_part(run_id)}/checkpoints")["items"]
        return items

    def close(self) -> None:
        self.api.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def replay_body(
    from_checkpoint: str | None,
    payload: Any,
    checkpoint_data: Mapping[str, Any] | None,
    deployment: str,
    new_idempotency_keys: bool,  # noqa: FBT001 - passed on by two callers
) -> dict[str, Any]:
    """The request for a replay; options that are not given are left out."""
    body: dict[str, Any] = {"from_checkpoint": from_checkpoint, "deployment": deployment}
    if payload is not None:
        body["payload"] = payload
    if checkpoint_data:
        body["checkpoint_data"] = dict(checkpoint_data)
    if new_idempotency_keys:
        body["new_idempotency_keys"] = True
    return body
