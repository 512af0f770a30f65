"""The page of an exception that no view caught: 503 where the database is away or held by others, else Django's 500."""

import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.views.defaults import server_error

from apps.runs.statements import is_held
from trigger_site.edge.away import away_page


def failed(request: HttpRequest) -> HttpResponse:
    """Django calls it while it handles the exception."""
    error = sys.exc_info()[1]
    if is_held(error):
        return away_page(is_held=True)
    if isinstance(error, (OperationalError, InterfaceError)):
        return away_page()
    return server_error(request)
