import json

import pytest

from apps.runs.values.text import pretty, pretty_entries
from apps.runs.values.tree import parse


@pytest.mark.parametrize(
    "text",
    [
        '{"z":1e16,"a":-0.0,"big":18446744073709551617,"f":10.10}',
        "[]",
        '{"a":{},"b":[[],[1]]}',
        '"é\\n\\u0001"',
        "null",
    ],
)
def test_text_reads_back_as_the_same_value_in_the_same_order(text: str) -> None:
    shown = pretty(parse(text))

    assert json.dumps(json.loads(shown)) == json.dumps(json.loads(text))
    assert parse(shown) == parse(text)


def test_digits_stay_as_they_are_stored() -> None:
    assert pretty(parse('{"b":1e16,"a":10.10}')) == '{\n  "b": 1e16,\n  "a": 10.10\n}'


def test_nested_values_are_indented_and_empty_ones_are_not() -> None:
    assert pretty(parse('{"a":[1,{"b":[]}]}')) == '{\n  "a": [\n    1,\n    {\n      "b": []\n    }\n  ]\n}'


def test_carried_values_follow_the_data_and_do_not_hide_it() -> None:
    text = pretty_entries('{"payment":1}', '{"payment":2,"order":{"paid":true}}')

    assert json.loads(text) == {"payment": 1, "order": {"paid": True}}
    assert list(json.loads(text)) == ["payment", "order"]


def test_carried_values_join_entries_that_the_codec_wrapped() -> None:
    text = pretty_entries('{"$type":"dict","value":{"$type":"x"}}', '{"order":1}')

    assert json.loads(text) == {"$type": "dict", "value": {"$type": "x", "order": 1}}
