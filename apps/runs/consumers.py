"""The dashboard's socket: says which topics changed, never what they hold. Pages refetch their own fragments.

A client sends `{"subscribe": [topic…]}` or `{"unsubscribe": [topic…]}` with the topics `runs` and `run:<public id>`.
It receives `{topic, id, version}`, `{"resync": true}` after a gap, `{"subscribed": topic}` and `{"refused": topic}`.
"""

import asyncio
from typing import Any
from uuid import UUID

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth import get_user_model

from apps.access.permissions import Action, Actor, is_allowed
from apps.runs.hub import ALL_RUNS, Change, Subscription, hub, topic_of
from apps.runs.ids import parse_public_id, public_id

NOT_SIGNED_IN = 4401
TOO_MANY_TOPICS = 4429
TOPICS_LIMIT = 20
COALESCE_SECONDS = 0.05
"""Changes that come within this time leave as one group."""

ALL_RUNS_TOPIC = "runs"


class DashboardConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc]
    """One per socket; it holds one subscription of the process's hub and one task that sends."""

    topics: dict[str, str]
    """The topics by the run id that the hub knows."""

    async def connect(self) -> None:
        self.topics = {}
        self.sender: asyncio.Task[None] | None = None
        self.subscription = Subscription()
        if not self.scope["user"].is_authenticated:
            # Accepted first: a browser cannot read the reason of a refused handshake.
            await self.accept()
            await self.close(NOT_SIGNED_IN)
            return
        await self.accept()
        self.sender = asyncio.create_task(self._send_forever(), name="dashboard-sender")

    async def disconnect(self, code: int) -> None:
        hub().remove(self.subscription, self.topics)
        if self.sender is not None:
            self.sender.cancel()
            await asyncio.gather(self.sender, return_exceptions=True)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        if text_data:  # an empty or a binary frame asks for nothing
            await super().receive(text_data, bytes_data, **kwargs)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if self.sender is None or not isinstance(content, dict):
            return
        for topic in _texts(content.get("unsubscribe")):
            self._unsubscribe(topic)
        wanted = _texts(content.get("subscribe"))
        if len(self.topics) + len(wanted) > TOPICS_LIMIT:
            await self.close(TOO_MANY_TOPICS)
            return
        for topic in wanted:
            await self._subscribe(topic)

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        try:
            return await super().decode_json(text_data)
        except (ValueError, RecursionError):
            return None  # what is not JSON asks for nothing

    async def _subscribe(self, topic: str) -> None:
        run_id = _run_id(topic)
        if run_id is None or not await self._may_read():
            await self.send_json({"refused": topic})
            return
        self.topics[run_id] = topic
        hub().add(self.subscription, [run_id])
        await self.send_json({"subscribed": topic})

    def _unsubscribe(self, topic: str) -> None:
        run_id = _run_id(topic)
        if run_id is not None and run_id in self.topics:
            del self.topics[run_id]
            hub().remove(self.subscription, [run_id])

    @database_sync_to_async  # type: ignore[untyped-decorator]
    def _may_read(self) -> bool:
        """Asked of the database each time, so that a role taken away counts for a socket that stays open."""
        user = get_user_model().objects.filter(pk=self.scope["user"].pk).first()
        return user is not None and is_allowed(Actor.of_user(user), Action.RUNS_READ)

    async def _send_forever(self) -> None:
        while await self.subscription.wait():
            await asyncio.sleep(COALESCE_SECONDS)
            for change in self.subscription.take():
                for message in self._messages(change):
                    await self.send_json(message)

    def _messages(self, change: Change) -> list[dict[str, Any]]:
        if change.is_resync:
            return [{"resync": True, "version": change.version}]
        topics = [self.topics[key] for key in (ALL_RUNS, change.run_id) if key in self.topics]
        shown = public_id("run", UUID(change.run_id))
        return [{"topic": topic, "id": shown, "version": change.version} for topic in topics]


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _run_id(topic: str) -> str | None:
    """The hub's name of a topic; None where there is no such topic."""
    if topic == ALL_RUNS_TOPIC:
        return ALL_RUNS
    kind, _, identifier = topic.partition(":")
    run_id = parse_public_id("run", identifier) if kind == "run" else None
    return topic_of(run_id) if run_id else None
