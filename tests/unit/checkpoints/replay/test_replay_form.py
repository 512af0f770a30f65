from uuid import uuid4

import pytest
from django.http import QueryDict

from apps.checkpoints.replay.forms import FieldNote, TypedReplay, notes_of
from apps.checkpoints.replay.plan import UNCHANGED
from apps.http.errors import FieldError

RUN = uuid4()
KEYS = {0: "order-fetched", 1: "a.b", 2: "a"}
STORED = '{"order_id":"A1","big":18446744073709551617}'


def typed(**fields: str) -> TypedReplay:
    posted = QueryDict(mutable=True)
    posted.update({name.replace("_", "-") if name.startswith("data") else name: text for name, text in fields.items()})
    return TypedReplay.read(posted)


def test_empty_form_asks_for_the_whole_run_again() -> None:
    request, notes = typed().request(RUN, KEYS, STORED)

    assert (request.from_checkpoint, request.payload, request.checkpoint_data) == (None, UNCHANGED, {})
    assert (request.deployment, request.has_new_keys, notes) == ("original", False, {})


def test_untouched_payload_is_no_edit_whatever_its_spaces() -> None:
    request, _ = typed(payload='{\r\n  "big": 18446744073709551617,\r\n "order_id": "A1"}').request(RUN, KEYS, STORED)

    assert request.payload is UNCHANGED


def test_edited_payload_keeps_big_integers() -> None:
    request, notes = typed(payload='{"order_id":"A1","big":18446744073709551618}').request(RUN, KEYS, STORED)

    assert request.payload == {"order_id": "A1", "big": 18446744073709551618}
    assert notes == {}


def test_text_that_is_no_json_names_line_and_column_and_is_left_out() -> None:
    request, notes = typed(payload='{"a": 1,\r\n  oops}', data_0="[1,]").request(RUN, KEYS, STORED)

    assert request.payload is UNCHANGED
    assert request.checkpoint_data == {}
    assert [(note.line, note.column) for note in notes["payload"]] == [(2, 3)]
    assert [(note.line, note.column) for note in notes["data-0"]] == [(1, 4)]


def test_json_that_cannot_be_stored_names_the_path() -> None:
    _, notes = typed(payload='{"a":{"b":1,"b":2}}', data_0='{"x":["\\u0000"]}').request(RUN, KEYS, STORED)

    assert notes["payload"] == [FieldNote("the key 'b' appears here twice", where="a")]
    assert notes["data-0"][0].where == "x[0]"


def test_data_is_sent_by_key_and_line_breaks_of_keys_survive() -> None:
    request, _ = typed(data_1="7", from_checkpoint="two\r\nlines").request(RUN, KEYS, STORED)

    assert request.checkpoint_data == {"a.b": 7}
    assert request.from_checkpoint == "two\nlines"


@pytest.mark.parametrize("name", ["data-99", "data-x", "data-", "data--1", "data-123456789012"])
def test_places_that_are_not_there_are_refused_or_left_out(name: str) -> None:
    posted = QueryDict(mutable=True)
    posted[name] = "1"

    request, notes = TypedReplay.read(posted).request(RUN, KEYS, STORED)

    assert request.checkpoint_data == {}
    assert bool(notes) == (name == "data-99")


def test_refusals_go_to_the_fields_that_they_belong_to() -> None:
    errors = [
        FieldError("payload.items[2].price", "7 is not a string"),
        FieldError("payload.order_id", "payload.order_id is restored from 'order-fetched', edit it there"),
        FieldError("deployment", "has no checkpoint"),
        FieldError("checkpoint_data.order-fetched", "is missing"),
        FieldError("checkpoint_data.a.b.c", "longest key wins"),
        FieldError("checkpoint_data.unknown.x", "is no checkpoint of this run"),
    ]

    notes = notes_of(errors, {key: index for index, key in KEYS.items()})

    assert notes["payload"] == [
        FieldNote("7 is not a string", where="items[2].price"),
        FieldNote("payload.order_id is restored from 'order-fetched', edit it there"),
    ]
    assert notes["deployment"] == [FieldNote("has no checkpoint")]
    assert notes["data-0"] == [FieldNote("is missing")]
    assert notes["data-1"] == [FieldNote("longest key wins", where="c")]
    assert notes[""] == [FieldNote("is no checkpoint of this run", where="checkpoint_data.unknown.x")]
