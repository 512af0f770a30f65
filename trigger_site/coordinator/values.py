"""Outputs at the coordinator's door: what cannot be stored is refused before it reaches a batch."""

from collections.abc import Sequence

from apps.protocol import Finish, Result
from apps.storage.values import ValueRefused, check_value


def refused_outputs(items: Sequence[Finish]) -> dict[int, Result]:
    """By position: 413 for an output that is too large, 422 for one that cannot be stored."""
    refused = {}
    for position, item in enumerate(items):
        if item.output:
            try:
                check_value(item.output)
            except ValueRefused as error:
                status = 413 if error.code == "too_large" else 422
                refused[position] = Result(status, error.code, f"The output {error.message}.")
    return refused
