"""Types that are already in the source count: what a called function returns, and the name in front of a step."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import pytest
from trigger_sdk import checkpoint, step, task
from trigger_sdk.errors import CodecError
from trigger_sdk.run.step_targets import chosen
from trigger_sdk.testing import run

if TYPE_CHECKING:
    from decimal import Context


@dataclass
class Invoice:
    number: str

    @classmethod
    def load(cls, number: str) -> Self:
        return cls(number)


@dataclass
class Paid(Invoice):
    at: str = "now"


def load_invoice(number: str) -> Invoice:
    return Invoice(number)


async def aload_invoice(number: str) -> "Invoice":
    return Invoice(number)


def load_with_context(number: str, context: "Context | None" = None) -> Invoice:
    return Invoice(number)


def untyped(number):  # type: ignore[no-untyped-def]
    return Invoice(number)


class Service:
    def load(self, number: str) -> Invoice:
        return Invoice(number)


service = Service()


def restored(function: Any) -> Any:
    """The output of a run that is killed after its checkpoint, and resumed."""
    result = run(function, crash_after="k")
    assert result.resumed_from == "k"
    return result.output


def test_return_annotation_of_a_called_function_names_the_type_of_a_saved_name() -> None:
    @task("called")
    def called() -> str:
        invoice = load_invoice("7")
        checkpoint("k", invoice=invoice)
        return invoice.number

    assert restored(called) == "7"


def test_awaited_function_names_it_too() -> None:
    @task("awaited")
    async def awaited() -> str:
        invoice = await aload_invoice("7")
        await checkpoint("k", invoice=invoice)
        return invoice.number

    assert restored(awaited) == "7"


def test_methods_classes_and_steps_name_it_too() -> None:
    @task("many")
    def many() -> list[str]:
        three = Invoice("3")
        four = step("four", load_invoice, "4")
        own = Service()  # trigger: again
        five = own.load("5")
        first = service.load("6")
        other = Paid.load("7")
        checkpoint("k", three=three, four=four, five=five, first=first, other=other)
        return [three.number, four.number, five.number, first.number, other.number, other.at]

    assert restored(many) == ["3", "4", "5", "6", "7", "now"]


def test_annotation_for_type_checkers_only_does_not_hide_the_return_annotation() -> None:
    @task("checking")
    def checking() -> str:
        invoice = load_with_context("7")
        checkpoint("k", invoice=invoice)
        return invoice.number

    assert restored(checking) == "7"


def test_name_may_also_be_none() -> None:
    @task("optional")
    def optional(number: str = "") -> str:
        invoice = None
        if number:
            invoice = load_invoice(number)
        checkpoint("k", invoice=invoice)
        return invoice.number if invoice else "none"

    assert restored(optional) == "none"
    assert run(optional, {"number": "7"}, crash_after="k").output == "7"


def test_function_defined_after_the_task_counts() -> None:
    @task("later")
    def later() -> str:
        invoice = defined_later()
        checkpoint("k", invoice=invoice)
        return invoice.number

    assert restored(later) == "7"


def test_values_of_different_types_name_none() -> None:
    @task("different")
    def different(is_paid: bool = False) -> str:
        invoice = Paid("7") if is_paid else load_invoice("7")
        checkpoint("k", invoice=invoice)
        return invoice.number

    with pytest.raises(CodecError, match="annotation"):
        run(different)


def test_name_in_front_of_a_step_names_the_type_of_its_result() -> None:
    @task("fronted")
    def fronted() -> list[str]:
        first: Invoice = step("first", untyped, "1")
        second: Invoice = step(
            "second",
            partial(untyped, "2"),
        )
        third: list[Invoice] = step("third", lambda: [untyped(step("inner", str, 3))])
        return [first.number, second.number, third[0].number]

    assert run(fronted, crash_after="third").output == ["1", "2", "3"]


def test_name_in_front_of_an_awaited_step_names_it_too() -> None:
    async def ask(number: str):  # type: ignore[no-untyped-def]
        return Invoice(number)

    @task("awaited-step")
    async def awaited_step() -> str:
        reply: Invoice = await step("ask", ask, "1")
        await asyncio.sleep(0)
        return reply.number

    assert run(awaited_step, crash_after="ask").output == "1"


def test_name_in_front_counts_in_helpers_and_for_decorated_functions() -> None:
    @step
    def ask(number: str):  # type: ignore[no-untyped-def]
        return Invoice(number)

    @step
    async def aask(number: str):  # type: ignore[no-untyped-def]
        return Invoice(number)

    def helper() -> str:
        reply: Invoice = ask("1")
        return reply.number

    @task("helped")
    async def helped() -> list[str]:
        other: Invoice = await aask("2")
        return [helper(), other.number]

    assert run(helped, crash_after='aask("2")').output == ["1", "2"]


def test_inner_step_on_the_line_keeps_its_own_type() -> None:
    @task("inner")
    def inner() -> str:
        reply: Invoice = step("outer", untyped, step("inner", str, 7))
        return reply.number

    assert run(inner, crash_after="outer").output == "7"


@pytest.mark.parametrize(
    ("target", "returned", "expected"),
    [
        (None, Invoice, Invoice),
        (Invoice, None, Invoice),
        (Any, Invoice, Invoice),
        (object, Invoice, Invoice),
        (Invoice, Paid, Paid),
        (Paid, Invoice, Paid),
        (list, list[Invoice], list[Invoice]),
        (list[Paid], list[Invoice], list[Paid]),
    ],
)
def test_the_more_precise_annotation_is_chosen(target: Any, returned: Any, expected: Any) -> None:
    assert chosen(target, returned) == expected


def defined_later() -> Invoice:
    return Invoice("7")
