"""Pages that do not exist: turns the refusals that the API answers with 404 into Django's own."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.http import Http404

from apps.http.errors import Refusal


@contextmanager
def missing_is_404() -> Iterator[None]:
    """Decorates a page's view: a refusal with status 404 becomes Http404, others pass through."""
    try:
        yield
    except Refusal as refusal:
        if refusal.status != 404:
            raise
        raise Http404(refusal.detail) from refusal
