"""What every page of the dashboard shows around its content."""

from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from apps.runs.fleet import fleet_reader


def shell(request: HttpRequest) -> dict[str, Any]:
    """`fleet` is read on first use, so fragments and error pages pay nothing for it; `server_now` sets the page's
    clock, because the viewer's may be wrong."""
    return {"fleet": SimpleLazyObject(fleet_reader().summary), "server_now": timezone.now()}
