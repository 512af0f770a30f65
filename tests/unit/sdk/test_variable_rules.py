"""Names and values of variables, and `.env` files."""

import pytest
from trigger_sdk.variables import (
    COUNT_MAX,
    VALUE_MAX_BYTES,
    VariableError,
    check_all,
    check_name,
    check_value,
    read_dotenv,
)


@pytest.mark.parametrize("name", ["API_KEY", "_x", "stripe2", "A" * 128, "LANG", "HTTPS_PROXY"])
def test_names_of_an_environment_are_accepted(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "2A", "A-B", "A B", "Ä", "A=B", "A\n", "A" * 129])
def test_other_names_are_refused_with_what_they_must_be(name: str) -> None:
    with pytest.raises(VariableError, match="letters, digits and underscores"):
        check_name(name)


@pytest.mark.parametrize("name", ["PATH", "path", "LD_PRELOAD", "PYTHONPATH", "TRIGGER_API_KEY", "DYLD_X", "BASH_ENV"])
def test_names_that_would_change_the_platform_are_reserved(name: str) -> None:
    with pytest.raises(VariableError, match="is reserved"):
        check_name(name)


@pytest.mark.parametrize(
    ("value", "reason"),
    [("x" * (VALUE_MAX_BYTES + 1), "the limit is 65,536"), ("secret\0", "NUL"), ("secret\ud800", "lone surrogate")],
)
def test_values_that_no_environment_can_hold_are_refused_and_not_repeated(value: str, reason: str) -> None:
    with pytest.raises(VariableError, match=reason) as refused:
        check_value(value)

    assert refused.value.field == "value"
    assert "secret" not in str(refused.value)
    assert "xxx" not in str(refused.value)


def test_empty_and_multi_line_values_are_accepted() -> None:
    check_value("")
    check_value("-----BEGIN KEY-----\nabc\n-----END KEY-----\n")


def test_all_variables_of_a_task_together_are_limited() -> None:
    check_all({f"N{number}": "" for number in range(COUNT_MAX)})

    with pytest.raises(VariableError, match="a task may have 200"):
        check_all({f"N{number}": "" for number in range(COUNT_MAX + 1)})
    with pytest.raises(VariableError, match="131,072"):
        check_all({f"N{number}": "x" * VALUE_MAX_BYTES for number in range(2)})


def test_dotenv_is_read_as_people_write_it() -> None:
    text = """\
\ufeff# the shop
API_KEY=sk_live_1
export URL = https://shop.example/?a=b#part   # where

QUOTED="two\\nlines \\"and\\" $HOME"  # as they are
RAW='no \\n escapes # here'
EMPTY=
COMMENT= # nothing
CITY=Kraków
"""

    assert read_dotenv(text) == {
        "API_KEY": "sk_live_1",
        "URL": "https://shop.example/?a=b#part",
        "QUOTED": 'two\nlines "and" $HOME',
        "RAW": "no \\n escapes # here",
        "EMPTY": "",
        "COMMENT": "",
        "CITY": "Kraków",
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A=1\nnonsense\n", "line 2: must be NAME=VALUE"),
        ("\nPATH=/bin\n", "line 2: name 'PATH' is reserved"),
        ('A="sk_secret\n', 'line 1: value has no closing "'),
        ("A='sk_secret' more\n", "line 1: value has no closing '"),
    ],
)
def test_wrong_line_of_a_dotenv_is_named_without_its_value(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="line") as refused:
        read_dotenv(text)

    assert reason in str(refused.value)
    assert "sk_secret" not in str(refused.value)
