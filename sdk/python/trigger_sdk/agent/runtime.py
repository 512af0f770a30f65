"""The agent's side of the seam to the SDK: checkpoints, log lines and output of one run, over the run's own channel."""

import itertools
import logging
import sys
import threading
from collections.abc import Coroutine
from typing import Any

from trigger_sdk.agent import surroundings
from trigger_sdk.agent.channel import Channel
from trigger_sdk.agent.output import LogCap, LogHandler, LogStream, capture_logging, clean_text, now_text, plain_fields
from trigger_sdk.errors import CheckpointMisplaced, CheckpointRefused
from trigger_sdk.wire import WireError


class AgentRuntime:
    def __init__(self, channel: Channel, start: dict[str, Any]) -> None:
        self.run_id: str = start["run_id"]
        self.attempt_number: int = start["attempt"]
        self.idempotency_scope: str = start["scope"]
        self._channel = channel
        self._interrupts = channel.interrupts
        self._sequence = itertools.count(1)
        self._one_checkpoint = threading.Lock()
        self._cap = LogCap()
        self._streams: tuple[LogStream, ...] = ()
        self._is_in_fork = False

    def save_checkpoint(self, key: str, data: bytes, binds: list[str], carried: bytes | None) -> None:
        """Returns when the checkpoint is durable; raises CheckpointRefused, or the run's stop."""
        if self._is_in_fork:
            raise CheckpointMisplaced(f"checkpoint {key!r} was reached in a process that the task forked")
        with self._one_checkpoint:
            self._interrupts.raise_if_stopped()
            sequence = next(self._sequence)
            body = data + (carried or b"")
            try:
                self._channel.send(
                    "checkpoint", body, sequence=sequence, key=key, binds=list(binds), data_bytes=len(data)
                )
            except WireError as error:
                raise CheckpointRefused(f"checkpoint {key!r}: {error}") from error
            self._await_answer(sequence, key)

    def _await_answer(self, sequence: int, key: str) -> None:
        while True:
            answer = self._channel.receive()
            if answer.header.get("sequence") != sequence:
                continue
            if answer.type == "saved":
                return
            if answer.type == "refused":
                if answer.header["code"] == "stale":
                    self._channel.abandon()
                raise CheckpointRefused(f"checkpoint {key!r}: {answer.header['message']}")

    def main_coroutine(self, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        return self._interrupts.main_coroutine(coroutine)

    def log(self, level: str, message: str, fields: dict[str, Any]) -> None:
        self._emit(level, "log", message, fields)

    def capture_output(self) -> None:
        """From here on `print` and `logging` of this process are log lines of the run."""
        out = LogStream(1, lambda line: self._emit("info", "stdout", line, {}))
        err = LogStream(2, lambda line: self._emit("warning", "stderr", line, {}))
        self._streams = (out, err)
        sys.stdout, sys.stderr = out, err
        capture_logging(LogHandler(self.log))
        surroundings.shed_in_forks(self._leave)

    def finish_output(self) -> None:
        """Sends what is still held back: unfinished lines, and the count of lines that were dropped."""
        for stream in self._streams:
            stream.finish()
        logging.shutdown()
        if self._cap.marker is not None:
            self._send_line("warning", "log", self._cap.marker, {})

    def _emit(self, level: str, source: str, message: str, fields: dict[str, Any]) -> None:
        if self._is_in_fork:
            print(message, *(f"{name}={value!r}" for name, value in fields.items()), file=sys.stderr)  # noqa: T201
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
