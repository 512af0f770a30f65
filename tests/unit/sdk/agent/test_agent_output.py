import logging
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trigger_sdk.agent.reports.output import (
    LINE_MAX_BYTES,
    LineSplitter,
    LogCap,
    LogHandler,
    LogStream,
    clean_text,
    now_text,
    plain_fields,
)
from trigger_sdk.agent.system.memory import OutOfMemoryCounter


@given(st.lists(st.binary(max_size=50)))
def test_lines_do_not_depend_on_how_the_bytes_arrive(parts: list[bytes]) -> None:
    whole, pieces = LineSplitter(), LineSplitter()

    at_once = [*whole.feed(b"".join(parts)), *whole.finish()]
    in_parts = [line for part in parts for line in pieces.feed(part)] + list(pieces.finish())

    assert in_parts == at_once
    assert all("\n" not in line and "\0" not in line for line in at_once)


def test_long_line_comes_in_pieces_and_nothing_is_lost() -> None:
    splitter = LineSplitter()

    pieces = [*splitter.feed(b"x" * 100_000), *splitter.feed(b"y" * 100_000 + b"\nnext"), *splitter.finish()]

    assert max(len(piece) for piece in pieces) == LINE_MAX_BYTES
    assert "".join(pieces) == "x" * 100_000 + "y" * 100_000 + "next"


def test_stream_emits_whole_lines_in_order_and_the_rest_at_the_end() -> None:
    lines: list[str] = []
    stream = LogStream(1, lines.append)

    print("a", "b", file=stream)
    print("c", end="", file=stream, flush=True)
    before_end = list(lines)
    stream.finish()

    assert before_end == ["a b"]
    assert lines == ["a b", "c"]


def test_stream_cuts_long_text_by_bytes_not_characters() -> None:
    lines: list[str] = []
    stream = LogStream(1, lines.append)

    stream.write("\N{GRINNING FACE}" * 40_000 + "\n")

    assert "".join(lines) == "\N{GRINNING FACE}" * 40_000
    assert max(len(line.encode()) for line in lines) <= LINE_MAX_BYTES


def test_stream_of_many_threads_never_mixes_lines() -> None:
    lines: list[str] = []
    stream = LogStream(1, lines.append)
    threads = [
        threading.Thread(target=lambda name=name: [stream.write(f"{name * 50}\n") for _ in range(200)])
        for name in "abcd"
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(lines) == 800
    assert all(len(set(line)) == 1 and len(line) == 50 for line in lines)


def test_stream_refuses_bytes_as_a_real_one_does() -> None:
    with pytest.raises(TypeError, match="must be str"):
        LogStream(1, print).write(b"bytes")  # type: ignore[arg-type]


@given(st.text(st.characters(codec=None), max_size=200) | st.just("\ud800\0"))
def test_cleaned_text_can_be_stored(text: str) -> None:
    cleaned = clean_text(text, max_bytes=100)

    cleaned.encode("utf-8")
    assert "\0" not in cleaned
    if len(text.encode("utf-8", "replace")) > 400:
        assert cleaned.endswith("bytes cut]")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"n": 1, "deep": {"x": [1.5, None]}}, {"n": 1, "deep": {"x": [1.5, None]}}),
        ({"path": Path("/a")}, {"path": "PosixPath('/a')"}),
        ({"nan": float("nan")}, {"nan": "nan"}),
        ({"text": "\0\ud800"}, {"text": "\N{REPLACEMENT CHARACTER}?"}),
        ({"deep": {"k\0": ["\ud800"]}}, {"deep": {"k\N{REPLACEMENT CHARACTER}": ["?"]}}),
    ],
)
def test_fields_become_json_that_can_be_stored(fields: dict[str, object], expected: dict[str, object]) -> None:
    assert plain_fields(fields) == expected


def test_fields_over_the_limit_are_named_not_stored() -> None:
    assert list(plain_fields({"big": "x" * 70_000})) == ["cut"]


def test_cap_admits_to_the_limit_and_counts_the_rest() -> None:
    cap = LogCap(max_bytes=10, max_lines=3)

    admitted = [cap.admits(size) for size in (4, 4, 4, 1)]

    assert admitted == [True, True, False, False]
    report = cap.take_report()
    assert report is not None
    assert (report["dropped_lines"], report["dropped_bytes"]) == (2, 5)
    assert cap.take_report() is None
    assert not cap.admits(1)


def test_logging_records_keep_level_logger_and_traceback() -> None:
    lines: list[tuple[str, str, dict[str, object]]] = []
    logger = logging.Logger("shop.cart")
    logger.addHandler(LogHandler(lambda *line: lines.append(line)))

    logger.debug("a")
    logger.critical("b %s", 1)
    try:
        raise KeyError("c")
    except KeyError:
        logger.exception("d")

    assert [line[0] for line in lines] == ["debug", "error", "error"]
    assert lines[1][1:] == ("b 1", {"logger": "shop.cart"})
    assert lines[2][1].startswith("d\nTraceback")
    assert "KeyError: 'c'" in lines[2][1]


def test_time_is_utc_with_microseconds() -> None:
    assert len(now_text()) == len("2026-01-01T00:00:00.000000Z")
    assert now_text().endswith("Z")


@pytest.mark.parametrize("text", ["low 0\noom 0\noom_kill {}\noom_group_kill 0\n", "under_oom 0\noom_kill {}\n"])
def test_each_kill_explains_one_death(tmp_path: Path, text: str) -> None:
    file = tmp_path / "memory.events"
    file.write_text(text.format(3))
    counter = OutOfMemoryCounter(str(file))

    before = counter.take()
    file.write_text(text.format(5))
    after = [counter.take() for _ in range(3)]
    file.write_text(text.format(6))
    counter.settle()

    assert before is False
    assert after == [True, True, False]
    assert counter.take() is False


@pytest.mark.parametrize("piece_bytes", [7, 65_536, 1_000_000])
def test_a_long_line_is_cut_between_characters(piece_bytes: int) -> None:
    text = "a" + "€" * 50_000 + "\U0001f600" * 20_000
    data = text.encode() + b"\n"
    splitter = LineSplitter()

    pieces = [
        line for start in range(0, len(data), piece_bytes) for line in splitter.feed(data[start : start + piece_bytes])
    ]

    assert "".join(pieces) == text
    assert max(len(piece.encode()) for piece in pieces) <= 65_536
