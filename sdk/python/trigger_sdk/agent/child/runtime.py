"""The agent's side of the seam to the SDK: checkpoints, steps, logs and output of one run, over its own channel.

There is one per process; a kept process uses it for each of its runs in turn.
"""

import itertools
import logging
import os
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from trigger_sdk.agent.child.answers import Answers
from trigger_sdk.agent.child.channel import Channel
from trigger_sdk.agent.reports.marked import marked_line
from trigger_sdk.agent.reports.output import (
    LogCap,
    LogHandler,
    LogStream,
    capture_logging,
    clean_text,
    flush_logging,
    now_text,
    plain_fields,
)
from trigger_sdk.agent.system import surroundings
from trigger_sdk.errors import CheckpointMisplaced, CheckpointRefused
from trigger_sdk.run.stored import CHECKPOINT, STEP
from trigger_sdk.values import codec
from trigger_sdk.wire import Frame, WireError

if TYPE_CHECKING:
    from trigger_sdk.agent.child.kept_loop import KeptLoop

UNSTORABLE = ("too_large", "invalid", "limit")
"""Codes of refusals that every later attempt would get too."""


class AgentRuntime:
    def __init__(self, channel: Channel, *, is_kept: bool = False) -> None:
        self.is_kept = is_kept
        self._loop: KeptLoop | None = None
        self.run_id = ""
        self.attempt_number = 0
        self.idempotency_scope = ""
        self._channel = channel
        self._interrupts = channel.interrupts
        self._sequence = itertools.count(1)
        self._answers = Answers(channel)
        self._cap = LogCap()
        self._streams: tuple[LogStream, LogStream] | None = None
        self._handler: LogHandler | None = None
        self._is_in_fork = False
        self._is_retired = False

    def begin(self, start: dict[str, Any]) -> None:
        """Makes this process work for that run: checkpoints, `print` and `logging` belong to it from here on."""
        self.run_id = start["run_id"]
        self.attempt_number = start["attempt"]
        self.idempotency_scope = start["scope"]
        self._cap = LogCap()
        self._capture_output()

    def save_checkpoint(self, key: str, data: bytes, binds: list[str], carried: bytes | None) -> None:
        """Returns when the checkpoint is durable; raises CheckpointRefused, or the run's stop."""
        self._save(key, data + (carried or b""), kind=CHECKPOINT, binds=list(binds), data_bytes=len(data))

    def save_step(self, key: str, data: bytes, duration_seconds: float) -> None:
        """The same for the result of a step."""
        self._save(key, data, kind=STEP, binds=[], data_bytes=len(data), duration_seconds=duration_seconds)

    def load_step(self, key: str, index: int) -> bytes:
        answer = self._request("load", b"", key, STEP, index=index)
        if answer.type != "loaded" or not answer.header["is_found"]:
            raise CheckpointRefused(f"could not load the result of step {key!r}")
        return answer.body

    def pause_seconds(self, seconds: float) -> float:
        return seconds

    def may_interrupt(self) -> bool:
        return not self._interrupts.is_held

    def _save(self, key: str, body: bytes, *, kind: str, **header: Any) -> None:
        answer = self._request("checkpoint", body, key, kind, codec=codec.VERSION, **header)
        if answer.type != "saved":
            raise CheckpointRefused(f"{kind} {key!r}: {answer.type}")

    def _request(self, type: str, body: bytes, key: str, kind: str, **header: Any) -> Frame:  # noqa: A002
        if self._is_in_fork:
            raise CheckpointMisplaced(f"{kind} {key!r} was reached in a process that the task forked")
        self._interrupts.raise_if_stopped()
        sequence = next(self._sequence)
        # Nothing may be raised in between: every expected answer needs a request that was sent.
        with self._interrupts:
            self._answers.expect(sequence)
            try:
                self._channel.send(type, body, sequence=sequence, key=key, kind=kind, **header)
            except WireError as error:
                self._answers.forget(sequence)
                raise CheckpointRefused(f"{kind} {key!r}: {error}", is_final=True) from error
        answer = self._answers.wait(sequence)
        if answer.type == "refused":
            if answer.header["code"] == "stale":
                self._channel.abandon()
            is_final = answer.header["code"] in UNSTORABLE
            raise CheckpointRefused(f"{kind} {key!r}: {answer.header['message']}", is_final=is_final)
        return answer

    @property
    def has_unanswered(self) -> bool:
        return self._answers.has_due

    def settle(self) -> None:
        """Waits until the worker has answered everything; no request may follow."""
        self._answers.settle()

    def run_async(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Runs an async task; a kept process has one event loop for all its runs, so that connections can be kept."""
        # Importing asyncio takes longer than starting a child, and most tasks do without.
        if not self.is_kept:
            import asyncio

            return asyncio.run(coroutine)
        if self._loop is None:
            from trigger_sdk.agent.child.kept_loop import KeptLoop

            self._loop = KeptLoop()
        return self._loop.run(coroutine)

    def main_coroutine(self, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        return self._interrupts.main_coroutine(coroutine)

    def log(self, level: str, message: str, fields: dict[str, Any]) -> None:
        self._emit(level, "log", message, fields)

    def remark(self, message: str) -> None:
        """Writes the platform's own line into the run's log."""
        if self._is_retired:
            os.write(2, marked_line("info", message, {}))
        else:
            self._send_line("info", "system", clean_text(message), {})

    def _capture_output(self) -> None:
        """Called for each run, because the one before may have replaced it."""
        if self._streams is None or self._handler is None:
            out = LogStream(1, lambda line: self._emit("info", "stdout", line, {}))
            err = LogStream(2, lambda line: self._emit("warning", "stderr", line, {}))
            self._streams, self._handler = (out, err), LogHandler(self.log)
            surroundings.shed_in_forks(self._leave)
        sys.stdout, sys.stderr = self._streams
        capture_logging(self._handler)

    def send_lines(self) -> None:
        """Sends unfinished lines."""
        for stream in self._streams or ():
            stream.finish()

    def finish_output(self, *, is_kept: bool = False) -> None:
        """Sends what is still held back: unfinished lines, and the number of dropped lines."""
        self.send_lines()
        if is_kept:
            flush_logging()
        else:
            logging.shutdown()
        if (report := self._cap.take_report()) is not None:
            self._channel.send("log", level="warning", source="log", fields={}, at=now_text(), **report)

    def retire(self) -> None:
        """From here on nothing belongs to a run: lines go to the agent, and no further."""
        self._is_retired = True

    def _emit(self, level: str, source: str, message: str, fields: dict[str, Any]) -> None:
        if self._is_in_fork or self._is_retired:
            sys.stderr.flush()
            os.write(2, marked_line(level, message, plain_fields(fields) if fields else {}))
            return
        text = clean_text(message)
        plain = plain_fields(fields) if fields else {}
        if self._cap.admits(len(text) + (len(str(plain)) if plain else 0)):
            self._send_line(level, source, text, plain)

    def _send_line(self, level: str, source: str, message: str, fields: dict[str, Any]) -> None:
        self._channel.send("log", level=level, source=source, message=message, fields=fields, at=now_text())

    def _leave(self) -> None:
        self._is_in_fork = True
        self._channel.close()
