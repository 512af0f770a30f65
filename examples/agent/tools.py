"""What the agent can do besides thinking: search a folder of documents, and calculate.

A tool takes text and returns text, like the tools of a language model; ToolFailed says why it could not.
"""

import ast
import asyncio
import math
import operator
import re
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from trigger_sdk import current_run

DOCUMENTS = Path(__file__).parent / "documents"
NOTHING_FOUND = "nothing found"
_STOP_WORDS = frozenset({
    "a", "an", "and", "are", "be", "can", "do", "doe", "for", "how", "i", "in", "it", "of", "or", "per", "the", "to",
    "we", "what", "who", "with",
})  # fmt: skip
"""In the singular, as `_words` returns them."""
_OPERATORS: dict[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class ToolFailed(Exception):
    """The tool gave no result this time."""


class Tools:
    """The tools by name. `latency_seconds` is how long one use takes."""

    def __init__(self, folder: Path, latency_seconds: float = 0.4) -> None:
        self.folder = folder
        self.latency_seconds = latency_seconds

    async def use(self, name: str, argument: str, *, is_failing: bool = False) -> str:
        """The tool's text. ToolFailed if there is no such tool, or if it `is_failing` in a run's first attempt."""
        await asyncio.sleep(self.latency_seconds)
        run = current_run()
        if is_failing and run is not None and run.attempt_number == 1:
            raise ToolFailed(f"{name} {argument!r}: the tool's server went away")
        if name == "search":
            return search(self.folder, argument)
        if name == "calculate":
            return calculate(argument)
        raise ToolFailed(f"there is no tool {name!r}")


def search(folder: Path, query: str) -> str:
    """The paragraph that shares the rarest words with the query, with its file in front."""
    paragraphs = [
        (path.name, " ".join(text.split()))
        for path in sorted(folder.glob("*.md"))
        for text in path.read_text(encoding="utf-8").split("\n\n")
        if not text.startswith("#")
    ]
    words = [_words(text) for _, text in paragraphs]
    frequency = Counter(word for found in words for word in found)
    wanted = _words(query)
    scores = [sum(math.log(1 + len(words) / frequency[word]) for word in wanted & found) for found in words]
    best = max(range(len(scores)), key=scores.__getitem__, default=None)
    if best is None or scores[best] == 0:
        return NOTHING_FOUND
    name, text = paragraphs[best]
    return f"[{name}] {text}"


def _words(text: str) -> set[str]:
    """Words without a plural `s`, so that `bags` finds `bag`."""
    return {word.removesuffix("s") for word in re.findall(r"\w+", text.lower())} - _STOP_WORDS


def calculate(expression: str) -> str:
    """The value of a sum with `+ - * / ( )`, in decimals as people write them, to 28 digits."""
    try:
        value = _value(ast.parse(expression, mode="eval").body, expression)
    except (SyntaxError, ArithmeticError) as error:
        raise ToolFailed(f"cannot calculate {expression!r}: {error!r}") from None
    return f"{value:f}"


def _value(node: ast.expr, expression: str) -> Decimal:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Decimal(ast.get_source_segment(expression, node) or "")
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left, expression), _value(node.right, expression))
    raise ToolFailed(f"`{ast.unparse(node)}` is neither a number nor a sum")
