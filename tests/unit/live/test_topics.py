"""The grammar of topics, and how their ids travel."""

from uuid import UUID

import pytest

from apps.live.topics import NAME_MAX_LENGTH, QUEUES, RUNS, TASKS, TOPIC_KINDS, WORKERS, Topic, TopicKind, parse_topic
from apps.storage.ids import public_id

ODD_NAMES = ["default", "a,b", "a:b", "mail, bulk: 100 %", "größe", "優先", "🚀", " ", "\x00", "%2C", "*", "/", "\n"]
ID = UUID("018f0000-0000-7000-8000-000000000001")


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("runs", Topic("run")),
        ("queues", Topic("queue")),
        ("tasks", Topic("task")),
        ("workers", Topic("worker")),
        (f"run:{public_id('run', ID)}", Topic("run", str(ID))),
        (f"worker:{public_id('wrk', ID)}", Topic("worker", str(ID))),
        ("queue:default", Topic("queue", "default")),
        ("queue:a,b: c", Topic("queue", "a%2Cb%3A%20c")),
        ("task:process-order", Topic("task", "process-order")),
    ],
)
def test_topic_is_all_of_a_kind_or_one_of_it(text: str, topic: Topic) -> None:
    assert parse_topic(text) == topic


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "run", "queue", "runs2", "Runs", "runs:", "runs:default", "run:", "run:nonsense", "queue:", "task:",
        "queues:default", f"run:{ID}", f"run:{public_id('wrk', ID)}", f"worker:{public_id('run', ID)}",
        "queue:" + "x" * (NAME_MAX_LENGTH + 1), "queue:\ud800", "schedules", "finding:1", "*", "run:*",
    ],
)  # fmt: skip
def test_nothing_else_is_a_topic(text: str) -> None:
    assert parse_topic(text) is None


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("kind", [QUEUES, TASKS])
def test_a_name_of_any_characters_travels_as_ascii_without_commas(kind: TopicKind, name: str) -> None:
    key = kind.topic(name).key

    assert key.isascii()
    assert "," not in key
    assert kind.shown(key) == name
    assert parse_topic(f"{kind.one}:{name}") == kind.topic(name)


def test_names_that_differ_have_keys_that_differ() -> None:
    assert len({QUEUES.topic(name).key for name in ODD_NAMES}) == len(ODD_NAMES)


@pytest.mark.parametrize(("kind", "prefix"), [(RUNS, "run"), (WORKERS, "wrk")])
def test_ids_are_shown_as_public_ids(kind: TopicKind, prefix: str) -> None:
    assert kind.shown(kind.topic(ID).key) == public_id(prefix, ID)


def test_kinds_share_no_word_and_no_channel() -> None:
    words = [word for kind in TOPIC_KINDS.values() for word in (kind.one, kind.all)]

    assert len(set(words)) == len(words)
    assert len({kind.channel for kind in TOPIC_KINDS.values()}) == len(TOPIC_KINDS)
