import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trigger_sdk.wire import BODY_MAX_BYTES, HEADER_MAX_BYTES, Frame, FrameBuffer, FrameSocket, WireError, encode_frame

HEADERS = st.dictionaries(
    st.text(min_size=1).filter(lambda name: name not in ("type", "body")),
    st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()),
    max_size=4,
)
FRAMES = st.lists(st.tuples(st.text(), HEADERS, st.binary(max_size=300)), max_size=5)


@given(FRAMES, st.integers(1, 40))
def test_frames_survive_any_cutting_of_the_stream(
    frames: list[tuple[str, dict[str, object], bytes]], step: int
) -> None:
    stream = b"".join(encode_frame(kind, body, **header) for kind, header, body in frames)
    buffer = FrameBuffer()

    received = [frame for start in range(0, len(stream), step) for frame in buffer.feed(stream[start : start + step])]

    assert received == [Frame(kind, header, body) for kind, header, body in frames]


@pytest.mark.parametrize(
    "stream",
    [
        struct.pack("!II", HEADER_MAX_BYTES + 1, 0),
        struct.pack("!II", 2, BODY_MAX_BYTES + 1),
        struct.pack("!II", 3, 0) + b"{}x",
        struct.pack("!II", 2, 0) + b"[]",
        struct.pack("!II", 2, 0) + b"{}",
        struct.pack("!II", 10, 0) + b'{"type":1}',
        struct.pack("!II", 2, 0) + b"\xff\xfe",
        b"GET / HTTP/1.1\r\n",
    ],
)
def test_what_is_not_a_frame_is_refused(stream: bytes) -> None:
    with pytest.raises(WireError):
        list(FrameBuffer().feed(stream))


def test_oversized_frames_are_refused_by_the_sender() -> None:
    with pytest.raises(WireError, match="over the limit"):
        encode_frame("checkpoint", b"x" * (BODY_MAX_BYTES + 1))
    with pytest.raises(WireError, match="over the limit"):
        encode_frame("log", message="x" * HEADER_MAX_BYTES)


def test_end_of_stream_is_told_from_a_frame() -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(encode_frame("go") + encode_frame("ping"))
    ours.close()

    peer = FrameSocket(theirs)

    assert [peer.receive(), peer.receive(), peer.receive()] == [Frame("go", {}), Frame("ping", {}), None]
    peer.close()
