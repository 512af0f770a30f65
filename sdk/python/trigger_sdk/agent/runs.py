"""The agent's current runs: starts and stops their processes, passes on their output, and reports how they end."""

import selectors
import time

from trigger_sdk.agent.child.process import Setup
from trigger_sdk.agent.control import Control
from trigger_sdk.agent.launch import Child, start_child
from trigger_sdk.agent.reports.marked import read_marked
from trigger_sdk.agent.reports.output import LogCap, drain, now_text
from trigger_sdk.agent.system import cleanup
from trigger_sdk.agent.system.memory import OutOfMemoryCounter

LEVELS = {"stdout": "info", "stderr": "warning", "system": "warning"}


class Runs:
    def __init__(self, control: Control, selector: selectors.BaseSelector) -> None:
        self.owns_container = False
        self.kept: frozenset[int] = frozenset()
        self._control = control
        self._selector = selector
        self._children: dict[str, Child] = {}
        self._memory = OutOfMemoryCounter()
        self._is_output_paused = False

    @property
    def is_busy(self) -> bool:
        return bool(self._children)

    def start(self, setup: Setup, *, is_fork: bool) -> None:
        if not self._children:
            self._memory.settle()
        try:
            child = start_child(setup, is_fork=is_fork)
        except OSError as error:
            message = f"no process could be started: {error}"
            self._log(setup.ticket, "system", message)
            self._send_exited(setup.ticket, cleanup.Ending(None, None, 0), is_out_of_memory=False, reason=message)
            return
        self._children[child.ticket] = child
        if not self._is_output_paused:
            self._watch_output(child)
        self._send_started(child)

    def announce(self) -> None:
        """Tells a reconnected worker what is still running."""
        for child in self._children.values():
            self._send_started(child)

    def stop(self, ticket: str, reason: str, grace_seconds: float) -> None:
        child = self._children.get(ticket)
        if child is None:
            return
        if grace_seconds <= 0:
            child.kill()
            return
        child.ask_to_stop(reason, grace_seconds)
        kill_at = time.monotonic() + grace_seconds
        child.kill_at = min(kill_at, child.kill_at or kill_at)

    def settle(self, ticket: str) -> None:
        """When a kept process has ended a run: sends what is left in its pipes, and resets the output count."""
        child = self._children.get(ticket)
        if child is None:
            return  # it has died in the meantime, and `exited` says so
        self._pass_on_rest(child)
        child.cap = LogCap()
        self._control.send("settled", ticket=ticket)

    def kill_overdue(self, now: float) -> None:
        for child in self._children.values():
            if child.kill_at is not None and child.kill_at <= now:
                child.kill()

    def next_kill(self) -> float | None:
        return min((child.kill_at for child in self._children.values() if child.kill_at is not None), default=None)

    def pause_output(self, *, is_paused: bool) -> None:
        """While the worker falls behind, runs that print wait for it, as on any full pipe."""
        if is_paused == self._is_output_paused:
            return
        self._is_output_paused = is_paused
        for child in self._children.values():
            if is_paused:
                self._unwatch_output(child)
            else:
                self._watch_output(child)

    def reap_ended(self) -> None:
        for child in list(self._children.values()):
            ending = cleanup.reap(child.pid)
            if ending is not None:
                self._finish(child, ending)

    def end_all(self) -> None:
        """Kills and reports every run, because the agent itself is ending."""
        for child in self._children.values():
            child.kill()
        deadline = time.monotonic() + cleanup.END_SECONDS
        while self._children and time.monotonic() < deadline:
            self.reap_ended()
            time.sleep(0.001)

    def forget(self) -> None:
        """In a forked child: closes the copies of the pipes. The epoll set is shared, so nothing is unregistered."""
        for child in self._children.values():
            child.close()
        self._children.clear()

    def _finish(self, child: Child, ending: cleanup.Ending) -> None:
        del self._children[child.ticket]
        # The verdict comes first: the clean-up kills too, but the counter does not count those kills.
        is_killed_by_other = ending.signal == 9 and not child.is_killed
        is_out_of_memory = is_killed_by_other and self._memory.take()
        others = {other.pid for other in self._children.values()}
        owns_container = self.owns_container and not others
        remaining = cleanup.end_leftovers(self.kept | others, owns_container=owns_container)
        self._read_rest(child)
        if remaining:
            self._log(child.ticket, "system", f"processes {remaining} of this run could not be killed")
        if owns_container and (failed := cleanup.wipe_folders()):
            self._log(child.ticket, "system", f"not removed after the run: {', '.join(failed[:20])}")
        self._send_exited(child.ticket, ending, is_out_of_memory=is_out_of_memory)

    def _read_rest(self, child: Child) -> None:
        if not self._is_output_paused:
            self._unwatch_output(child)
        self._pass_on_rest(child)
        child.close()

    def _pass_on_rest(self, child: Child) -> None:
        for descriptor, (source, splitter) in child.outputs.items():
            while data := drain(descriptor):
                self._pass_on(child, source, list(splitter.feed(data)))
            self._pass_on(child, source, list(splitter.finish()))
        if (report := child.cap.take_report()) is not None:
            self._control.send("log", ticket=child.ticket, level="warning", source="system", at=now_text(), **report)

    def _watch_output(self, child: Child) -> None:
        for descriptor in child.open_outputs:
            self._selector.register(descriptor, selectors.EVENT_READ, lambda fd, _, child=child: self._read(child, fd))

    def _unwatch_output(self, child: Child) -> None:
        for descriptor in child.open_outputs:
            self._selector.unregister(descriptor)

    def _read(self, child: Child, descriptor: int) -> None:
        if descriptor not in child.outputs:
            return  # an earlier event of the same select ended this child and closed its pipes
        if child.reads is not None:
            child.reads.add()
        data = drain(descriptor)
        if data is None:
            self._selector.unregister(descriptor)
            child.open_outputs.discard(descriptor)
            return
        source, splitter = child.outputs[descriptor]
        self._pass_on(child, source, list(splitter.feed(data)))

    def _pass_on(self, child: Child, source: str, lines: list[str]) -> None:
        for line in lines:
            if child.cap.admits(len(line)):
                if (marked := read_marked(line)) is not None:
                    self._control.send("log", ticket=child.ticket, source="log", **marked)
                else:
                    self._log(child.ticket, source, line)

    def _log(self, ticket: str, source: str, message: str) -> None:
        self._control.send("log", ticket=ticket, level=LEVELS[source], source=source, message=message, at=now_text())

    def _send_started(self, child: Child) -> None:
        self._control.send("started", ticket=child.ticket, pid=child.pid, kind=child.kind)

    def _send_exited(
        self, ticket: str, ending: cleanup.Ending, *, is_out_of_memory: bool, reason: str | None = None
    ) -> None:
        self._control.send(
            "exited",
            ticket=ticket,
            exit_code=ending.exit_code,
            signal=ending.signal,
            peak_memory_bytes=ending.peak_memory_bytes,
            is_out_of_memory=is_out_of_memory,
            reason=reason,
        )
