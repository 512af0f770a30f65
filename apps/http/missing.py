"""Pages of what is not there: the refusals that the API answers with 404, as Django's own."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.http import Http404

from apps.http.errors import Refusal


@contextmanager
def missing_is_404() -> Iterator[None]:
    """Around a view of a page, as a decorator: a refusal with the status 404 becomes Http404, others pass."""
    try:
        yield
    except Refusal as refusal:
        if refusal.status != 404:
            raise
        raise Http404(refusal.detail) from refusal
