"""Sequences of the model's actions that showed a planted fault: carried out again, shortened, and kept in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.reliability.queue_model_driver import ACTIONS
from tests.reliability.queue_model_machine import QueueMachine

STORE = Path(__file__).parent / "queue_model_sequences.json"
BY_NAME = {each.method.__name__: each for each in ACTIONS}
REPEATS = 12
"""So often in a row a shortened sequence has to fail: ids, jitter and the order of lanes differ each time."""

Sequence = list[tuple[str, dict[str, Any]]]
"""The first batch of runs, as `begin`, and then actions by name, each with its arguments."""


def replay(sequence: Sequence) -> None:
    """Raises AssertionError where database and model differ. What is not possible as things turned out is left out."""
    machine = QueueMachine()
    for name, arguments in sequence:
        if name == "begin":
            machine.begin(**arguments)  # type: ignore[call-arg]
        elif BY_NAME[name].when(machine):
            BY_NAME[name].method(machine, **arguments)
        machine.all_is_equal()  # type: ignore[call-arg]
    machine.teardown()


def fails(sequence: Sequence) -> bool:
    try:
        replay(sequence)
    except AssertionError:
        return True
    return False


def shortened(sequence: Sequence) -> Sequence:
    """Without the actions that it needs not to fail, the long pieces first."""
    size = len(sequence) // 2
    while size:
        start = 1  # it always begins with `begin`
        while start < len(sequence):
            shorter = sequence[:start] + sequence[start + size :]
            if all(fails(shorter) for _ in range(REPEATS)):
                sequence = shorter
            else:
                start += size
        size //= 2
    return sequence


def stored(plant: str) -> Sequence:
    return [
        (name, {key: UUID(value) if key == "worker" else value for key, value in arguments.items()})
        for name, arguments in json.loads(STORE.read_text())[plant]
    ]


def store(plant: str, sequence: Sequence) -> None:
    known = json.loads(STORE.read_text()) if STORE.exists() else {}
    known[plant] = sequence
    lines = [
        f"{json.dumps(name)}: [\n  " + ",\n  ".join(json.dumps(step, default=str) for step in known[name]) + "\n]"
        for name in sorted(known)
    ]
    STORE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
