"""Runs the judge over many generated functions, and shows the smallest one that fails."""

import time
import warnings
from collections import Counter
from dataclasses import dataclass, field

from trigger_sdk.errors import RegistrationError

from tests.unit.sdk.generated.oracle import DisagreementError, Judge, accepted, load
from tests.unit.sdk.generated.shrink import shrink
from tests.unit.sdk.generated.statements import program
from tests.unit.sdk.generated.tree import Program


@dataclass
class Figures:
    """What a proof has done. `refused` counts by the code of the last refusal, `ends` by how the functions end."""

    seed: object
    generated: int = 0
    accepted: int = 0
    crashes: int = 0
    checkpoints: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        share = self.accepted / max(self.generated, 1)
        return (
            f"seed {self.seed}: {self.generated:,} functions generated, {self.accepted:,} accepted ({share:.0%}), "
            f"{self.checkpoints:,} checkpoints reached, {self.crashes:,} attempts killed and resumed, "
            f"{self.seconds:.0f} s\nrefused: {dict(self.refused.most_common())}\nends: {dict(self.ends.most_common())}"
        )


def prove(seed: object, numbers: range, *, most_crashes: int = 40, theme: str | None = None) -> Figures:
    """Judges the programs of a seed; DisagreementError shows a program that resumes wrongly, the smallest one found if
    all themes are judged.

    Three of four programs get the names that the check finds missing, one stays as generated.
    """
    figures = Figures(seed)
    started = time.monotonic()
    with warnings.catch_warnings():
        # Python warns about what the random programs do, such as `assert` with a tuple.
        warnings.simplefilter("ignore", SyntaxWarning)
        for number in numbers:
            _prove_one(figures, number, most_crashes, theme)
    figures.seconds = time.monotonic() - started
    return figures


def _prove_one(figures: Figures, number: int, most_crashes: int, theme: str | None) -> None:
    figures.generated += 1
    found, code = accepted(program(figures.seed, number, theme), repairs=12 if number % 4 else 0)
    if found is None:
        figures.refused[code] += 1
        return
    figures.accepted += 1
    try:
        judge = Judge(load(found), most_crashes=most_crashes)
        judge.run()
    except DisagreementError:
        if theme is None:
            Judge(load(shrink(found, fails))).run()
        raise
    figures.crashes += judge.crashes
    figures.checkpoints += len(judge.reference.marks)
    figures.ends[judge.reference.end[0] if judge.reference.end else "none"] += 1


def fails(found: Program) -> bool:
    """Whether the check accepts a program that resumes wrongly."""
    try:
        Judge(load(found)).run()
    except (RegistrationError, SyntaxError):
        return False
    except DisagreementError:
        return True
    return False
