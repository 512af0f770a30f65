"""Every refusal over HTTP: the status of each error class, and how it is written (`application/problem+json`).

The one place that knows both the errors of all apps and HTTP. The problem type is the class's name in kebab case;
`docs/problems.md` describes each.
"""

import logging
import re
import secrets
from typing import Any

import msgspec
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse

from apps.access.errors import AccessError, KeyRefused, NotAllowed, SignInBusy, TooManyTries
from apps.checkpoints.errors import CheckpointNotFound, CheckpointRefused, DeploymentNotFound, ReplayRefused
from apps.http.requests import BodyTooLarge, RequestInvalid
from apps.queues import errors as queues
from apps.runs import errors as runs
from apps.storage.statements import is_held

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = "2"

logger = logging.getLogger(__name__)


class SiteError(Exception):
    """Base of what only the HTTP layer itself refuses."""

    title = "Refused"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class RouteNotFound(SiteError):
    title = "No such address"


class MethodNotAllowed(SiteError):
    title = "The address does not know this method"


class HostRefused(SiteError):
    title = "The site does not have this name"


class RequestRefused(SiteError):
    title = "The request was refused"


class RequestMalformed(SiteError):
    title = "This is no valid HTTP"


class AddressTooLong(SiteError):
    title = "The address is too long"


class HeadTooLarge(SiteError):
    title = "The headers are too large or too many"


class RequestTooSlow(SiteError):
    title = "The request came too slowly"


class ServerFull(SiteError):
    title = "The server is full"


class DatabaseAway(SiteError):
    title = "The database is away"


class NotReady(SiteError):
    title = "Not ready"


class Busy(SiteError):
    title = "Held by another transaction"


class InternalError(SiteError):
    title = "Something went wrong here"


STATUSES: dict[type[Exception], int] = {
    KeyRefused: 401,
    NotAllowed: 403,
    TooManyTries: 429,
    SignInBusy: 503,
    runs.TaskNotFound: 404,
    runs.TaskRetired: 409,
    runs.PayloadMalformed: 400,
    runs.PayloadInvalid: 422,
    runs.PayloadTooLarge: 413,
    runs.OptionInvalid: 422,
    runs.BatchInvalid: 422,
    runs.IdempotencyConflict: 409,
    runs.RunNotFound: 404,
    runs.IllegalMove: 409,
    runs.DeploymentRefused: 422,
    RequestInvalid: 422,
    BodyTooLarge: 413,
    CheckpointNotFound: 404,
    CheckpointRefused: 422,
    DeploymentNotFound: 404,
    ReplayRefused: 422,
    queues.RequeueRefused: 422,
    queues.LimitInvalid: 422,
    queues.NoteInvalid: 422,
    queues.SelectionInvalid: 422,
    queues.QueueNotFound: 404,
    queues.QueueFull: 429,
    RouteNotFound: 404,
    MethodNotAllowed: 405,
    HostRefused: 400,
    RequestRefused: 400,
    RequestMalformed: 400,
    AddressTooLong: 414,
    HeadTooLarge: 431,
    RequestTooSlow: 408,
    ServerFull: 503,
    DatabaseAway: 503,
    NotReady: 503,
    Busy: 503,
    InternalError: 500,
}

NAMED_ERRORS = (AccessError, runs.RunsError, SiteError)
"""The bases of the errors in the table; whatever else is raised is a fault of ours."""


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
    elif type(error) not in STATUSES:
        error = _logged(error)
    response = _write(error)
    if isinstance(error, KeyRefused):
        response["WWW-Authenticate"] = 'Bearer realm="trigger-site"'
    if isinstance(error, DatabaseAway | NotReady | ServerFull | Busy):
        response["Retry-After"] = RETRY_AFTER_SECONDS
    if isinstance(error, queues.QueueFull | TooManyTries | SignInBusy):
        response["Retry-After"] = str(error.retry_after_seconds)
    return response


def _logged(error: Exception) -> InternalError:
    identifier = secrets.token_hex(8)
    logger.error("api.failed id=%s", identifier, exc_info=error)
    return InternalError(f"The log of the web process has the reason under the id {identifier}.")


def _write(error: Any) -> HttpResponse:
    status = STATUSES[type(error)]
    problem = {
        "type": problem_type(type(error)),
        "title": error.title,
        "status": status,
        "detail": error.detail,
        "errors": [{"path": field.path, "message": field.message} for field in getattr(error, "errors", ())],
    }
    if isinstance(error, runs.IllegalMove):
        problem["state"] = error.state
    if isinstance(error, runs.IdempotencyConflict):
        problem["run"] = error.run or None
    return HttpResponse(msgspec.json.encode(_storable(problem)), status=status, content_type=CONTENT_TYPE)


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
