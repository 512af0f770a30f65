"""The page of an exception that no view caught: 503 where the database is away, else Django's 500."""

import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.views.defaults import server_error

from trigger_site.edge.away import away_page


def failed(request: HttpRequest) -> HttpResponse:
    """Django calls it while it handles the exception."""
    if isinstance(sys.exc_info()[1], (OperationalError, InterfaceError)):
        return away_page()
    return server_error(request)
