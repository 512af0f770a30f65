"""The root of the HTTP API: authentication, the routers of the apps, errors as problem+json, its description.

Every handler needs an API key; a signed-in browser session is not a credential here, so no CSRF token is needed either.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.contrib.auth.decorators import login_not_required, login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import URLPattern, re_path
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.openapi.docs import DocsBase
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation
from ninja.security import HttpBearer

from apps.access.errors import AccessError, KeyRefused
from apps.access.key_brake import find_key_of_peer
from apps.access.peers import peer_of
from apps.access.permissions import Actor
from apps.checkpoints.api import router as checkpoints_router
from apps.http.errors import RequestInvalid
from apps.http.problems import (
    MethodNotAllowed,
    RequestRefused,
    RouteNotFound,
    problem_response,
    route_not_found,
)
from apps.http.requests import field_errors
from apps.queues.api import router as queues_router
from apps.runs.api.routes import router as runs_router
from trigger_site.web.openapi import describe_problems

View = Callable[..., Any]


class KeyAuth(HttpBearer):
    """`Authorization: Bearer tr_…`; the request's `auth` is then the key's actor."""

    def authenticate(self, request: HttpRequest, token: str) -> Actor:
        return Actor.of_key(find_key_of_peer(token, peer_of(request)))


class DocsPage(DocsBase):
    """Shows the OpenAPI document as one plain page: no script, nothing from elsewhere."""

    def render_page(self, request: HttpRequest, api: NinjaAPI, **kwargs: Any) -> HttpResponse:
        document = api.get_openapi_schema()
        operations = [
            {"method": method.upper(), "path": path, **operation}
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        ]
        return render(request, "trigger_site/api_docs.html", {"info": document["info"], "operations": operations})


class Api(NinjaAPI):
    """Ninja, but with problems instead of plain-text 405 answers, and a document that describes them."""

    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        document = super().get_openapi_schema(**options)
        describe_problems(document)
        return document

    def get_openapi_operation_id(self, operation: Operation) -> str:
        return operation.view_func.__name__

    def _get_urls(self) -> list[Any]:
        patterns: list[Any] = super()._get_urls()
        for pattern in patterns:
            is_handler = pattern.name not in ("openapi-json", "openapi-view")
            if isinstance(pattern, URLPattern) and is_handler:
                pattern.callback = login_not_required(_with_problems(pattern.callback))
        return patterns


def _with_problems(view: View) -> View:
    """Returns the view, with its 405 as a problem."""
    if iscoroutinefunction(view):

        @wraps(view)
        async def answer_later(request: HttpRequest, *args: Any, **captured: Any) -> HttpResponseBase:
            if _names_nothing(captured):
                return route_not_found(request)
            return _as_problem(request, await view(request, *args, **captured))

        return answer_later

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **captured: Any) -> HttpResponseBase:
        if _names_nothing(captured):
            return route_not_found(request)
        try:
            return _as_problem(request, view(request, *args, **captured))
        except Http404:
            return route_not_found(request)

    return answer


def _names_nothing(captured: dict[str, Any]) -> bool:
    """Whether a part of the address contains NUL, which no name in the database can."""
    return any("\0" in str(value) for value in captured.values())


def _as_problem(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    if not isinstance(response, HttpResponseNotAllowed):
        return response
    problem = problem_response(MethodNotAllowed(f"{request.method} is not allowed at {request.path}."))
    if "Allow" in response:
        problem["Allow"] = response["Allow"]
    return problem


def _signed_in_or_with_key(view: View) -> View:
    """Accepts a key, for programs that read the API's description, or a session, for people in a browser."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **captured: Any) -> Any:
        if request.method not in ("GET", "HEAD"):
            return _as_problem(request, HttpResponseNotAllowed(["GET"]))
        if "Authorization" not in request.headers:
            return login_required(view)(request, *args, **captured)
        try:
            if KeyAuth()(request) is None:
                raise KeyRefused("An API key is required: Authorization: Bearer tr_….")
        except AccessError as error:
            return problem_response(error)
        return view(request, *args, **captured)

    return login_not_required(guarded)


api = Api(
    title="trigger-site",
    version="1",
    description="Trigger durable tasks, follow their runs, read their checkpoints, replay from any of them.",
    auth=KeyAuth(),
    docs=DocsPage(),
    docs_decorator=_signed_in_or_with_key,
    urls_namespace="api",
)
api.add_router("", runs_router)
api.add_router("", checkpoints_router)
api.add_router("", queues_router)


@api.exception_handler(Exception)
def _on_exception(request: HttpRequest, error: Exception) -> HttpResponse:
    return problem_response(error)


@api.exception_handler(AuthenticationError)
def _on_missing_key(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    return problem_response(KeyRefused("An API key is required: Authorization: Bearer tr_…."))


@api.exception_handler(ValidationError)
def _on_invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    # The first part of each location is the kind of parameter, such as `query`.
    found = [{**item, "loc": item["loc"][1:]} for item in error.errors]
    return problem_response(RequestInvalid.at(tuple(field_errors(found))))


@api.exception_handler(HttpError)
def _on_http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    return problem_response(RequestRefused(str(error)))


@api.exception_handler(Http404)
def _on_not_found(request: HttpRequest, error: Http404) -> HttpResponse:
    return problem_response(RouteNotFound(f"There is nothing at {request.path}."))


api_urlpatterns = [re_path(r"^api/", csrf_exempt(login_not_required(route_not_found)))]
"""Mount after the API: takes what no route matched."""
