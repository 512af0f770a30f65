"""Exceptions of a task arrive in the test as they were raised: type, arguments, attributes, causes, traceback."""

import os
import threading
import traceback

import pytest
from trigger_sdk import RetryAfter, task
from trigger_sdk.errors import PayloadError, UnsupportedType
from trigger_sdk.testing import raised, run


class Declined(Exception):
    """Cannot be unpickled: its arguments are not those of `__init__`. Holds what cannot be pickled."""

    def __init__(self, order: str, *, cents: int) -> None:
        super().__init__(f"{order}: {cents}")
        self.cents = cents
        self.lock = threading.Lock()


@task("raises")
def raising(how: str) -> object:
    class Local(Declined):
        pass

    try:
        os.stat("/no/such/file")
    except OSError as error:
        if how == "own":
            raise Declined("A1", cents=990) from error
        if how == "local":
            raise Local("A1", cents=990) from None
        if how == "group":
            raise ExceptionGroup("both", [Declined("A1", cents=1), ValueError("v")]) from error
        if how == "noted":
            error.add_note("while looking")
            raise
        if how == "after":
            raise RetryAfter(7, "busy") from error
    return object()


def test_class_arguments_attributes_and_cause_are_kept() -> None:
    with pytest.raises(Declined, match=r"^A1: 990$") as failure:
        run(raising, {"how": "own"})

    error = failure.value
    assert type(error) is Declined
    assert (error.args, error.cents) == (("A1: 990",), 990)
    assert "unlocked _thread.lock" in str(error.lock)
    assert isinstance(error.__cause__, FileNotFoundError)
    assert error.__cause__.filename == "/no/such/file"


def test_traceback_shows_the_lines_of_the_task_and_of_its_cause() -> None:
    with pytest.raises(Declined) as failure:
        run(raising, {"how": "own"})

    text = "".join(traceback.format_exception(failure.value))
    assert f'File "{__file__}", line' in text
    assert 'raise Declined("A1", cents=990) from error' in text
    assert 'os.stat("/no/such/file")' in text
    assert text.index("FileNotFoundError") < text.index("direct cause") < text.index("Declined: A1: 990")
    assert "in raising" in text


def test_exceptions_of_the_sdk_and_of_the_interpreter_arrive_whole() -> None:
    with pytest.raises(RetryAfter) as after:
        run(raising, {"how": "after"})
    assert (after.value.seconds, after.value.reason) == (7.0, "busy")
    with pytest.raises(FileNotFoundError, match="No such file") as noted:
        run(raising, {"how": "noted"})
    assert noted.value.__notes__ == ["while looking"]
    with pytest.raises(PayloadError) as payload:
        run(raising, {"how": 1})
    assert payload.value.path == "$.how"
    with pytest.raises(UnsupportedType) as output:
        run(raising, {"how": ""})
    assert output.value.path == "$"


def test_class_that_only_the_attempt_has_seen_comes_as_one_below_the_nearest() -> None:
    with pytest.raises(Declined, match="A1: 990") as failure:
        run(raising, {"how": "local"})

    assert type(failure.value).__qualname__ == "raising.<locals>.Local"
    assert failure.value.__suppress_context__


def test_class_of_the_test_itself_is_the_same_class() -> None:
    class Own(Exception):
        pass

    @task("own")
    def own() -> None:
        raise Own("here")

    with pytest.raises(Own, match="here"):
        run(own)


def test_groups_keep_their_members() -> None:
    with pytest.raises(ExceptionGroup) as failure:
        run(raising, {"how": "group"})

    first, second = failure.value.exceptions
    assert (type(first), str(first), type(second), str(second)) == (Declined, "A1: 1", ValueError, "v")
    assert failure.value.message == "both"


@pytest.mark.parametrize(("first", "line"), [(1, 1), (1, 64), (10, 5000), (90, 7)])
def test_a_frame_is_at_its_line_and_has_no_columns(first: int, line: int) -> None:
    trace = raised._traceback([raised.Place("no/such/file.py", "work", first, line)])

    (frame,) = traceback.extract_tb(trace)
    assert (frame.filename, frame.name, frame.lineno, frame.colno) == ("no/such/file.py", "work", line, None)
    assert trace is not None
    assert trace.tb_frame.f_code.co_firstlineno == first
