"""Every refusal over HTTP, as `application/problem+json`, and what only the HTTP layer itself refuses.

The problem type is the class's name in kebab case; `docs/problems.md` describes each.
"""

import logging
import re
import secrets
from typing import Any

import msgspec
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse

from apps.access.errors import AccessError, KeyRefused
from apps.http.errors import Refusal
from apps.storage.statements import is_held

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2

NamedError = Refusal | AccessError
NAMED_ERRORS = (Refusal, AccessError)
"""The bases of all refusals; whatever else is raised is a fault of ours."""

logger = logging.getLogger(__name__)


class RouteNotFound(Refusal):
    title = "No such address"
    status = 404


class MethodNotAllowed(Refusal):
    title = "The address does not know this method"
    status = 405


class HostRefused(Refusal):
    title = "The site does not have this name"
    status = 400


class RequestRefused(Refusal):
    title = "The request was refused"
    status = 400


class RequestMalformed(Refusal):
    title = "This is no valid HTTP"
    status = 400


class AddressTooLong(Refusal):
    title = "The address is too long"
    status = 414


class HeadTooLarge(Refusal):
    title = "The headers are too large or too many"
    status = 431


class RequestTooSlow(Refusal):
    title = "The request came too slowly"
    status = 408


class ServerFull(Refusal):
    title = "The server is full"
    status = 503
    retry_after_seconds = RETRY_AFTER_SECONDS


class DatabaseAway(Refusal):
    title = "The database is away"
    status = 503
    retry_after_seconds = RETRY_AFTER_SECONDS


class NotReady(Refusal):
    title = "Not ready"
    status = 503
    retry_after_seconds = RETRY_AFTER_SECONDS


class Busy(Refusal):
    title = "Held by another transaction"
    status = 503
    retry_after_seconds = RETRY_AFTER_SECONDS


class InternalError(Refusal):
    title = "Something went wrong here"
    status = 500


def problem_type(error: type[Exception]) -> str:
    """`/problems/task-not-found`"""
    return "/problems/" + re.sub(r"(?<!^)(?=[A-Z])", "-", error.__name__).lower()


def problem_response(error: Exception) -> HttpResponse:
    """The answer to any exception of a handler; what is not a named error says nothing of the inside."""
    if is_held(error):
        logger.warning("api.busy: %s", str(error).strip())
        error = Busy("Another transaction holds what this call needs. Nothing was changed; try again.")
    elif isinstance(error, (OperationalError, InterfaceError)):
        logger.warning("api.database_away: %s", str(error).strip())
        error = DatabaseAway("The database does not answer at present. Nothing is known to be saved; try again.")
    named = error if isinstance(error, NAMED_ERRORS) else _logged(error)
    response = _write(named)
    if isinstance(named, KeyRefused):
        response["WWW-Authenticate"] = 'Bearer realm="trigger-site"'
    if named.retry_after_seconds is not None:
        response["Retry-After"] = str(named.retry_after_seconds)
    return response


def _logged(error: Exception) -> InternalError:
    identifier = secrets.token_hex(8)
    logger.error("api.failed id=%s", identifier, exc_info=error)
    return InternalError(f"The log of the web process has the reason under the id {identifier}.")


def _write(error: NamedError) -> HttpResponse:
    problem = {
        "type": problem_type(type(error)),
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "errors": [{"path": field.path, "message": field.message} for field in getattr(error, "errors", ())],
        **getattr(error, "members", {}),
    }
    return HttpResponse(msgspec.json.encode(_storable(problem)), status=error.status, content_type=CONTENT_TYPE)


def _storable(value: Any) -> Any:
    """Texts may quote what was refused, lone surrogates included, which no encoder writes."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _storable(item) for key, item in value.items()}
    return [_storable(item) for item in value] if isinstance(value, list) else value


def route_not_found(request: HttpRequest, **captured: Any) -> HttpResponse:
    """The answer under /api/ where no route is."""
    return problem_response(RouteNotFound(f"There is nothing at {request.path}."))
