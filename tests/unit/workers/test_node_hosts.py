"""The node's side of a host's socket: who may connect, and what a connection may say."""

import asyncio
from pathlib import Path

import pytest
from trigger_sdk.wire import PROTOCOL_VERSION, encode_frame

from apps.workers.node.hosts.connection import FIRST_FRAME_MAX_BYTES
from apps.workers.node.hosts.host import Host, HostError
from apps.workers.node.hosts.strangers import STRANGERS_MAX
from tests.unit.workers.host_peers import PEERS, Listener, Peer, a_host, agent_of, connect, ticket_of


@pytest.mark.asyncio
async def test_agent_is_welcomed_with_a_secret_and_becomes_ready(tmp_path: Path) -> None:
    async with a_host(tmp_path) as host:
        agent = await agent_of(tmp_path)
        welcome = await agent.receive()
        agent.send("ready", can_fork=False)
        await host.wait_ready(10)

        assert welcome is not None
        assert (welcome.type, welcome.header["variables"]) == ("welcome", {"SECRET": "value"})
        assert len(welcome.header["secret"]) == 64
        assert (host.is_alive, host.can_fork) == (True, False)
        agent.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", [PROTOCOL_VERSION, "9.0"])
async def test_second_control_connection_is_refused_and_harms_nobody(tmp_path: Path, protocol: str) -> None:
    """A task's process can reach the socket, too."""
    async with a_host(tmp_path) as host:
        agent = await agent_of(tmp_path)
        await agent.receive()
        listener = Listener()
        host.run("run_1", None, listener)
        intruder = await connect(tmp_path)

        intruder.send("hello", protocol=protocol)

        assert await intruder.receive() is None
        assert (host.is_alive, host.run_count, listener.end.done()) == (True, 1, False)
        agent.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("secret", ["", "wrong", "\ud800", None])
async def test_agent_that_comes_back_needs_its_secret(tmp_path: Path, secret: str | None) -> None:
    async with a_host(tmp_path) as host:
        agent = await agent_of(tmp_path)
        welcome = await agent.receive()
        assert welcome is not None
        agent.close()
        while host.is_alive:
            await asyncio.sleep(0)

        stranger = await agent_of(tmp_path, secret=secret)
        assert await stranger.receive() is None
        back = await agent_of(tmp_path, secret=welcome.header["secret"])

        answer = await back.receive()
        assert answer is not None
        assert answer.type == "welcome"
        back.close()


@pytest.mark.asyncio
async def test_agent_of_another_protocol_fails_with_a_reason(tmp_path: Path) -> None:
    async with a_host(tmp_path) as host:
        agent = await connect(tmp_path)
        agent.send("hello", protocol="9.0")

        assert await agent.receive() is None
        with pytest.raises(HostError, match=r"protocol '9\.0'"):
            await host.wait_ready(10)


@pytest.mark.asyncio
async def test_ticket_is_good_once_and_only_if_it_was_given(tmp_path: Path) -> None:
    async with a_host(tmp_path) as host:
        agent = await agent_of(tmp_path)
        await agent.receive()
        listener = Listener()
        host.run("run_1", None, listener)
        ticket = await ticket_of(agent)

        stranger = await connect(tmp_path)
        stranger.send("ticket", ticket="0" * 64)
        refused = await stranger.receive()
        child = await connect(tmp_path)
        child.send("ticket", ticket=ticket)
        accepted = await child.receive()
        thief = await connect(tmp_path)
        thief.send("ticket", ticket=ticket)

        assert refused is None
        assert accepted is not None
        assert accepted.type == "go"
        assert await thief.receive() is None
        assert len(listener.children) == 1
        child.close()
        agent.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "first", [b"\x00" * 64, b"\xff" * 64, b"GET / HTTP/1.1\r\n\r\n", encode_frame("checkpoint")], ids=repr
)
async def test_other_first_words_are_refused(tmp_path: Path, first: bytes) -> None:
    async with a_host(tmp_path):
        peer = await connect(tmp_path)
        peer._writer.write(first)

        assert await peer.receive() is None


@pytest.mark.asyncio
async def test_frames_sent_before_death_are_read_before_the_end(tmp_path: Path) -> None:
    async with a_host(tmp_path) as host:
        agent = await agent_of(tmp_path)
        await agent.receive()
        listener = Listener()
        host.run("run_1", None, listener)
        ticket = await ticket_of(agent)
        child = await connect(tmp_path)
        child.send("ticket", ticket=ticket)
        await child.receive()

        for number in range(100):
            child.send("log", message=str(number))
        agent.send("exited", ticket=ticket, exit_code=None, signal=9)
        child.close()
        end = await asyncio.wait_for(listener.end, 60)

        assert (end.signal, len(listener.frames)) == (9, 100)
        agent.close()


