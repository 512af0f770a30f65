"""The coroutine around an async task's own; through it a stop of the run reaches the place where the task awaits."""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class MainCoroutine(Coroutine[Any, Any, T]):
    """Passes everything through to the task's coroutine, but turns a cancellation by `stop` into the stop's exception.

    Cancelling is asyncio's only way to wake an await; on its own it would raise CancelledError in the task.
    """

    def __init__(self, inner: Coroutine[Any, Any, T]) -> None:
        self._inner = inner
        # asyncio's own messages, stack dumps and tracing libraries read these of every coroutine.
        self.__name__: str = getattr(inner, "__name__", type(inner).__name__)
        self.__qualname__: str = getattr(inner, "__qualname__", type(inner).__qualname__)
        self._is_stepping = False
        self._task: asyncio.Task[T] | None = None
        self._stop: BaseException | None = None

    @property
    def is_suspended(self) -> bool:
        """True while the event loop runs something else, or waits."""
        return self._task is not None and not self._is_stepping and not self._task.done()

    def stop(self, exception: BaseException) -> None:
        assert self._task is not None
        self._stop = exception
        self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    def send(self, value: Any) -> Any:
        if self._task is None:
            self._task = asyncio.current_task()
        self._is_stepping = True
        try:
            return self._inner.send(value)
        finally:
            self._is_stepping = False

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any:
        if self._stop is not None and isinstance(kind, asyncio.CancelledError):
            assert self._task is not None
            self._task.uncancel()
            kind, self._stop = self._stop, None
        self._is_stepping = True
        try:
            return self._inner.throw(kind)
        finally:
            self._is_stepping = False

    def close(self) -> None:
        self._inner.close()

    def __getattr__(self, name: str) -> Any:
        """`cr_code`, `cr_frame`, `cr_await` and the like are the task's."""
        return getattr(self._inner, name)

    def __await__(self) -> Generator[Any, Any, T]:
        return self._inner.__await__()
