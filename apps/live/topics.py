"""What pages can follow. A topic is all of a kind (`runs`) or one of it (`run:run_…`, `queue:default`).

A new kind is one line below and a publisher: whichever verb changes what pages of that kind show calls
`notify.announce`. A kind that nobody announces would look live and be stale.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import quote, unquote
from uuid import UUID

from apps.access.permissions import Action
from apps.storage.ids import parse_public_id, public_id

NAME_MAX_LENGTH = 128
"""Of a queue or a task, in characters: percent-encoded at most 1,536 bytes of a notification."""


class Topic(NamedTuple):
    """`key` is the id as notifications carry it; empty: everything of the kind."""

    kind: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class TopicKind:
    """`reading` is the action that a subscriber's role has to carry. With `id_prefix` the ids are UUIDs, shown as
    public ids; without it they are names, which may hold any character."""

    one: str
    all: str
    reading: Action
    id_prefix: str = ""

    @property
    def channel(self) -> str:
        """The Postgres channel that carries this kind's keys, separated by commas."""
        return f"trigger_{self.all}"

    def keys(self, identifiers: Iterable[UUID | str]) -> list[str]:
        """Plain ASCII without commas; raises UnicodeEncodeError for a name that no database holds (half a
        surrogate pair)."""
        texts = map(str, identifiers)
        return list(texts) if self.id_prefix else [quote(text, safe="") for text in texts]

    def shown(self, key: str) -> str:
        """The id as people and pages see it."""
        return public_id(self.id_prefix, UUID(key)) if self.id_prefix else unquote(key)

    def topic(self, identifier: UUID | str) -> Topic:
        return Topic(self.one, self.keys([identifier])[0])

    def parse(self, identifier: str) -> Topic | None:
        """The topic that a subscriber names by a shown id; None where there can be no such thing."""
        if self.id_prefix:
            found = parse_public_id(self.id_prefix, identifier)
            return None if found is None else self.topic(found)
        if not 0 < len(identifier) <= NAME_MAX_LENGTH:
            return None
        try:
            return self.topic(identifier)
        except UnicodeEncodeError:
            return None


TOPIC_KINDS: Final[dict[str, TopicKind]] = {}
"""By the word for one of them."""


def _known(kind: TopicKind) -> TopicKind:
    return TOPIC_KINDS.setdefault(kind.one, kind)


RUNS = _known(TopicKind("run", "runs", Action.RUNS_READ, id_prefix="run"))
QUEUES = _known(TopicKind("queue", "queues", Action.QUEUES_READ))
TASKS = _known(TopicKind("task", "tasks", Action.TASKS_READ))
WORKERS = _known(TopicKind("worker", "workers", Action.RUNS_READ, id_prefix="wrk"))

_EVERYTHING = {kind.all: Topic(kind.one) for kind in TOPIC_KINDS.values()}


def parse_topic(text: str) -> Topic | None:
    """The topic that a subscriber names; None where there is none of that name."""
    word, colon, identifier = text.partition(":")
    if not colon:
        return _EVERYTHING.get(word)
    return TOPIC_KINDS[word].parse(identifier) if word in TOPIC_KINDS else None
