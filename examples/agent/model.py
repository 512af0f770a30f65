"""Stands in for a paid language model: a few rules that read the transcript and say what to do next.

It is a small program, not a model, so the example needs no network and always decides the same way. What is true to
life is its use: one call per turn, each call costs money, and a repeated idempotency key is answered without a charge.
"""

import asyncio
import re
from dataclasses import dataclass

from tools import NOTHING_FOUND

PRICE_CENTS = 2
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?) ?kg of ([A-Z]\w+(?: [A-Z]\w+)?)")
_COUNTRY = re.compile(r"\bto ([A-Z]\w+)")
_PRICE = re.compile(r"(\d+\.\d\d) EUR")


@dataclass(frozen=True, slots=True)
class ToolCall:
    tool: str
    argument: str


@dataclass(frozen=True, slots=True)
class Message:
    """One entry of the transcript: the user's question, or what a tool found."""

    role: str
    text: str
    call: ToolCall | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What the model wants next: tools, or nothing more because it has the answer. `cost_cents` is what it cost."""

    thought: str
    calls: list[ToolCall]
    answer: str | None
    cost_cents: int


class Model:
    """`charged` is the provider's ledger: cents by key. In a worker it ends with the attempt's process."""

    def __init__(self, latency_seconds: float = 0.8) -> None:
        self.latency_seconds = latency_seconds
        self.charged: dict[str, int] = {}

    async def decide(self, transcript: list[Message], idempotency_key: str) -> Decision:
        await asyncio.sleep(self.latency_seconds)
        self.charged.setdefault(idempotency_key, PRICE_CENTS)
        return decide(transcript)


def decide(transcript: list[Message]) -> Decision:
    """The next turn, from the transcript alone."""
    question = transcript[0].text
    found = {message.call: message.text for message in transcript if message.call is not None}
    searches = _searches(question)
    if missing := [call for call in searches if call not in found]:
        return Decision("I look up: " + "; ".join(call.argument for call in missing), missing, None, PRICE_CENTS)
    amounts = _AMOUNT.findall(question)
    if not amounts:
        return _final("The documents answer it", found[searches[0]])
    expression = _expression(amounts, [found[call] for call in searches], searches)
    if expression is None:
        unknown = ", ".join(call.argument for call in searches if _price_in(found[call], call) is None)
        return _final("A price is missing", f"The documents do not say: {unknown}.")
    total = ToolCall("calculate", expression)
    if total not in found:
        return Decision("I have the prices and add them up", [total], None, PRICE_CENTS)
    return _final("The sum is there", f"{float(found[total]):.2f} EUR: {expression}")


def _searches(question: str) -> list[ToolCall]:
    wanted = [f"{name} price per kg" for _, name in _AMOUNT.findall(question)]
    if wanted:
        wanted += [f"Shipping to {country}" for country in _COUNTRY.findall(question)]
    return [ToolCall("search", text) for text in wanted or [question]]


def _expression(amounts: list[tuple[str, str]], texts: list[str], searches: list[ToolCall]) -> str | None:
    """`3 * 24.50 + 14.00`; None if a price is missing."""
    prices = [_price_in(text, call) for text, call in zip(texts, searches, strict=True)]
    known = [price for price in prices if price is not None]
    if len(known) < len(prices):
        return None
    kilograms = [amount for amount, _ in amounts]
    terms = [f"{kg} * {price}" for kg, price in zip(kilograms, known[: len(kilograms)], strict=True)]
    return " + ".join([*terms, *known[len(kilograms) :]])


def _price_in(text: str, call: ToolCall) -> str | None:
    """The price in a paragraph, if it is about what was searched for."""
    subject = call.argument.removesuffix(" price per kg").removeprefix("Shipping to ")
    price = _PRICE.search(text)
    return price[1] if price is not None and subject in text else None


def _final(thought: str, answer: str) -> Decision:
    text = "The documents do not say." if answer == NOTHING_FOUND else answer
    return Decision(thought, [], text, PRICE_CENTS)
