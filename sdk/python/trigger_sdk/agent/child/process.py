"""A run's own process: receives the work, runs the task, reports the outcome, and ends or waits for the next run.

Started in two ways: forked by an agent that has already loaded the code (`run`), or as a fresh interpreter that loads
it itself (`run_spawned`).
"""

import contextvars
import json
import os
import signal
from dataclasses import dataclass
from typing import Any, NoReturn

from trigger_sdk.agent.child.channel import Channel
from trigger_sdk.agent.child.interrupts import Interrupts, Retired
from trigger_sdk.agent.child.reuse import Baseline, ReadCount
from trigger_sdk.agent.child.runtime import AgentRuntime
from trigger_sdk.agent.child.stored import Stored
from trigger_sdk.agent.loader import load_tasks
from trigger_sdk.agent.reports.described import members
from trigger_sdk.agent.reports.failures import describe
from trigger_sdk.agent.system import processes, surroundings
from trigger_sdk.errors import AbortRun, CheckpointRefused, CodecError, PayloadError, ResumeRefused, RetryAfter
from trigger_sdk.run.attempt import run_task
from trigger_sdk.run.background import Background, keep_to_this_process
from trigger_sdk.run.stored import CHECKPOINT, StoredCheckpoint
from trigger_sdk.tasks import registry
from trigger_sdk.wire import Frame, WireError, encode_frame

SETUP_DESCRIPTOR = 3
"""Where a fresh interpreter reads its setup (one line of JSON), and later the reason for a stop."""

RETIRED_SECONDS = 3.0
"""How long a kept process that no run uses may take to end what is left; the worker gives it 5 s."""

EXCEPTIONS_LOOKED_AT = 10_000

_ENDS_THE_RUN = (AbortRun, CodecError, PayloadError, ResumeRefused)
"""No later attempt of the same run could end differently."""


@dataclass(frozen=True, slots=True)
class Setup:
    socket_path: str
    tasks: str
    ticket: str
    folder: str | None
    is_container: bool
    agent: int
    is_kept: bool = False
    """Whether the process offers itself for its task's next run when this one has completed."""


