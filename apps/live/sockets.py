"""The dashboard's socket: says which topics changed, never what they hold. Pages refetch their own fragments.

A client sends `{"subscribe": [topic…]}` or `{"unsubscribe": [topic…]}`; the topics are those of `topics.py`. It
receives `{topic, id, version}`, `{"resync": true}` after a gap, `{"subscribed": topic}` and `{"refused": topic}`, and
every few seconds `{"beat": number, "listening": bool}`: while the process does not listen it hears of no change.
The socket ends with its session (4401), and where it has a topic with the role that reads it (4403).
"""

import asyncio
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from apps.access.permissions import is_allowed
from apps.live.beats import beats
from apps.live.hub import Change, Subscription, hub
from apps.live.socket_watch import NOT_SIGNED_IN, ask_standing, socket_watch
from apps.live.topics import TOPIC_KINDS, Topic, parse_topic

TOO_MANY_TOPICS = 4429
TOPICS_LIMIT = 20
COALESCE_SECONDS = 0.05
"""Changes that come within this time leave as one group."""


class DashboardConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc]
    """One per socket; it holds one subscription of the process's hub and one task that sends."""

    topics: dict[Topic, str]
    """Each with the subscriber's own word for it."""

    async def connect(self) -> None:
        self.topics = {}
        self.session_key = ""
        self.sender: asyncio.Task[None] | None = None
        self.subscription = Subscription()
        self.beat: dict[str, Any] | None = None
        if not self.scope["user"].is_authenticated:
            # Accepted first: a browser cannot read the reason of a refused handshake.
            await self.accept()
            await self.close(NOT_SIGNED_IN)
            return
        await self.accept()
        self.session_key = self.scope["session"].session_key
        socket_watch().add(self)
        self.sender = asyncio.create_task(self._send_forever(), name="dashboard-sender")
        beats().add(self)

    async def disconnect(self, code: int) -> None:
        await self._stop()

    async def end(self, code: int) -> None:
        """Closes the socket; nothing is sent after it."""
        if self.sender is not None:
            await self._stop()
            await self.close(code)

    def hear(self, beat: dict[str, Any]) -> None:
        self.beat = beat
        self.subscription.wake()

    async def _stop(self) -> None:
        beats().remove(self)
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
        for name in _texts(content.get("unsubscribe")):
            self._unsubscribe(name)
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

    async def _subscribe(self, names: list[str]) -> None:
        """Asks the database each time, so that a role taken away counts for a socket that stays open."""
        actor = (await ask_standing({self.session_key})).get(self.session_key)
        if actor is None:
            await self.end(NOT_SIGNED_IN)
            return
        for name in names:
            if self.sender is None:  # ended meanwhile
                return
            topic = parse_topic(name)
            if topic is None or not is_allowed(actor, TOPIC_KINDS[topic.kind].reading):
                await self.send_json({"refused": name})
                continue
            self.topics[topic] = name
            hub().add(self.subscription, [topic])
            await self.send_json({"subscribed": name})
        self.hear(beats().latest())

    def _unsubscribe(self, name: str) -> None:
        topic = parse_topic(name)
        if topic is not None and topic in self.topics:
            del self.topics[topic]
            hub().remove(self.subscription, [topic])

    async def _send_forever(self) -> None:
        while await self.subscription.wait():
            await asyncio.sleep(COALESCE_SECONDS)
            changes = self.subscription.take()
            beat, self.beat = self.beat, None
            for change in changes:
                for message in self._messages(change):
                    await self.send_json(message)
            if beat is not None:
                await self.send_json(beat)

    def _messages(self, change: Change) -> list[dict[str, Any]]:
        if change.topic is None:
            return [{"resync": True, "version": change.version}]
        kind = TOPIC_KINDS[change.topic.kind]
        names = [self.topics[topic] for topic in (Topic(kind.one), change.topic) if topic in self.topics]
        shown = kind.shown(change.topic.key)
        return [{"topic": name, "id": shown, "version": change.version} for name in names]


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
