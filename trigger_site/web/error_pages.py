"""Answers exceptions that no view caught: 503 if the database is away or held, otherwise Django's 500."""

import sys
from urllib.parse import urlsplit

from django.contrib import messages
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.defaults import server_error

from apps.storage.statements import is_held
from trigger_site.edge.away import away_page

HELD_NOTE = "Another database session holds what this would change. Nothing was changed; try again."


def failed(request: HttpRequest) -> HttpResponse:
    """Answers an uncaught exception; Django calls it while handling that."""
    error = sys.exc_info()[1]
    if is_held(error):
        return _back_with_note(request) or away_page(is_held=True)
    if isinstance(error, (OperationalError, InterfaceError)):
        return away_page()
    return server_error(request)


def _back_with_note(request: HttpRequest) -> HttpResponse | None:
    """Answers an action on the page it came from, like every other refusal of an action."""
    page = request.headers.get("Referer", "")
    if request.method != "POST" or getattr(request, "htmx", False):
        return None
    if not url_has_allowed_host_and_scheme(page, {request.get_host()}) or urlsplit(page).path == request.path:
        return None
    messages.error(request, HELD_NOTE)
    return HttpResponseRedirect(page)
