"""JSON values given on the command line: as text, as `@FILE`, or `-` for standard input."""

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

from trigger_sdk.cli.errors import UsageError


def read_json(argument: str, option: str, *, is_input_allowed: bool = True) -> Any:
    """The value; UsageError begins with the option's name."""
    if argument == "-" and is_input_allowed:
        text = _read_input(option)
    elif argument.startswith("@"):
        try:
            text = Path(argument[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{option} {argument}: {error}") from None
    else:
        text = argument
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{option} is not JSON: {error}") from None


def _read_input(option: str) -> str:
    """Standard input as UTF-8, which JSON is, whatever the encoding of the terminal."""
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{option} -: {error}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is Python, not JSON")
