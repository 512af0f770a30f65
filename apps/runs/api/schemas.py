"""What clients may send to the HTTP API of runs, and the answers to triggers. How things look is in `shown`."""

from typing import Annotated, Any

from pydantic import Field, create_model
from trigger_sdk.trigger_options import TRIGGER_OPTIONS, Duration, Integer, Kind, Moment, Object, Pattern, Text, Texts

from apps.http.filters import with_filters
from apps.http.moments import Moment as AnyMoment
from apps.http.schemas import PAGE_DEFAULT, PAGE_LIMIT, Strict
from apps.runs.list.filters import RUN_FILTERS
from apps.runs.shown.run import RunOut, RunSummaryOut
from apps.runs.states import RunState
from apps.runs.trigger.create import BATCH_LIMIT

WAIT_SECONDS_LIMIT = 60


def _shape(kind: Kind) -> Any:
    """The pydantic type of an option's value in JSON."""
    match kind:
        case Integer(least, most):
            return Annotated[int, Field(ge=least, le=most)]
        case Duration(least, most):
            return Annotated[float, Field(ge=least, le=most)]
        case Text(least, most):
            return Annotated[str, Field(min_length=least, max_length=most)]
        case Pattern():
            return str
        case Texts():
            return list[_shape(kind.each)]  # type: ignore[misc]  # made when the module is loaded
        case Moment():
            return AnyMoment
        case Object():
            return dict[str, Any]


def _with_options(model: type[Strict]) -> Any:
    fields: dict[str, Any] = {
        option.wire_name: (Annotated[_shape(option.kind) | None, Field(description=option.doc)], None)
        for option in TRIGGER_OPTIONS.values()
    }
    return create_model(model.__name__, __base__=model, __module__=model.__module__, __doc__=model.__doc__, **fields)


@_with_options
class TriggerOptionsIn(Strict):
    """Only for the OpenAPI document: `trigger/options.py` checks the options, here as everywhere else."""


class TriggerIn(Strict):
    payload: Annotated[Any, Field(description="The task's parameters by name; checked against its annotations.")] = None
    options: TriggerOptionsIn = TriggerOptionsIn()


class BatchItemIn(TriggerIn):
    task: str


class BatchIn(Strict):
    items: Annotated[list[BatchItemIn], Field(min_length=1, max_length=BATCH_LIMIT)]


class TriggeredOut(RunOut):
    is_duplicate: Annotated[bool, Field(description="True if the run already existed under its idempotency key.")]


class TriggeredSummaryOut(RunSummaryOut):
    is_duplicate: bool


class BatchOut(Strict):
    """The runs in order of the items, without their values."""

    items: list[TriggeredSummaryOut]


class KeyResetOut(Strict):
    """An idempotency key that is free again, and the run that it stood for."""

    task: str
    key: str
    run: str
    state: RunState


class WaitQuery(Strict):
    wait_seconds: Annotated[
        float, Field(ge=0, le=WAIT_SECONDS_LIMIT, description="How long to wait for the run to become final.")
    ] = 0


@with_filters(RUN_FILTERS)
class RunFilters(Strict):
    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT)] = PAGE_DEFAULT


class LogFilters(Strict):
    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = PAGE_LIMIT
