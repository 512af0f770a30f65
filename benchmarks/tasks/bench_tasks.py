"""Tasks that cost as little as possible, so that a benchmark measures the platform."""

import time

from trigger_sdk import checkpoint, task

KILOBYTE = "x" * 1000


@task(id="noop")
def noop() -> None:
    return


@task(id="noop-warm", warm_start="same_process")
def noop_warm() -> None:
    return


@task(id="sleepy", max_duration=120)
def sleepy(seconds: float = 1.0) -> dict[str, float]:
    time.sleep(seconds)
    return {"slept_seconds": seconds}


@task(id="steps10")
def steps10() -> dict[str, int]:
    """Saves ten checkpoints of one kilobyte each."""
    data = KILOBYTE
    checkpoint("step-1", {"data": data})
    checkpoint("step-2", {"data": data})
    checkpoint("step-3", {"data": data})
    checkpoint("step-4", {"data": data})
    checkpoint("step-5", {"data": data})
    checkpoint("step-6", {"data": data})
    checkpoint("step-7", {"data": data})
    checkpoint("step-8", {"data": data})
    checkpoint("step-9", {"data": data})
    checkpoint("step-10", {"data": data})
    return {"size_bytes": len(data)}


@task(id="clock")
def clock() -> float:
    """Returns when its first statement ran: Unix seconds by this node's clock."""
    return time.time()


@task(id="flood", max_duration=900)
def flood(kind: str, seconds: float) -> None:
    """Writes frames of one kind to the run's own socket, bypassing the SDK, and discards the answers."""
    import threading

    from trigger_sdk.run.context import active_run
    from trigger_sdk.wire import encode_frame

    run = active_run()
    assert run is not None
    socket = run.runtime._channel._socket  # type: ignore[attr-defined]  # noqa: SLF001 - what a hostile task would do
    print("the flood begins")

    def throw_answers_away() -> None:
        while True:
            try:
                socket.recv(1_000_000)
            except BlockingIOError:
                continue

    threading.Thread(target=throw_answers_away, daemon=True).start()
    fields = {"sequence": 1, "index": 0, "key": "k", "kind": "step", "codec": 1, "data_bytes": 1, "message": "x" * 50}
    piece = encode_frame(kind, b"1" if kind == "checkpoint" else b"", **fields) * 1000
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        socket.sendall(piece)