@pytest.mark.asyncio
async def test_runs_end_with_their_agent(tmp_path: Path) -> None:
    async with a_host(tmp_path) as host:
        agent = await agent_of(tmp_path)
        await agent.receive()
        listener = Listener()
        host.run("run_1", None, listener)

        agent.close()

        end = await asyncio.wait_for(listener.end, 60)
        assert (end.exit_code, end.signal) == (None, None)
        assert end.note
        with pytest.raises(HostError):
            host.run("run_2", None, Listener())


@pytest.mark.asyncio
async def test_nameless_connections_are_few_and_a_run_still_gets_through(tmp_path: Path) -> None:
    """A task's process reaches the socket, and each connection is a descriptor of the worker."""
    async with a_host(tmp_path) as host:
        agent = await agent_of(tmp_path)
        await agent.receive()
        host.run("run_1", None, Listener())
        ticket = await ticket_of(agent)

        peers = [await connect(tmp_path) for _ in range(STRANGERS_MAX * 3)]
        async with asyncio.timeout(10):
            while len(host._strangers) != STRANGERS_MAX + 1 or not await is_closed(peers[-1]):
                await asyncio.sleep(0)
        peers[0].close()
        async with asyncio.timeout(10):
            while len(host._strangers) > STRANGERS_MAX:
                await asyncio.sleep(0)
        child = await connect(tmp_path)
        child.send("ticket", ticket=ticket)

        answer = await child.receive()
        assert answer is not None
        assert answer.type == "go"


async def is_closed(peer: Peer) -> bool:
    try:
        return await peer.receive() is None
    except ConnectionError:
        return True


@pytest.mark.asyncio
async def test_first_frame_is_short(tmp_path: Path) -> None:
    async with a_host(tmp_path):
        peer = await connect(tmp_path)
        frame = encode_frame("ticket", b"x" * (FIRST_FRAME_MAX_BYTES * 2), ticket="t")

        peer._writer.write(frame[: FIRST_FRAME_MAX_BYTES + 1000])

        assert await is_closed(peer)


@pytest.mark.asyncio
async def test_child_that_does_not_read_is_read_no_further(tmp_path: Path) -> None:
    """What it asks for would pile up in the worker's memory as answers."""
    async with a_host(tmp_path) as host:
        agent = await agent_of(tmp_path)
        await agent.receive()
        listener = Listener()
        host.run("run_1", None, listener)
        ticket = await ticket_of(agent)
        child = await connect(tmp_path)
        child.send("ticket", ticket=ticket)
        assert await child.receive() is not None

        child._reader._transport.pause_reading()  # type: ignore[attr-defined]
        listener.children[0].send("saved", b"x" * 2_000_000)
        child.send("log", message="not read yet")
        for _ in range(100):
            await asyncio.sleep(0)
        held = list(listener.frames)
        child._reader._transport.resume_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(10):
            while not listener.frames:
                await child.receive()

        assert held == []
        assert listener.frames[0].header["message"] == "not read yet"


@pytest.mark.asyncio
async def test_reason_why_no_process_could_be_started_is_passed_on(tmp_path: Path) -> None:
    async with a_host(tmp_path) as host:
        agent = await agent_of(tmp_path)
        await agent.receive()
        listener = Listener()
        host.run("run_1", None, listener)

        agent.send("exited", ticket=await ticket_of(agent), exit_code=None, signal=None, reason="no more processes")

        end = await asyncio.wait_for(listener.end, 60)
        assert (end.is_unstarted, end.note) == (True, "no more processes")


class PatientHost(Host):
    """As a container's: a lost agent may come back before anybody decides that it is gone."""

    def lose_agent(self) -> None:
        self._control = None


@pytest.mark.asyncio
async def test_stop_that_was_asked_for_in_a_gap_reaches_the_agent(tmp_path: Path) -> None:
    host = PatientHost(tmp_path, isolation="none")
    await host.listen()
    agent = await agent_of(tmp_path)
    welcome = await agent.receive()
    assert welcome is not None
    host.run("run_1", None, Listener())
    ticket = await ticket_of(agent)
    agent.close()
    async with asyncio.timeout(10):
        while host.is_alive:
            await asyncio.sleep(0)

    host.stop(ticket, "canceled", 10.0)
    back = await agent_of(tmp_path, secret=welcome.header["secret"])
    frames = [await back.receive(), await back.receive()]
    host.close()

    assert [frame.type for frame in frames if frame] == ["welcome", "stop"]
    assert frames[1] is not None
    assert frames[1].header == {"ticket": ticket, "reason": "canceled", "grace_seconds": 10.0}
    while PEERS:
        await PEERS.pop().closed()
