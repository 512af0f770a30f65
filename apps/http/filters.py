"""Filters of lists. A list has one table of them, and each is one record: the page's address and chips, the API's
parameters, the bodies of verbs that move many, and what a command line offers are all made from it or held against it.

A new filter is one more record in its list's table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, TypeVar

from django.db.models import Model, Q, QuerySet
from django.http import QueryDict
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, create_model

Row = TypeVar("Row", bound=Model)
Shape = TypeVar("Shape", bound=BaseModel)
Condition = Callable[[Sequence[Any]], Q]
"""Of the values that were asked for, at least one: what a row has to be."""


def column(lookup: str) -> Condition:
    """The column is one of the values."""
    return lambda values: Q(**{lookup: values[0]}) if len(values) == 1 else Q(**{f"{lookup}__in": values})


def compared(lookup: str) -> Condition:
    """The column compared with the one value, as `finished_at__gte`."""
    return lambda values: Q(**{lookup: values[0]})


@dataclass(frozen=True)
class Filter:
    """One filter. `shape` is the pydantic type of one value, which also reads it from an address.

    An address may name several values of one that `is_multiple`. `suggest` gives the choices that a page offers.
    """

    name: str
    label: str
    shape: Any
    condition: Condition
    description: str | None = None
    is_multiple: bool = False
    write: Callable[[Any], str] = str
    suggest: Callable[[], Sequence[str]] | None = None

    def parse(self, text: str) -> Any:
        """The value, or None where the text is none."""
        if not text or "\x00" in text:
            return None
        try:
            return self._reader.validate_python(text)
        except ValidationError:
            return None

    @cached_property
    def _reader(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.shape)


class FilterTable:
    """The filters of one list by name, in the order in which they are shown; `base` is what the list is of."""

    def __init__(self, *filters: Filter, base: Callable[[Any], Any] = lambda rows: rows) -> None:
        self._filters = {each.name: each for each in filters}
        self.base = base

    def __iter__(self) -> Iterator[Filter]:
        return iter(self._filters.values())

    def __getitem__(self, name: str) -> Filter:
        return self._filters[name]

    @property
    def names(self) -> Sequence[str]:
        return list(self._filters)

    def suggestions(self, name: str) -> Sequence[str]:
        """The choices of that filter; empty where it has none to offer."""
        suggest = self[name].suggest
        return () if suggest is None else suggest()

    def and_also(self, *filters: Filter) -> FilterTable:
        return FilterTable(*self, *filters, base=self.base)

    def read(self, parameters: QueryDict) -> Chosen:
        """From the address of a page. What cannot be read is left out: an old bookmark still opens."""
        found = {}
        for each in self:
            texts = parameters.getlist(each.name) if each.is_multiple else [parameters.get(each.name, "")]
            values = [each.parse(text) for text in texts]
            found[each.name] = tuple(dict.fromkeys(value for value in values if value is not None))
        return Chosen(self, {name: values for name, values in found.items() if values})

    def of(self, **values: Any) -> Chosen:
        """These values by name; None asks for nothing, and an empty text for rows that have an empty one."""
        return Chosen(self, {self[name].name: (value,) for name, value in values.items() if value is not None})

    def of_model(self, given: BaseModel) -> Chosen:
        """The values of a model that has this table's fields (see `with_filters`) among others."""
        return self.of(**{name: getattr(given, name) for name in self.names})


@dataclass(frozen=True)
class Chosen:
    """Which rows are asked for: all of the table's filters that are named must fit."""

    table: FilterTable
    values: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def apply(self, rows: QuerySet[Row]) -> Any:
        found = self.table.base(rows)
        for name, values in self.values.items():
            found = found.filter(self.table[name].condition(values))
        return found

    def __getitem__(self, name: str) -> tuple[Any, ...]:
        """The values that are asked for by that filter; empty for none."""
        return self.values.get(name, ())

    @property
    def is_empty(self) -> bool:
        return not self.values

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """As parameters of an address, in the order of the table."""
        return [(each.name, each.write(value)) for each in self.table for value in self[each.name]]

    def having(self, name: str, *values: Any) -> Chosen:
        """The same with these values of that filter alone; none takes it away."""
        others = {other: kept for other, kept in self.values.items() if other != name}
        return replace(self, values={**others, name: values} if values else others)

    def without(self, name: str, value: Any) -> Chosen:
        return self.having(name, *(other for other in self[name] if other != value))


def with_filters(table: FilterTable) -> Callable[[type[Shape]], type[Shape]]:
    """Adds the table's filters, none of them needed, to the fields of a pydantic model, one value each."""

    def add(model: type[Shape]) -> type[Shape]:
        fields: dict[str, Any] = {
            each.name: (Annotated[each.shape | None, Field(description=each.description)], None) for each in table
        }
        built: type[Shape] = create_model(
            model.__name__, __base__=model, __module__=model.__module__, __doc__=model.__doc__, **fields
        )
        return built

    return add
