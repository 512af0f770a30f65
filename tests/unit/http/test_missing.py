"""Refusals of pages: what is not there is a 404, whatever else is wrong stays what it is."""

import pytest
from django.http import Http404

from apps.http.missing import missing_is_404
from apps.runs.errors import IllegalMove, RunNotFound


@missing_is_404()
def view(error: Exception | None) -> str:
    if error is not None:
        raise error
    return "there"


def test_what_is_not_there_is_a_404_with_the_reason() -> None:
    with pytest.raises(Http404, match="no run 'x'"):
        view(RunNotFound("There is no run 'x'."))


@pytest.mark.parametrize("error", [IllegalMove("No.", "completed"), ValueError("else")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)):
        view(error)


def test_a_view_can_be_called_again() -> None:
    assert (view(None), view(None)) == ("there", "there")
