"""Closing one dead letter: it keeps its end and gets a note."""

from typing import Any

import pytest
from django.test import Client

from apps.access.models import AuditEntry
from apps.access.permissions import Actor
from apps.queues.dead_letters.filters import DEAD_LETTER_FILTERS
from apps.queues.dead_letters.many import Selection, discard_many
from apps.queues.dead_letters.one import discard
from apps.queues.errors import NoteInvalid
from apps.runs.errors import IllegalMove, RunNotFound
from apps.runs.models import Run
from apps.runs.shown.run import RunOut
from apps.runs.states import RunState
from apps.storage.ids import uuid7
from tests.factories import make_run
from tests.integration.queues.letters import letter, post, states

pytestmark = pytest.mark.django_db

ACTOR = Actor("olga", frozenset())
OTHER_STATES = [state for state in RunState if state is not RunState.DEAD_LETTER]


def everything(**filters: Any) -> Selection:
    return Selection(chosen=DEAD_LETTER_FILTERS.of(**filters))


def test_discarded_run_keeps_its_end_and_its_note() -> None:
    run = letter()

    found = discard(run_id=run.id, note="  customer was refunded \n")

    stored = Run.objects.select_related("value").get(pk=run.pk)
    assert (found.state, stored.state, stored.version) == ("discarded", "discarded", run.version + 1)
    assert (stored.finished_at, stored.value.note) == (run.finished_at, "customer was refunded")
    assert stored.value.error["type"] == "Declined"


@pytest.mark.parametrize("state", OTHER_STATES)
def test_only_a_dead_letter_may_be_discarded(state: RunState) -> None:
    run = make_run(state=state)

    with pytest.raises(IllegalMove, match="cannot be discarded, only a dead letter") as caught:
        discard(run_id=run.id, note="x")

    assert caught.value.state == state
    assert Run.objects.select_related("value").get(pk=run.pk).value.note == ""


def test_unknown_run_is_not_discarded() -> None:
    with pytest.raises(RunNotFound):
        discard(run_id=uuid7(), note="x")


@pytest.mark.parametrize(
    ("note", "message"), [("", "say why"), (" \n", "say why"), ("x" * 2001, "2,000"), ("a\0", "NUL")]
)
def test_note_that_is_none_or_too_long_is_refused(note: str, message: str) -> None:
    run = letter()

    for call in (lambda: discard(run_id=run.id, note=note), lambda: discard_many(everything(), note=note, actor=ACTOR)):
        with pytest.raises(NoteInvalid, match=message):
            call()
    assert states() == {run.public_id: "dead_letter"}


def test_discard_over_http_is_shown_with_its_note_and_audited(client: Client) -> None:
    run = letter()

    answer = post(client, f"/runs/{run.public_id}/discard", {"note": "refunded"})

    assert answer.status_code == 200, answer.content
    shown = RunOut.model_validate(answer.json())
    assert (shown.state, shown.note) == ("discarded", "refunded")
    entry = AuditEntry.objects.get(action="runs.discard")
    assert (entry.subject, entry.details) == (run.public_id, {"note": "refunded"})
