"""What the client does besides single runs: queues, settings of queues and tasks by hand, and many dead letters."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypedDict, Unpack
from urllib.parse import quote, urlencode

from trigger_sdk.client.http_api import HttpApi, path_part

PAGE_SIZE = 200


class QueueChanges(TypedDict, total=False):
    """Omitted fields stay as they are; None removes a limit."""

    is_paused: bool
    max_concurrency: int | None
    rate_limit: str | None
    max_depth: int | None


class TaskChanges(TypedDict, total=False):
    """Omitted fields stay as they are; None returns to what the newest deployment declares."""

    is_paused: bool
    max_concurrency: int | None
    max_concurrency_total: int | None
    rate_limit: str | None
    rate_limit_per_key: str | None


class DeadLetterFilter(TypedDict, total=False):
    """All given filters must match. `since` and `until` are RFC 3339 times of when a run became a dead letter;
    `search` is a part of the error's message."""

    task: str
    error_type: str
    queue: str
    tag: str
    since: str
    until: str
    search: str


class Operations:
    """A part of `Client`; every answer is the API's own."""

    api: HttpApi

    def queues(self) -> Iterator[dict[str, Any]]:
        """Every queue, by name, with its waiting and running runs and its settings."""
        yield from self._pages("/queues", {})

    def queue(self, name: str) -> dict[str, Any]:
        """One queue; ApiError 404 if no task, run or setting names it."""
        return self._dict(self.api.get(f"/queues/{_path(name)}"))

    def set_queue(self, name: str, **changes: Unpack[QueueChanges]) -> dict[str, Any]:
        """Pauses, resumes or limits a queue; ApiError 422 names a wrong field.

        Limits may be set before its first use; a pause of a queue that nothing names is ApiError 404, with near misses.
        """
        return self._dict(self.api.patch(f"/queues/{_path(name)}", changes))

    def task(self, task: str) -> dict[str, Any]:
        """A task with its options, its limits (declared, override, effective), and how it fails."""
        return self._dict(self.api.get(f"/tasks/{path_part(task)}"))

    def set_task(self, task: str, **changes: Unpack[TaskChanges]) -> dict[str, Any]:
        """Pauses or resumes a task, or overrides its limits; ApiError 422 names a wrong field."""
        return self._dict(self.api.patch(f"/tasks/{path_part(task)}", changes))

    def lift_cooldown(self, task: str) -> dict[str, Any]:
        """Ends the task's cool-down; returns the task as it is then."""
        return self._dict(self.api.delete(f"/tasks/{path_part(task)}/cool-down"))

    def reset_idempotency_key(self, task: str, key: str) -> dict[str, Any]:
        """Frees an idempotency key of the task: the next trigger with it makes a new run.

        Returns `{task, key, run, state}`: the run that it stood for, which goes on as it is. ApiError 404 if the key
        stands for none.
        """
        return self._dict(self.api.delete(f"/tasks/{path_part(task)}/idempotency-keys/{_path(key)}"))

    def variables(self, task_set: str | None = None) -> list[dict[str, Any]]:
        """Variables without their values; with a task set those that its tasks get."""
        return list(self.api.get("/variables", {"task_set": task_set})["items"])

    def set_variable(self, name: str, value: str, *, task_set: str | None = None) -> dict[str, Any]:
        """Sets a variable of the task set, or of all sets; attempts that start afterwards find it in `os.environ`.

        ApiError 422 for a name or value that cannot be.
        """
        return self._dict(self.api.put(f"/variables/{path_part(name)}", {"value": value, "task_set": task_set}))

    def unset_variable(self, name: str, *, task_set: str | None = None) -> dict[str, Any]:
        """Removes a variable; ApiError 404 if it is not set."""
        query = f"?{urlencode({'task_set': task_set})}" if task_set else ""
        return self._dict(self.api.delete(f"/variables/{path_part(name)}{query}"))

    def dead_letters(self, *, limit: int | None = None, **chosen: Unpack[DeadLetterFilter]) -> Iterator[dict[str, Any]]:
        """Dead letters with their errors, newest first."""
        yield from self._pages("/dead-letters", chosen, limit)

    def dead_letter_groups(self, **chosen: Unpack[DeadLetterFilter]) -> dict[str, Any]:
        """`items` counts them by task and type of error; `is_complete` is false if only the newest were counted."""
        return self._dict(self.api.get("/dead-letters/groups", chosen))

    def requeue_dead_letters(
        self,
        ids: Iterable[str] | None = None,
        *,
        deployment: str = "original",
        rate: str | None = None,
        **chosen: Unpack[DeadLetterFilter],
    ) -> dict[str, Any]:
        """Requeues these, or without ids all that match the filter; with a `rate` such as `10/s`, one after another.

        Returns `{count, refused_count, refused: [{id, reason}]}`. If a later part fails, what was done stays done:
        repeating the call does the rest.
        """
        body: dict[str, Any] = {"deployment": deployment}
        if rate is not None:
            body["rate"] = rate
        return self._many("/dead-letters/requeue", body, ids, chosen)

    def discard_dead_letters(
        self, ids: Iterable[str] | None = None, *, note: str, **chosen: Unpack[DeadLetterFilter]
    ) -> dict[str, Any]:
        """Closes these, or without ids all that match the filter, with one note; returns the same as a requeue."""
        return self._many("/dead-letters/discard", {"note": note}, ids, chosen)

    def _many(
        self, path: str, body: dict[str, Any], ids: Iterable[str] | None, chosen: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Repeats the call until nothing is left; the server does at most 10,000 in one."""
        if ids is not None and chosen:
            raise ValueError("give either ids or a filter")
        body |= {"filter": dict(chosen)} if ids is None else {"ids": list(ids)}
        total: dict[str, Any] = {"count": 0, "refused_count": 0, "refused": []}
        while True:
            answer = self.api.post(path, body)
            for name in total:
                total[name] += answer[name]
            if answer["next"] is None:
                return total
            body["cursor"] = answer["next"]

    def _pages(self, path: str, query: Mapping[str, Any], limit: int | None = None) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            size = PAGE_SIZE if left is None else min(left, PAGE_SIZE)
            page = self.api.get(path, {**query, "cursor": cursor, "limit": size})
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return
            left = None if left is None else left - len(page["items"])

    def _dict(self, answer: Any) -> dict[str, Any]:
        return dict(answer)


def _path(name: str) -> str:
    """Encodes a queue's name, which may contain slashes; the server takes them as they are."""
    return quote(name, safe="/")
