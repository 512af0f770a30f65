"""Variables of task sets: which names and values they may have, and how a `.env` file is read. Pure.

A task reads them from `os.environ`; they are there before its module is imported.
"""

import re
from collections.abc import Mapping

NAME_MAX_LENGTH = 128
VALUE_MAX_BYTES = 64 * 1024
COUNT_MAX = 200
TOTAL_MAX_BYTES = 128 * 1024
"""Names and values of all variables that one task gets, in UTF-8."""

RESERVED_NAMES = frozenset(
    {"PATH", "HOME", "TMPDIR", "PWD", "SHELL", "USER", "LOGNAME", "IFS", "ENV", "BASH_ENV", "GCONV_PATH"}
)
RESERVED_PREFIXES = ("TRIGGER_", "PYTHON", "LD_", "DYLD_")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_LINE = re.compile(r"(?:export[ \t]+)?(?P<name>[^=\s]+)[ \t]*=[ \t]*(?P<value>.*)\Z")
_QUOTED = re.compile(r"""(?P<quote>['"])(?P<text>(?:\\.|(?!(?P=quote)).)*)(?P=quote)[ \t]*(?:#.*)?\Z""")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "$": "$"}


class VariableError(ValueError):
    """A variable that cannot be; `field` is `name` or `value`. The message never contains the value."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field} {message}")
        self.field = field
        self.message = message


def check_name(name: str) -> None:
    """Raises VariableError."""
    if not 0 < len(name) <= NAME_MAX_LENGTH or not _NAME.match(name):
        raise VariableError(
            "name",
            f"{name[:60]!r} must have 1 to {NAME_MAX_LENGTH} letters, digits and underscores, and begin with no digit",
        )
    if name.upper() in RESERVED_NAMES or name.upper().startswith(RESERVED_PREFIXES):
        prefixes = ", ".join(f"{prefix}*" for prefix in RESERVED_PREFIXES)
        raise VariableError(
            "name",
            f"{name!r} is reserved: {prefixes} and {', '.join(sorted(RESERVED_NAMES))} are the platform's. "
            "Choose another name",
        )


def check_value(value: str) -> None:
    """Raises VariableError."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise VariableError("value", "contains a lone surrogate, which is no text") from error
    if size > VALUE_MAX_BYTES:
        raise VariableError("value", f"has {size:,} bytes; the limit is {VALUE_MAX_BYTES:,}. Store it elsewhere")
    if "\x00" in value:
        raise VariableError("value", "contains NUL, which no environment can hold")


def check_all(values: Mapping[str, str]) -> None:
    """Raises VariableError if a task would get too many, or too much."""
    if len(values) > COUNT_MAX:
        raise VariableError("name", f"would be one of {len(values):,}; a task may have {COUNT_MAX}")
    size = sum(len(name) + len(value.encode()) for name, value in values.items())
    if size > TOTAL_MAX_BYTES:
        raise VariableError("value", f"would make {size:,} bytes in all; a task may have {TOTAL_MAX_BYTES:,}")


def read_dotenv(text: str) -> dict[str, str]:
    """The variables of a `.env` file: `NAME=VALUE` lines, comments, quotes, no references to other variables.

    Double quotes know the escapes of Python for newlines, tabs, quotes and backslashes. ValueError names the line.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}").splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            raise ValueError(f"line {number}: must be NAME=VALUE")
        try:
            value = _unquoted(match["value"])
            check_name(match["name"])
            check_value(value)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        found[match["name"]] = value
    check_all(found)
    return found


def _unquoted(text: str) -> str:
    if text[:1] not in ("'", '"'):
        return re.sub(r"\s+#.*\Z", "", text).strip() if not text.startswith("#") else ""
    match = _QUOTED.match(text)
    if match is None:
        raise ValueError(f"value has no closing {text[0]}, or something after it; write a newline as \\n")
    if match["quote"] == "'":
        return match["text"]
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), match["text"])