def run_spawned() -> NoReturn:
    """Reads the setup from its descriptor; every process of the node could read a ticket on the command line."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(SETUP_DESCRIPTOR, 1)
        if not byte:
            os._exit(surroundings.EXIT_NOT_STARTED)
        line += byte
    run(Setup(**json.loads(line)), SETUP_DESCRIPTOR, None, is_loaded=False)


def run(setup: Setup, orders: int, reads: ReadCount | None, *, is_loaded: bool) -> NoReturn:
    """Never returns: nothing that the task left running in this process may outlive the run."""
    interrupts = Interrupts(orders)
    interrupts.install()
    try:
        surroundings.settle(agent=setup.agent, folder=setup.folder, is_container=setup.is_container)
        keep_to_this_process()
        channel = Channel(setup.socket_path, interrupts)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    except OSError as error:
        os.write(2, f"could not set up the run's process: {error}\n".encode())
        os._exit(surroundings.EXIT_NOT_STARTED)
    process = _Process(setup, channel, reads, is_loaded=is_loaded)
    channel.send("ticket", ticket=setup.ticket)
    while process.attempt() and process.wait_for_work():
        pass
    channel.close()
    processes.flush_native_output()
    os._exit(0)


class _Process:
    """What stays the same over the runs of this process: one run, or several if it is kept."""

    def __init__(self, setup: Setup, channel: Channel, reads: ReadCount | None, *, is_loaded: bool) -> None:
        self._setup = setup
        self._channel = channel
        self._interrupts = channel.interrupts
        self._reads = reads
        self._is_loaded = is_loaded
        self._runtime = AgentRuntime(channel, is_kept=setup.is_kept)
        self._baseline: Baseline | None = None

    def attempt(self) -> bool:
        """Runs one attempt to its end and reports its outcome; true if the process may take another one."""
        failure: dict[str, Any] | None = None
        output = b""
        try:
            try:
                # Context variables that the task sets belong to the run, and end with it.
                output = contextvars.copy_context().run(self._work)
            finally:
                self._interrupts.finish()
        except BaseException as error:  # anything that ends the task is its outcome, even sys.exit()
            failure = _failure(error, self._interrupts.reason)
        if failure is None and self._baseline is not None and not self._runtime.has_unanswered:
            return self._end_kept(self._baseline, output)
        self._end(output, failure)
        return False

    def wait_for_work(self) -> bool:
        """Whether the next run has come; if there will be none, ends what is left of the earlier ones."""
        try:
            self._interrupts.rest()
            if self._channel.wait_for_work():
                self._interrupts.resume()
                return True
            self._interrupts.resume()
        except Retired:
            self._interrupts.resume()
        self._runtime.retire()
        self._interrupts.finish()
        Background(self._runtime.remark, may_interrupt=self._runtime.may_interrupt).see_through(RETIRED_SECONDS)
        return False

    def _work(self) -> bytes:
        start, stored = _receive_work(self._channel)
        if self._baseline is not None:
            surroundings.enter_folder(start.header.get("folder"), is_container=self._setup.is_container)
            self._baseline.begin_again()
        self._runtime.begin(start.header)
        if not self._is_loaded:
            load_tasks(self._setup.tasks)
            self._is_loaded = True
        if self._setup.is_kept and self._baseline is None:
            self._baseline = Baseline(self._reads, is_container=self._setup.is_container)
        return _run_task(self._channel, self._runtime, start, stored)

    def _end(self, output: bytes, failure: dict[str, Any] | None) -> None:
        # The outcome first: nothing that happens after the task may change it or lose it.
        self._runtime.send_lines()
        if failure is None:
            self._channel.send("completed", output)
        else:
            self._channel.send("failed", **failure)
        is_stopped = failure is not None and self._interrupts.reason is not None
        self._see_through()
        self._runtime.finish_output()
        # The failure of a stopped run changes nothing: it ends as the stop's reason says.
        if not is_stopped:
            self._runtime.settle()

    def _see_through(self) -> None:
        background = Background(self._runtime.remark, may_interrupt=self._runtime.may_interrupt)
        with self._interrupts.ending(background):
            background.see_through(self._interrupts.seconds_left, is_stopped=self._interrupts.reason is not None)

    def _end_kept(self, baseline: Baseline, output: bytes) -> bool:
        self._runtime.finish_output(is_kept=True)
        completed = encode_frame("completed", output)
        if baseline.has_strays():  # ending them may take long, so the outcome is reported first
            self._channel.tell(completed)
            completed = b""
        peak = baseline.peak_memory_bytes()
        refusal = baseline.refusal()
        if refusal is not None:
            self._runtime.remark(f"This process takes no more runs: {refusal}.")
            self._channel.tell(completed)
            self._see_through()
            self._runtime.finish_output()
            return False
        self._channel.tell(
            completed,
            encode_frame("idle", peak_memory_bytes=peak, has_raw_output=baseline.has_raw_output()),
        )
        return True


def _receive_work(channel: Channel) -> tuple[Frame, Stored]:
    start = channel.receive()
    if start.type != "start":
        raise WireError(f"the worker sent {start.type!r} when 'start' was due")
    stored = Stored()
    while (frame := channel.receive()).type != "go":
        if frame.type != "stored":
            raise WireError(f"the worker sent {frame.type!r} when 'stored' or 'go' was due")
        data_bytes = frame.header["data_bytes"]
        stored.add(
            StoredCheckpoint(
                key=frame.header["key"],
                index=frame.header["index"],
                data=None if data_bytes is None else frame.body[:data_bytes],
                binds=list(frame.header["binds"]),
                carried=frame.body[data_bytes or 0 :] or None,
                kind=frame.header["kind"],
                codec=frame.header["codec"],
            )
        )
    return start, stored


def _run_task(channel: Channel, runtime: AgentRuntime, start: Frame, stored: Stored) -> bytes:
    task = registry.get(start.header["task"])
    if task is None:
        raise LookupError(f"this deployment's code has no task {start.header['task']!r}")
    if not start.header.get("is_begun"):
        points = [entry.key for entry in stored.entries if entry.kind == CHECKPOINT]
        channel.send("begun", resumed_from=points[-1] if points else None)
    return run_task(
        task, start.body, stored.entries, runtime, lets_go=stored.entries.clear, run_async=runtime.run_async
    )


def _failure(error: BaseException, stop_reason: str | None) -> dict[str, Any]:
    return {
        "error": describe(error),
        "retry_after_seconds": _retry_after(error),
        "is_abort": _ends_the_run(error),
        "stop_reason": stop_reason,
    }


def _retry_after(error: BaseException) -> float | None:
    if not issubclass(type(error), RetryAfter):
        return None
    seconds = vars(error).get("seconds")
    return seconds if type(seconds) in (int, float) else None


def _ends_the_run(error: BaseException) -> bool:
    """Whether the error ends the run, even inside a group. Checks real types: an exception may fake its own."""
    waiting, looked_at = [error], 0
    while waiting and looked_at < EXCEPTIONS_LOOKED_AT:
        looked_at += 1
        one = waiting.pop()
        if issubclass(type(one), _ENDS_THE_RUN):
            return True
        if issubclass(type(one), CheckpointRefused) and vars(one).get("is_final") is True:
            return True
        if issubclass(type(one), BaseExceptionGroup):
            waiting += members(one)
    return False
