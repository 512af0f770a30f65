"""One table of filters for the page, the API and the command line."""

from inspect import signature
from typing import Annotated, Any

import pytest
from django.http import QueryDict
from pydantic import Field, ValidationError
from trigger_sdk.cli.commands import RUN_FILTERS as RUN_FLAGS
from trigger_sdk.cli.dead_letters import FILTERS as DEAD_LETTER_FLAGS
from trigger_sdk.client import Client
from trigger_sdk.client.operations import DeadLetterFilter

from apps.http.filters import Filter, FilterTable, column, with_filters
from apps.http.schemas import Strict
from apps.queues.dead_letters.filters import DEAD_LETTER_FILTERS
from apps.runs.api.schemas import RunFilters
from apps.runs.list.filters import PAGE_FILTERS, RUN_FILTERS, RunFilter
from apps.runs.models import Run
from apps.runs.states import RunState
from trigger_site.web.api import api

RUN = "run_01hzy3v9p5e8r9q3gk4c5m6n7w"
SINCE = "2026-01-02T03:04:05.000006Z"


def names_of(flags: object) -> set[str]:
    return {str(flag).removeprefix("--").replace("-", "_") for flag in flags}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("flags", "table"), [(RUN_FLAGS, RUN_FILTERS), (DEAD_LETTER_FLAGS, DEAD_LETTER_FILTERS)], ids=["runs", "letters"]
)
def test_command_line_has_a_flag_for_each_filter(flags: dict[str, str], table: FilterTable) -> None:
    assert names_of(flags) == set(table.names)


def test_client_has_an_argument_for_each_filter_of_dead_letters() -> None:
    assert set(DeadLetterFilter.__annotations__) == set(DEAD_LETTER_FILTERS.names)


def test_client_has_an_argument_for_each_filter_of_runs() -> None:
    assert {*signature(Client.runs).parameters} == {*RUN_FILTERS.names, "self", "limit"}


@pytest.mark.parametrize(
    ("path", "table"),
    [
        ("/api/v1/runs", RUN_FILTERS),
        ("/api/v1/dead-letters", DEAD_LETTER_FILTERS),
    ],
)
def test_api_has_a_parameter_for_each_filter(path: str, table: FilterTable) -> None:
    described = api.get_openapi_schema()["paths"][path]["get"]["parameters"]

    assert {each["name"] for each in described} == {*table.names, "cursor", "limit"}
    assert not any(each["required"] for each in described)


@pytest.mark.parametrize(
    "query",
    [
        "state=running&state=completed&task=a%26b&task=c&q=x",
        f"queue=mail&tag=vip&since={SINCE}&until={SINCE}&replay_of={RUN}",
        f"state=running&before={RUN}",
    ],
)
def test_page_keeps_what_an_address_asks_for(query: str) -> None:
    read = RunFilter.read(QueryDict(query))

    assert RunFilter.read(QueryDict(read.query[1:])) == read
    assert QueryDict(read.query[1:]) == QueryDict(query)


@pytest.mark.parametrize(
    "query",
    [
        "state=nonsense",
        "since=yesterday&until=2026",
        "replay_of=run_1",
        "task=%00&queue=&q=+",
        f"task={'t' * 129}&queue={'q' * 129}&tag={'t' * 65}",
    ],
)
def test_page_leaves_out_what_it_cannot_read(query: str) -> None:
    assert RunFilter.read(QueryDict(query)).is_empty


def test_chips_take_one_value_away() -> None:
    read = RunFilter.read(QueryDict("state=running&task=a&task=b&queue=mail&tag=vip&q=x&before=" + RUN))

    assert read.removals() == [
        ("a", "?state=running&task=b&queue=mail&tag=vip&q=x"),
        ("b", "?state=running&task=a&queue=mail&tag=vip&q=x"),
        ("Queue mail", "?state=running&task=a&task=b&tag=vip&q=x"),
        ("Tag vip", "?state=running&task=a&task=b&queue=mail&q=x"),
    ]
    running = next(chip for chip in read.state_chips() if chip.is_chosen)
    assert running.query == "?task=a&task=b&queue=mail&tag=vip&q=x"


def test_model_of_the_api_gives_the_same_values_as_the_page() -> None:
    model = RunFilters.model_validate({"state": "running", "queue": "mail", "since": SINCE, "replay_of": RUN})
    page = PAGE_FILTERS.read(QueryDict(f"state=running&queue=mail&since={SINCE}&replay_of={RUN}"))

    assert RUN_FILTERS.of_model(model).values == page.values
    assert page["state"] == (RunState.RUNNING,)


def test_one_record_is_a_filter_everywhere() -> None:
    table = RUN_FILTERS.and_also(Filter("key", "Key", Annotated[str, Field(max_length=8)], column("concurrency_key")))

    @with_filters(table)
    class Query(Strict):
        limit: int = 50

    model: Any = Query.model_validate({"key": "c1"})
    page = table.read(QueryDict("key=c1&key=c2&state=running"))

    assert table.of_model(model).values == {"key": ("c1",)}
    assert page.pairs == [("state", "running"), ("key", "c2")]
    assert "concurrency_key" in str(page.apply(Run.objects.all()).query)
    assert table.read(QueryDict("key=123456789")).is_empty
    with pytest.raises(ValidationError, match="at most 8"):
        Query.model_validate({"key": "123456789"})
