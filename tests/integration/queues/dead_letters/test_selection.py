"""Which dead letters are meant: the list, the groups and the verbs agree; pages and queries stay bounded."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.queues.dead_letters.schemas import DeadLetterGroupsOut, DeadLetterPage, ManyOut
from tests.factories import bearer
from tests.integration.queues.letters import NOW, get, letter, post, some_letters, states

pytestmark = pytest.mark.django_db

FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"a", "b", "c", "d"}),
    ({"task": "noop"}, {"a", "b", "c"}),
    ({"error_type": "Declined"}, {"a", "c", "d"}),
    ({"queue": "mail"}, {"b"}),
    ({"tag": "eu"}, {"a", "d"}),
    ({"since": NOW - timedelta(hours=2)}, {"a", "b", "d"}),
    ({"until": NOW - timedelta(hours=2)}, {"c"}),
    ({"search": "MONEY"}, {"a", "c"}),
    ({"search": "100%"}, {"d"}),
    ({"task": "noop", "error_type": "Declined", "tag": "eu", "search": "no"}, {"a"}),
    ({"task": "nobody"}, set()),
    ({"task": ""}, set()),
    ({"queue": ""}, set()),
    ({"search": ""}, {"a", "b", "c", "d"}),
]


@pytest.mark.parametrize(("filters", "expected"), FILTERS)
def test_list_groups_and_verbs_mean_the_same_runs(client: Client, filters: dict[str, Any], expected: set[str]) -> None:
    made = some_letters()
    wanted = {made[name].public_id for name in expected}
    query = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in filters.items()}

    page = client.get("/api/v1/dead-letters", query, headers=bearer("viewer"))
    groups = client.get("/api/v1/dead-letters/groups", query, headers=bearer("viewer"))
    answer = post(client, "/dead-letters/discard", {"filter": query, "note": "spent"})

    assert {item.id for item in DeadLetterPage.model_validate(page.json()).items} == wanted
    assert sum(group.count for group in DeadLetterGroupsOut.model_validate(groups.json()).items) == len(wanted)
    assert ManyOut.model_validate(answer.json()).count == len(wanted)
    after = states()
    assert {run.public_id for run in made.values() if after[run.public_id] == "discarded"} == wanted


def test_list_is_paged_newest_first_with_what_they_died_of(client: Client) -> None:
    made = [letter() for _ in range(5)]

    first = DeadLetterPage.model_validate(get(client, "/dead-letters?limit=3").json())
    second = DeadLetterPage.model_validate(get(client, f"/dead-letters?limit=3&cursor={first.next_cursor}").json())

    assert [item.id for item in [*first.items, *second.items]] == [run.public_id for run in made[::-1]]
    assert second.next_cursor is None
    shown = first.items[0]
    assert (shown.error_type, shown.error_message, shown.reason, shown.attempt_count) == (
        "Declined", "no money", "all 3 attempts are used", 3
    )  # fmt: skip


def test_list_reads_no_values_and_its_queries_do_not_grow(client: Client) -> None:
    letter()
    headers = bearer("viewer")
    client.get("/api/v1/dead-letters", headers=headers)
    with CaptureQueriesContext(connection) as few:
        client.get("/api/v1/dead-letters", headers=headers)
    for _ in range(20):
        letter()

    with CaptureQueriesContext(connection) as many:
        client.get("/api/v1/dead-letters", headers=headers)

    assert len(many) == len(few)
    assert not any('"payload"' in query["sql"] for query in many)


def test_groups_are_the_largest_first(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        letter(error_type="Timeout")
    letter()
    letter("other")

    groups = DeadLetterGroupsOut.model_validate(get(client, "/dead-letters/groups").json())
    monkeypatch.setattr("apps.queues.dead_letters.selection.GROUPED_LIMIT", 2)
    cut = DeadLetterGroupsOut.model_validate(get(client, "/dead-letters/groups").json())

    assert [(group.task, group.error_type, group.count) for group in groups.items] == [
        ("noop", "Timeout", 3), ("noop", "Declined", 1), ("other", "Declined", 1)
    ]  # fmt: skip
    assert (groups.is_complete, cut.is_complete, sum(group.count for group in cut.items)) == (True, False, 2)
