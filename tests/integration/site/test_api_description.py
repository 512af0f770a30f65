"""The API against its own description: generated requests, right and wrong ones, on a real server (schemathesis).

Every answer must be one that the description names, in the form that it gives; none may be a failure of the server. The
seed is printed; the same seed asks the same.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.failures import FailureGroup

from tests.factories import bearer, make_attempt, make_checkpoint, make_log_line, make_run, make_task
from tests.live_server import LiveServer, running_server

pytestmark = pytest.mark.django_db(transaction=True)

SEED = 20261128
CASES = 500
CASES_OF_A_PROOF = 20_000
STATES = ("pending", "delayed", "running", "retrying", "completed", "dead_letter", "canceled")
load_all_checks()
CHECKS = [
    schemathesis.checks.CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    )
]


@dataclass
class Exploration:
    """What was asked and what came of it."""

    count: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def report(self) -> str:
        shown = "\n\n".join(self.failures[:10])
        return f"seed {SEED}: {self.count:,} cases, {dict(sorted(self.statuses.items()))}\n{shown}"


@pytest.fixture
def server() -> Iterator[LiveServer]:
    with running_server(bearer("admin")) as live:
        yield live


def known_values() -> dict[str, list[str]]:
    """Rows of every kind, and the names by which addresses reach them."""
    task = make_task(resume_points=[{"key": "order-fetched", "names": ["order"], "restores": [], "line": 3}])
    runs = [make_run(task, state=state, tags=["a"]) for state in STATES for _ in range(3)]
    for run in runs:
        make_attempt(run, outcome="failed", error={"type": "E", "message": "m", "stack": "s"})
        make_checkpoint(run, "order-fetched", binds=["order"])
        make_log_line(run, fields={"n": 1})
    return {
        "run_id": [run.public_id for run in runs],
        "task": [task.id],
        "name": [task.id],
        "key": ["order-fetched"],
        "cursor": [],
        "after": [],
    }


def explore(server: LiveServer, case_count: int) -> Exploration:
    """At least that many requests, spread evenly over the operations and over right and wrong ones."""
    known = known_values()
    document = server.call("GET", "/api/v1/openapi.json").json()
    for methods in document["paths"].values():
        for described in methods.values():
            del described["security"]  # it would be asked without the key, again and again
    schema = schemathesis.openapi.from_dict(document)
    operations = [found.ok() for found in schema.get_all_operations()]
    found = Exploration()
    turn = 0
    while found.count < case_count:
        turn += 1
        share = max(10, (case_count - found.count) // len(operations) + 1)
        for place, operation in enumerate(operations):
            _explore_operation(server, operation, known, found, share, SEED + 1_000 * turn + place)
    return found


def _explore_operation(
    server: LiveServer, operation: Any, known: dict[str, list[str]], found: Exploration, share: int, number: int
) -> None:
    right = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    wrong = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    has_input = operation.body or operation.query or operation.path_parameters

    @seed(number)
    @settings(
        max_examples=share,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=right | wrong if has_input else right, place=st.integers(0, 10**6), is_known=st.integers(0, 3))
    def ask(case: Any, place: int, is_known: int) -> None:
        for part in (case.path_parameters or {}, case.query or {}):
            for name in part:
                if known.get(name) and is_known:  # most at rows that are there: the others end at the first look
                    part[name] = known[name][place % len(known[name])]
        if isinstance((case.query or {}).get("wait_seconds"), (int, float)):
            case.query["wait_seconds"] = min(0.01, case.query["wait_seconds"])
        _name_known_rows(case.body, known, place)
        answer = _ask(server, case, found)
        known["cursor"] += [text for text in (answer.get("next_cursor"), answer.get("next")) if text]
        known["after"] = known["cursor"]

    ask()


def _name_known_rows(body: Any, known: dict[str, list[str]], place: int) -> None:
    """In bodies of the right form: tasks, ids and cursors that are there, of any list."""
    if not isinstance(body, dict) or place % 4 == 0:
        return
    for item in body["items"] if isinstance(body.get("items"), list) else []:
        if isinstance(item, dict) and isinstance(item.get("task"), str):
            item["task"] = known["task"][0]
    if isinstance(body.get("ids"), list) and body["ids"]:
        body["ids"][0] = known["run_id"][place % len(known["run_id"])]
    if isinstance(body.get("cursor"), str) and known["cursor"]:
        body["cursor"] = known["cursor"][place % len(known["cursor"])]
    if "from_checkpoint" in body and isinstance(body["from_checkpoint"], str):
        body["from_checkpoint"] = known["key"][0]


def _ask(server: LiveServer, case: Any, found: Exploration) -> dict[str, Any]:
    """What the answer's object holds; empty for other answers."""
    response = case.call(base_url=server.url, headers=server.headers, timeout=30)
    found.count += 1
    found.statuses[response.status_code] += 1
    try:
        case.validate_response(response, checks=CHECKS)
    except FailureGroup as group:
        reasons = "\n".join(str(failure) for failure in group.exceptions)
        found.failures.append(f"{case.method} {response.request.url}\n{reasons}\n{response.content[:500]!r}")
    answer = response.json() if response.status_code == 200 else {}
    return answer if isinstance(answer, dict) else {}


def test_generated_requests_get_the_answers_that_are_described(server: LiveServer) -> None:
    found = explore(server, CASES)

    print(found.report())
    assert found.count >= CASES
    assert not found.failures, found.report()
    assert not [status for status in found.statuses if status >= 500], found.report()
    # An explorer whose requests are all refused proves nothing.
    assert sum(found.statuses[status] for status in (200, 201)) >= found.count / 10, found.report()


def test_a_planted_failure_is_found(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.runs.api.runs.run_row", lambda run: {"id": run.public_id})

    found = explore(server, 100)

    assert any("Response violates schema" in failure for failure in found.failures), found.report()


@pytest.mark.long
def test_twenty_thousand_generated_requests_meet_no_failure(server: LiveServer) -> None:
    found = explore(server, CASES_OF_A_PROOF)

    print(found.report())
    assert found.count >= CASES_OF_A_PROOF
    assert not found.failures, found.report()
    assert not [status for status in found.statuses if status >= 500], found.report()
