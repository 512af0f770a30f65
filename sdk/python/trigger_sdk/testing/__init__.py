"""Tests of tasks without a server: run one, crash it at a checkpoint or a step, and see it resume.

Each attempt is a process of its own in a new, empty folder, as in production: what the task leaves in globals, in files
or in the settings of its process is gone in the next attempt, and a crash runs no `finally`. Checkpoints go through
their stored text, so a resume sees what a real one would. `pytest_plugin` has the fixtures.
"""

from trigger_sdk.testing.attempt import SimulatedCrash
from trigger_sdk.testing.crashes import crash_everywhere
from trigger_sdk.testing.results import AttemptCrashed, LogLine, Result
from trigger_sdk.testing.runs import run

__all__ = ["AttemptCrashed", "LogLine", "Result", "SimulatedCrash", "crash_everywhere", "run"]
