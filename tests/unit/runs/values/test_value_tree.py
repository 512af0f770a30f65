import json

import pytest

from apps.runs.values.tree import (
    CHILDREN_SHOWN,
    NODES_SHOWN,
    Node,
    PathInvalid,
    branch,
    excerpt,
    full_text,
    parse,
    tree,
)


def nodes(node: Node) -> list[Node]:
    return [node, *(one for child in node.children for one in nodes(child))]


def leaf(text: str) -> Node:
    return tree(parse(text)).children[0]


@pytest.mark.parametrize(
    "number", ["1180591620717411303424", "1e16", "-0.0", "10.10", "0.1", "1E-400", "9" * 5000, "12345678901234567.8"]
)
def test_numbers_keep_their_digits(number: str) -> None:
    found = full_text(parse(f"[{number}]"), "0")

    assert found == number


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ('{"$type":"decimal","value":"10.10"}', "Decimal", "10.10"),
        ('{"$type":"uuid","value":"0b0c"}', "UUID", "0b0c"),
        ('{"$type":"date","value":"2026-03-01"}', "date", "2026-03-01"),
        (
            '{"$type":"datetime","value":"2026-03-01T12:00:00+01:00","zone":"Europe/Berlin"}',
            "datetime",
            "2026-03-01T12:00:00+01:00 Europe/Berlin",
        ),
        ('{"$type":"tuple","value":[1]}', "tuple", "1 item"),
        ('{"$type":"set","value":[1,2]}', "set", "2 items"),
        ('{"$type":"frozenset","value":[1,2]}', "frozenset", "2 items"),
        ('{"$type":"deque","value":[1],"maxlen":3}', "deque", "1 item"),
        ('{"$type":"path","value":"a/b"}', "Path", "a/b"),
        ('{"$type":"windows_path","value":"a"}', "PureWindowsPath", "a"),
        ('{"$type":"float","value":"nan"}', "float", "nan"),
        ('{"$type":"shop.Money","value":["10.10","EUR"]}', "shop.Money", "2 items"),
        ('{"$type":"numpy.float64","value":1.5}', "numpy.float64", "1.5"),
        ('{"$type":"numpy.array","value":{"dtype":"<f8","shape":[0],"data":""}}', "numpy.array", "3 entries"),
        ('{"$type":"shop.Money","other":1}', "dict", "2 entries"),
        ('{"$type":"dict","value":{"$type":1}}', "dict", "1 entry"),
        ('{"$type":"unknown","value":1}', "dict", "2 entries"),
        ("true", "bool", "True"),
        ("null", "None", "None"),
        ('"a\\u0000b"', "str", '"a\\u0000b"'),
    ],
)
def test_values_are_shown_as_the_code_sees_them(text: str, kind: str, shown: str) -> None:
    found = leaf(f"[{text}]")

    assert (found.kind, found.text) == (kind, shown)


def test_what_stores_a_registered_type_can_be_opened() -> None:
    value = parse('[{"$type":"shop.Money","value":{"cents":1010,"note":"a"}}]')

    assert [child.text for child in branch(value, "0", 0).children] == ["1010", '"a"']
    assert full_text(value, "0.1") == '"a"'


def test_duplicate_keys_are_both_shown() -> None:
    assert [child.label for child in tree(parse('{"a":1,"a":2}')).children] == ["a", "a"]


def test_lone_surrogates_can_be_encoded() -> None:
    found = leaf('["\\ud800"]')

    assert found.text.encode() == b'"\\ud800"'


def test_large_value_is_bounded_and_says_what_is_left() -> None:
    root = tree(parse(json.dumps({f"key-{n}": list(range(100)) for n in range(1000)})))

    assert len(nodes(root)) <= NODES_SHOWN
    assert root.next_offset == CHILDREN_SHOWN
    assert any(node.is_lazy for node in root.children)


def test_branch_pages_through_children() -> None:
    value = parse(json.dumps({"items": list(range(120))}))

    found = branch(value, "0", 100)

    assert [child.text for child in found.children] == [str(n) for n in range(100, 120)]
    assert found.children[0].path == "0.100"


@pytest.mark.parametrize("path", ["1", "0.0.0", "-1", "x", "0.999999999999", "²"])
def test_path_that_leads_nowhere_is_refused(path: str) -> None:
    with pytest.raises(PathInvalid):
        branch(parse('{"a":[1]}'), path, 0)


def test_long_text_is_cut_in_the_tree_and_whole_on_demand() -> None:
    value = parse(json.dumps({"text": "x" * 5000}))

    assert tree(value).children[0].is_cut
    assert full_text(value, "0") == json.dumps("x" * 5000)


@pytest.mark.parametrize(
    ("text", "is_cut", "shown"),
    [
        ('{"order_id":"A1","amount":3}', False, 'order_id="A1" amount=3'),
        ('{"order_id":"A', True, '{"order_id":"A'),
        ("[1,2]", False, "[1,2]"),
        ("{}", False, ""),
    ],
)
def test_excerpt(text: str, is_cut: bool, shown: str) -> None:
    assert excerpt(text, is_cut=is_cut) == shown
