"""Guards pages: `@requires(Action…)` asks `permissions.require` once, before the view runs."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase

from apps.access.errors import NotAllowed
from apps.access.permissions import Actor, require

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def requires(action: str) -> Callable[[View[P]], View[P]]:
    """Answers 403 with the reason if the signed-in user's roles do not allow the action."""

    def guard(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            try:
                require(actor_of(request), action)
            except NotAllowed as refusal:
                raise PermissionDenied(refusal.detail) from refusal
            return view(request, *args, **kwargs)

        return guarded

    return guard


def actor_of(request: HttpRequest) -> Actor:
    """Returns who makes the request: its key for the API, otherwise the signed-in user; read once per request."""
    actor = getattr(request, "auth", None) or getattr(request, "_trigger_actor", None)
    if not isinstance(actor, Actor):
        actor = Actor.of_user(request.user)
        request._trigger_actor = actor  # type: ignore[attr-defined]  # noqa: SLF001 - our own mark on the request
    return actor
