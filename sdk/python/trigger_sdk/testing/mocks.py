"""Brings the calls that `unittest.mock` objects get in a forked process back to the test that holds them.

Both processes have the list of mocks that existed at the fork, so a mock is named by its place in it; one that came to
be by use (`client.charge`) is found by its name below its parent. Arguments come back as equal copies.
"""

import gc
import io
import pickle
import sys
from typing import Any, NamedTuple

_LISTS = ("mock_calls", "method_calls", "call_args_list")
_LISTS_OF_AWAITS = (*_LISTS, "await_args_list")


class Calls(NamedTuple):
    """What one mock has been called with since the fork, and the same for the mocks below it that are new."""

    lists: dict[str, list[bytes]]
    call_count: int
    await_count: int
    children: "dict[str, Calls]"
    returned: "Calls | None"


class Seen:
    """The mocks at the time of the fork; made by the parent, used by both."""

    def __init__(self) -> None:
        self._mocks = _all_mocks()
        self._places = {id(mock): place for place, mock in enumerate(self._mocks)}
        self._before = [_lengths(mock) for mock in self._mocks]

    def changes(self) -> dict[int, Calls]:
        """In the child: what has been called, by place."""
        found = {place: self._calls(mock, self._before[place]) for place, mock in enumerate(self._mocks)}
        return {place: calls for place, calls in found.items() if not _is_empty(calls)}

    def add(self, changes: dict[int, Calls]) -> None:
        """In the parent: records the calls, as if they had been made here."""
        for place, calls in changes.items():
            self._record(self._mocks[place], calls)

    def _calls(self, mock: Any, before: dict[str, int]) -> Calls:
        new = {name: getattr(mock, name)[before.get(name, 0) :] for name in _lists_of(mock)}
        below = vars(mock).get("_mock_children", {})
        returned = vars(mock).get("_mock_return_value")
        return Calls(
            {name: [self._pickled(tuple(call)) for call in calls] for name, calls in new.items() if calls},
            mock.call_count - before.get("call_args_list", 0),
            mock.await_count - before.get("await_args_list", 0) if _has_awaits(mock) else 0,
            {name: self._calls(child, {}) for name, child in below.items() if self._is_new(child)},
            self._calls(returned, {}) if self._is_new(returned) else None,
        )

    def _is_new(self, mock: Any) -> bool:
        return _is_mock(mock) and id(mock) not in self._places

    def _record(self, mock: Any, calls: Calls) -> None:
        from unittest.mock import _Call

        for name, given in calls.lists.items():
            is_two = name in ("call_args_list", "await_args_list")
            getattr(mock, name).extend(_Call(self._unpickled(call), two=is_two) for call in given)
        if calls.call_count:
            mock.called = True
            mock.call_count += calls.call_count
            mock.call_args = mock.call_args_list[-1] if mock.call_args_list else mock.call_args
            _use_up(mock.side_effect, calls.call_count)
        if calls.await_count:
            mock.await_count += calls.await_count
            mock.await_args = mock.await_args_list[-1] if mock.await_args_list else mock.await_args
        for name, below in calls.children.items():
            self._record(getattr(mock, name), below)
        if calls.returned is not None:
            self._record(mock.return_value, calls.returned)

    def _pickled(self, call: tuple[Any, ...]) -> bytes:
        """Name, arguments and keyword arguments; what cannot be copied is shown by its `repr`."""
        try:
            return self._dumped(call)
        except Exception:  # any object may be an argument
            *name, arguments, named = call
            plain = [self._safe(argument) for argument in arguments]
            return self._dumped((*name, tuple(plain), {key: self._safe(value) for key, value in named.items()}))

    def _safe(self, value: Any) -> Any:
        try:
            self._dumped(value)
        except Exception:  # any object may be an argument
            return repr(value)
        return value

    def _dumped(self, value: Any) -> bytes:
        places = self._places

        class Pickler(pickle.Pickler):
            def persistent_id(self, one: Any) -> int | None:
                return places.get(id(one))

        buffer = io.BytesIO()
        Pickler(buffer).dump(value)
        return buffer.getvalue()

    def _unpickled(self, data: bytes) -> Any:
        mocks = self._mocks

        class Unpickler(pickle.Unpickler):
            def persistent_load(self, place: Any) -> Any:
                return mocks[place]

        return Unpickler(io.BytesIO(data)).load()


def _all_mocks() -> list[Any]:
    if "unittest.mock" not in sys.modules:
        return []
    from unittest.mock import NonCallableMock

    return [one for one in gc.get_objects() if issubclass(type(one), NonCallableMock)]


def _is_mock(value: Any) -> bool:
    from unittest.mock import NonCallableMock

    return issubclass(type(value), NonCallableMock)


def _has_awaits(mock: Any) -> bool:
    # Asking an ordinary mock for the attribute would make it.
    return "_mock_await_count" in vars(mock)


def _lists_of(mock: Any) -> tuple[str, ...]:
    return _LISTS_OF_AWAITS if _has_awaits(mock) else _LISTS


def _lengths(mock: Any) -> dict[str, int]:
    return {name: len(getattr(mock, name)) for name in _lists_of(mock)}


def _is_empty(calls: Calls) -> bool:
    return not (calls.lists or calls.call_count or calls.await_count) and all(
        map(_is_empty, [*calls.children.values(), *([calls.returned] if calls.returned is not None else [])])
    )


def _use_up(effects: Any, count: int) -> None:
    """Moves an iterator of `side_effect` on: the next attempt gets what follows."""
    if hasattr(effects, "__next__"):
        for _ in range(count):
            next(effects, None)
