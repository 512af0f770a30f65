"""The column type of task values: Postgres `json`, stored byte for byte as the codec wrote it."""

import json
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.fields.json import KeyTransform
from django.db.models.sql.compiler import SQLCompiler

UNREADABLE = {"unreadable": "This value cannot be shown: it is nested too deeply, or a number in it is too long."}

if TYPE_CHECKING:
    TextValue = models.TextField[Any, Any]  # str, and None where the column is nullable
else:
    TextValue = models.TextField


class ForgivingDecoder(json.JSONDecoder):
    """Reads a `jsonb` column; what Python cannot read becomes `UNREADABLE`, so that one bad row hides no other."""

    def decode(self, s: str, *arguments: Any) -> Any:
        try:
            return super().decode(s, *arguments)
        except (ValueError, RecursionError):
            return dict(UNREADABLE)


class _FormField(models.JSONField):
    """A `jsonb` column of one form; unreadable values, and values of another form, are read as empty."""

    form: type[Any]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"decoder": ForgivingDecoder, **options})

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> Any:
        found = super().from_db_value(value, expression, connection)
        if isinstance(expression, KeyTransform) or isinstance(found, self.form):
            return found
        return self.form()


class ObjectField(_FormField):
    form = dict


class ListField(_FormField):
    form = list


class ValueField(TextValue):
    """JSON text in a `json` column, read and written as `str`, never parsed on the way.

    `jsonb` would reorder keys and change numbers (1e16, -0.0), so what a task saved would not be what it gets back.
    """

    description = "JSON text, byte for byte"

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "json"

    def get_placeholder(self, value: Any, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> str:
        return "%s::json"

    def select_format(self, compiler: SQLCompiler, sql: str, params: Any) -> tuple[str, Any]:
        return f"{sql}::text", params
