"""The `$defs` of one JSON Schema: the classes and aliases that it describes, each once and under a name of its own."""

from collections.abc import Callable
from typing import Any

from trigger_sdk.values.annotations import class_of, name_of


class Definitions:
    """Collects definitions. Two classes that share a name get different ones: `Order` and `Order-2`."""

    def __init__(self) -> None:
        self.entries: dict[str, Any] = {}
        self._names: list[tuple[Any, str]] = []

    def reference(self, annotation: Any, describe: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The reference to what `describe` returns, which is asked for once; it may refer to the class itself."""
        name = next((name for known, name in self._names if known is annotation or known == annotation), None)
        if name is None:
            name = self.free_name(_plain_name(annotation))
            self._names.append((annotation, name))
            self.entries[name] = {}
            self.entries[name] = describe()
        return {"$ref": f"#/$defs/{name}"}

    def add(self, schema: dict[str, Any], named: dict[str, Any]) -> dict[str, Any]:
        """Takes the definitions that belong to a whole schema; returns the schema with the names they have got."""
        renamed = {
            name: name if self.entries.get(name, part) == part else self.free_name(name) for name, part in named.items()
        }
        for name, part in named.items():
            self.entries[renamed[name]] = _with_references(part, renamed)
        return dict(_with_references(schema, renamed))

    def free_name(self, wanted: str) -> str:
        name, number = wanted, 1
        while name in self.entries:
            number += 1
            name = f"{wanted}-{number}"
        return name


def _plain_name(annotation: Any) -> str:
    """A name that can stand in a reference without escapes."""
    name = getattr(class_of(annotation), "__name__", "") or "Value"
    if class_of(annotation) is not annotation:
        name = name_of(annotation).rpartition(f"{name}[")[1] + name_of(annotation).rpartition(f"{name}[")[2]
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)


def _with_references(schema: Any, renamed: dict[str, str]) -> Any:
    if isinstance(schema, list):
        return [_with_references(item, renamed) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: _with_references(item, renamed) for key, item in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and (name := reference.removeprefix("#/$defs/")) in renamed:
        changed["$ref"] = f"#/$defs/{renamed[name]}"
    return changed
