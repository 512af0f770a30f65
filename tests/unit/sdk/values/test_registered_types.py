"""Types that task code registers with the codec: what `register` promises, takes and refuses."""

import dataclasses
import decimal
import subprocess
import sys
from typing import Any

import pytest
from trigger_sdk import codec, errors
from trigger_sdk.values import custom
from trigger_sdk.values.codec import check_stored, decode, encode
from trigger_sdk.values.shapes import restore


class Money:
    def __init__(self, amount: decimal.Decimal, currency: str) -> None:
        self.amount = amount
        self.currency = currency

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and (self.amount, self.currency) == (other.amount, other.currency)

    def __hash__(self) -> int:
        return hash(self.amount)


class Coin(Money):
    pass


@dataclasses.dataclass
class Wallet:
    owner: str
    content: list[Money]


TEN = Money(decimal.Decimal("10.10"), "EUR")


@pytest.fixture(autouse=True)
def _kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(custom, "_by_kind", dict(custom._by_kind))
    monkeypatch.setattr(custom, "_by_name", dict(custom._by_name))


def register_money(**changed: Any) -> None:
    how: dict[str, Any] = {
        "encode": lambda money: (money.amount, money.currency),
        "decode": lambda stored: Money(*stored),
        "name": "shop.Money",
        **changed,
    }
    codec.register(Money, **how)


def test_registered_type_is_stored_at_any_depth() -> None:
    register_money()
    value = {"prices": [TEN, {"set": {TEN}}], "tuple": (TEN,)}

    assert decode(encode(value)) == value
    assert encode(TEN) == (
        b'{"$type":"shop.Money","value":{"$type":"tuple","value":[{"$type":"decimal","value":"10.10"},"EUR"]}}'
    )


def test_registered_type_may_be_a_field_of_an_annotated_class() -> None:
    register_money()
    wallet = Wallet("Ada", [TEN])

    stored = encode(wallet, annotation=Wallet, is_restored=True)

    assert restore(decode(stored), Wallet, "wallet") == wallet


@pytest.mark.parametrize(
    ("changed", "value", "path", "part"),
    [
        ({}, {"a": [Coin(decimal.Decimal(1), "EUR")]}, "$.a[0]", "Coin cannot be stored"),
        ({"encode": lambda money: money.missing}, [TEN], "$[0]", "'shop.Money' cannot write it: AttributeError"),
        ({"encode": lambda money: [money]}, [TEN], "$" + "[0]", "inside the Money, at "),
        ({"encode": lambda money: {"a": object()}}, {"x": TEN}, "$.x", r"inside the Money, at \$\.a: an object cannot"),
        ({"encode": lambda money: "x" * 3_000_000}, [TEN], "$", "3,0.. bytes|over the limit of 3,000,000"),
    ],
)
def test_value_whose_codec_fails_is_refused_with_its_path(
    changed: dict[str, Any], value: Any, path: str, part: str
) -> None:
    register_money(**changed)

    with pytest.raises(errors.CodecError, match=part) as refusal:
        encode(value)

    assert refusal.value.path == path


def test_stored_type_that_nobody_registered_says_what_to_do() -> None:
    text = b'{"a":{"$type":"shop.Money","value":1}}'

    with pytest.raises(errors.CodecError, match=r"codec\.register\(…, name='shop\.Money'\)") as refusal:
        decode(text)

    assert refusal.value.path == "$.a"


def test_form_that_its_type_refuses_is_named_with_its_path() -> None:
    register_money(decode=lambda stored: Money(*stored))

    with pytest.raises(errors.CodecError, match=r"'shop\.Money' cannot read it: TypeError") as refusal:
        decode(b'[{"$type":"shop.Money","value":["1"]}]')

    assert refusal.value.path == "$[0]"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Money", "a name with a dot, such as 'shop.Money'"),
        ("decimal", "a name with a dot"),
        ("shop.", "a name with a dot"),
        ("shop.\nMoney", "a name with a dot"),
        ("shop." + "M" * 100, "at most 100"),
        (None, "a name with a dot"),
        ("numpy.Money", "names of numpy are taken"),
        ("shop.Taken", "is already that of builtins.complex"),
    ],
)
def test_name_that_could_be_mistaken_is_refused(name: Any, part: str) -> None:
    codec.register(complex, encode=str, decode=complex, name="shop.Taken")

    with pytest.raises(ValueError, match=part):
        register_money(name=name)


def test_only_a_class_can_be_registered() -> None:
    with pytest.raises(TypeError, match="takes a class, not 'Money'"):
        codec.register("Money", encode=str, decode=str, name="shop.Money")  # type: ignore[arg-type]


def test_module_that_is_imported_again_registers_its_new_class() -> None:
    again = type("Money", (Money,), {"__module__": Money.__module__, "__qualname__": "Money"})
    register_money()

    codec.register(
        again, encode=lambda money: [money.amount], decode=lambda stored: again(*stored, "EUR"), name="shop.Money"
    )

    assert type(decode(encode(again(decimal.Decimal(1), "EUR")))) is again


def test_renamed_type_still_reads_what_it_stored_before() -> None:
    register_money()
    stored = encode(TEN)

    register_money(name="shop.Price")

    assert decode(stored) == TEN
    assert encode(TEN).startswith(b'{"$type":"shop.Price"')


def test_process_without_the_code_checks_the_rest_of_a_text() -> None:
    check_stored(b'{"a":{"$type":"shop.Money","value":[{"$type":"decimal","value":"1"}]},"b":{"$type":"numpy.array"}}')

    for wrong in (
        b'{"$type":"shop.Money","value":{"$type":"decimal","value":"x"}}',
        b'[{"$type":"decimel","value":"1"}]',
    ):
        with pytest.raises(errors.CodecError):
            check_stored(wrong)


def test_importing_the_sdk_imports_no_library() -> None:
    program = "import sys, trigger_sdk, trigger_sdk.values.codec as c; trigger_sdk.codec.register; "
    program += "c.decode(c.encode([1.5, {'a': (1,)}])); "
    program += "print(sorted({'numpy', 'pandas', 'polars', 'pydantic'} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=False,
                          env={"PYTHONPATH": "sdk/python"})  # fmt: skip

    assert done.stdout.strip() == "[]", done.stderr
