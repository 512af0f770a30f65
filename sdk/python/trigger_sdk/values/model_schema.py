"""The JSON Schema of a pydantic model, with marks where the model reads a text as something that JSON lacks.

JSON Schema says `format` without checking it. `x-text` says which reader the text goes through, so that the server can
ask the same one (docs/values.md).
"""

import functools
import sys
from typing import Any

MARK = "x-text"
"""The keyword; its value is a name of `texts.TEXT_KINDS`, or `pydantic.` with a name of this module."""

_MARKED = {
    "datetime_schema": "datetime", "date_schema": "date", "time_schema": "time", "timedelta_schema": "timedelta",
    "uuid_schema": "uuid", "url_schema": "url",
}  # fmt: skip


def model_schema(kind: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of a model and the definitions that it refers to as `#/$defs/Name`."""
    schema = kind.model_json_schema(ref_template="#/$defs/{model}", schema_generator=_generator())
    return schema, schema.pop("$defs", {})


@functools.cache
def _generator() -> Any:
    """pydantic's generator, which leaves a mark at each text that it reads; made once, on first use."""
    from pydantic.json_schema import GenerateJsonSchema

    methods = {name: _marking(name, mark) for name, mark in _MARKED.items() if hasattr(GenerateJsonSchema, name)}
    methods |= {"decimal_schema": _decimal, "float_schema": _float}
    return type("MarkingGenerator", (GenerateJsonSchema,), methods)


def _decimal(generator: Any, schema: Any) -> Any:
    from pydantic.json_schema import GenerateJsonSchema

    described = GenerateJsonSchema.decimal_schema(generator, schema)
    return described if schema.get("allow_inf_nan") else {**described, MARK: "pydantic.decimal"}


def _float(generator: Any, schema: Any) -> Any:
    from pydantic.json_schema import GenerateJsonSchema

    # An integer beyond them has no float.
    bounds = {"minimum": -sys.float_info.max, "maximum": sys.float_info.max}
    return {**bounds, **GenerateJsonSchema.float_schema(generator, schema)}


def _narrowed(mark: str, schema: Any) -> str:
    """The name of the type that also has the constraint of the zone or of the scheme."""
    if mark == "datetime" and schema.get("tz_constraint") in ("aware", "naive"):
        return f"{schema['tz_constraint']}_datetime"
    return "http_url" if mark == "url" and schema.get("allowed_schemes") == ["http", "https"] else mark


def _marking(method: str, mark: str) -> Any:
    def describe(generator: Any, schema: Any) -> Any:
        from pydantic.json_schema import GenerateJsonSchema

        described = getattr(GenerateJsonSchema, method)(generator, schema)
        if described.get("type") != "string":
            return described
        is_strict = schema.get("strict", getattr(getattr(generator, "_config", None), "strict", False))
        return {**described, MARK: f"pydantic.{'strict_' if is_strict else ''}{_narrowed(mark, schema)}"}

    return describe
