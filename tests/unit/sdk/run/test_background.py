"""What is said about work after the end of a task, where the interpreter's versions differ."""

import threading
import time
from types import SimpleNamespace

import pytest
from trigger_sdk.run import background
from trigger_sdk.run.background import Background, _name_in


@pytest.mark.parametrize(
    ("failure", "name"),
    [
        (SimpleNamespace(object=time.sleep, err_msg="Exception ignored in atexit callback"), "sleep"),
        (
            SimpleNamespace(object=None, err_msg="Exception ignored in atexit callback <function flush>"),
            "<function flush>",
        ),
        (SimpleNamespace(object=7, err_msg=None), "7"),
    ],
)
def test_function_that_failed_is_named_by_every_version_of_python(failure: SimpleNamespace, name: str) -> None:
    assert _name_in(failure) == name  # type: ignore[arg-type]


def test_threads_that_are_cut_off_are_named_ten_at_most() -> None:
    gate = threading.Event()
    threads = [threading.Thread(target=gate.wait, name=f"writer-{number:02}") for number in range(12)]
    for thread in threads:
        thread.start()

    shown = background._names()
    gate.set()

    assert shown.startswith("the threads ")
    assert shown.endswith(" more")
    assert shown.count("writer-") <= 10
    assert int(shown.split()[-2]) >= 2
    for thread in threads:
        thread.join()


def test_nothing_left_behind_is_nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background.atexit, "_run_exitfuncs", lambda: None)  # those of the test runner
    monkeypatch.setattr(background, "_join_all", lambda: None)
    said: list[str] = []

    Background(said.append, may_interrupt=lambda: True).see_through()

    assert said == []
