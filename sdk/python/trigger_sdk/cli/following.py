"""Watches a run live: its log lines, attempts and states in the order that the server reports them."""

import time
from typing import Any

from trigger_sdk.cli.display import Display, clock_of
from trigger_sdk.client import Run

STEP_SECONDS = 0.5
"""How long one wait at the server takes, and therefore how late a log line may appear."""
LAST_LINES_SECONDS = 0.5
"""How long to wait for lines that reach the server after the outcome."""


def follow(run: Run, display: Display) -> None:
    """Prints until the run is final; its state comes last."""
    watched = _Watched(run, display)
    watched.show_state()
    while not run.is_final:
        run.data = run.client.read(run.id, wait_seconds=STEP_SECONDS)
        if run.state == "running":
            watched.show_state()  # comes before its lines; any other state comes after the lines that led to it
        watched.show_lines()
        if not run.is_final:
            watched.show_state()
    time.sleep(LAST_LINES_SECONDS)
    watched.show_lines()
    watched.show_attempts()
    watched.show_end()


def follow_logs(run: Run, display: Display) -> None:
    """Prints log lines only, until the run is final."""
    watched = _Watched(run, display, is_log_only=True)
    watched.show_lines()
    while not run.is_final:
        run.data = run.client.read(run.id, wait_seconds=STEP_SECONDS)
        watched.show_lines()
    time.sleep(LAST_LINES_SECONDS)
    watched.show_lines()


class _Watched:
    def __init__(self, run: Run, display: Display, *, is_log_only: bool = False) -> None:
        self.run = run
        self.is_log_only = is_log_only
        self.display = display
        self._cursor: str | None = None
        self._shown: tuple[str, int] | None = None
        self._ended_attempts = 0

    def show_lines(self) -> None:
        while True:
            lines, self._cursor = self.run.client.log_page(self.run.id, after=self._cursor)
            for line in lines:
                if line["attempt"] > self._ended_attempts + 1 and not self.is_log_only:
                    self.show_attempts(before=line["attempt"])
                if self.display.is_json:
                    self.display.value(line if self.is_log_only else {"event": "log", **line})
                else:
                    self.display.log_line(line)
            if not lines:
                return

    def show_state(self) -> None:
        """Prints a line for each change of state or attempt; nothing while nothing changes."""
        now = (self.run.state, self.run.attempt_count)
        if now == self._shown:
            return
        self.show_attempts()
        self._shown = now
        if self.display.is_json:
            self.display.value({"event": "state", "run": self.run.data})
            return
        self.display.state(self.run.data, note=self._note())

    def show_attempts(self, before: int | None = None) -> None:
        """Prints a line for each attempt that has ended since the last call, or for those before a number."""
        if self.run.attempt_count == 0 and before is None:
            return
        ended = [a for a in self.run.attempts() if a["outcome"] and (before is None or a["number"] < before)]
        for attempt in ended[self._ended_attempts :]:
            if self.display.is_json:
                self.display.value({"event": "attempt", **attempt})
            elif attempt["outcome"] != "completed":
                self.display.text(_attempt_text(attempt, self.display))
        self._ended_attempts = max(self._ended_attempts, len(ended))

    def show_end(self) -> None:
        if self.display.is_json:
            self.display.value({"event": "state", "run": self.run.data})
            return
        note = self.run.id
        if self.run.state == "completed":
            note += f"  {self.display.paint('attempts', 'grey')} {self.run.attempt_count}"
        self.display.state(self.run.data, note=note)

    def _note(self) -> str:
        if self.run.state == "running":
            current = self.run.attempts()[-1]
            origin = f" from {current['resumed_from']}" if current["resumed_from"] else ""
            return f"attempt {self.run.attempt_count} of {self.run.data['attempt_limit']}{origin}"
        if self.run.state == "retrying" and self.run.data.get("due_at"):
            return f"next attempt at {clock_of(self.run.data['due_at'])}"
        return self.run.id


def _attempt_text(attempt: dict[str, Any], display: Display) -> str:
    error = attempt["error"] or {}
    reason = f"{error['type']}: {error['message']}".partition("\n")[0] if error else ""
    return display.paint(f"  attempt {attempt['number']} {attempt['outcome']}  {reason}".rstrip(), "yellow")
