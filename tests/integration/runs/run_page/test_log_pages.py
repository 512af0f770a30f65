from uuid import UUID

import pytest

from apps.http.cursors import write_cursor
from apps.http.errors import RequestInvalid
from apps.runs.run_page.logs import lines_after, newest_lines
from tests.factories import make_log_line, make_run

pytestmark = pytest.mark.django_db


def test_log_lines_continue_after_the_cursor() -> None:
    run = make_run(state="completed")
    for attempt, sequence in ((1, 1), (1, 2), (2, 1)):
        make_log_line(run, f"{attempt}.{sequence}", attempt=attempt, sequence=sequence)

    whole = newest_lines(run.id)
    rest = lines_after(run.id, write_cursor("logs", 1, 1))

    assert [line.message for line in whole.lines] == ["1.1", "1.2", "2.1"]
    assert whole.cursor == write_cursor("logs", 2, 1)
    assert [line.message for line in rest.lines] == ["1.2", "2.1"]
    assert lines_after(run.id, None).lines == whole.lines
    assert lines_after(run.id, whole.cursor).lines == []


def test_newest_lines_say_that_earlier_ones_are_left_out() -> None:
    run = make_run(state="completed")
    for sequence in (1, 2, 3):
        make_log_line(run, f"line {sequence}", sequence=sequence)

    newest = newest_lines(run.id, limit=2)

    assert [line.message for line in newest.lines] == ["line 2", "line 3"]
    assert newest.has_earlier
    assert not newest_lines(run.id, limit=3).has_earlier


@pytest.mark.parametrize("text", ["", "1", "1.2", "a.b", "x" * 2_000])
def test_cursor_that_no_page_gave_out_is_refused(text: str) -> None:
    with pytest.raises(RequestInvalid, match="after: is not a cursor"):
        lines_after(UUID(int=1), text)
