"""The dashboard's socket: says which topics changed, never what they hold. Pages refetch their own fragments.

A client sends `{"subscribe": [topic…]}` or `{"unsubscribe": [topic…]}` with the topics `runs` and `run:<public id>`.
It receives `{topic, id, version}`, `{"resync": true}` after a gap, `{"subscribed": topic}` and `{"refused": topic}`.
The socket ends with its session (4401), and where it has topics with the role that reads them (4403).
"""

import asyncio
from typing import Any
from uuid import UUID

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from apps.access.permissions import Action, is_allowed
from apps.live.hub import ALL_RUNS, Change, Subscription, hub, topic_of
from apps.live.socket_watch import NOT_SIGNED_IN, ask_standing, socket_watch
from apps.storage.ids import parse_public_id, public_id

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
        self.session_key = ""
        self.sender: asyncio.Task[None] | None = None
        self.subscription = Subscription()
        if not self.scope["user"].is_authenticated:
            # Accepted first: a browser cannot read the reason of a refused handshake.
            await self.accept()
            await self.close(NOT_SIGNED_IN)
            return
        await self.accept()
        self.session_key = self.scope["session"].session_key
        socket_watch().add(self)
        self.sender = asyncio.create_task(self._send_forever(), name="dashboard-sender")

    async def disconnect(self, code: int) -> None:
        await self._stop()

    async def end(self, code: int) -> None:
        """Closes the socket; nothing is sent after it."""
        if self.sender is not None:
            await self._stop()
            await self.close(code)

    async def _stop(self) -> None:
        socket_watch().remove(self)
        hub().remove(self.subscription, self.topics)
        sender, self.sender = self.sender, None
        if sender is not None:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

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
            await self.end(TOO_MANY_TOPICS)
            return
        if wanted:
            await self._subscribe(wanted)

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        try:
            return await super().decode_json(text_data)
        except (ValueError, RecursionError):
            return None  # what is not JSON asks for nothing

    async def _subscribe(self, topics: list[str]) -> None:
        """Asks the database each time, so that a role taken away counts for a socket that stays open."""
        actor = (await ask_standing({self.session_key})).get(self.session_key)
        if actor is None:
            await self.end(NOT_SIGNED_IN)
            return
        for topic in topics:
            if self.sender is None:  # ended meanwhile
                return
            run_id = _run_id(topic)
            if run_id is None or not is_allowed(actor, Action.RUNS_READ):
                await self.send_json({"refused": topic})
                continue
            self.topics[run_id] = topic
            hub().add(self.subscription, [run_id])
            await self.send_json({"subscribed": topic})

    def _unsubscribe(self, topic: str) -> None:
        run_id = _run_id(topic)
        if run_id is not None and run_id in self.topics:
            del self.topics[run_id]
            hub().remove(self.subscription, [run_id])

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
