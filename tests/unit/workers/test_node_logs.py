"""The lines of an attempt: numbered, bounded, made safe, sent in batches."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from trigger_sdk.agent.reports.output import clean_text

from apps.protocol import Claim, LogBatch, Result, encode
from apps.workers.node.attempts.attempt import Attempt
from apps.workers.node.attempts.logs import LogBuffer
from tests.unit.workers.outboxes import outbox_to

OK = Result(200)


class Sink:
    def __init__(self) -> None:
        self.batches: list[LogBatch] = []
        claim = Claim(uuid4(), "run_1", 2, b"t", "t", uuid4(), b"{}", 3)
        self.buffer = LogBuffer(Attempt(claim), outbox_to(logs=self.send))

    async def send(self, items: list[LogBatch]) -> list[Result]:
        encode(items)
        self.batches += items
        return [OK for _ in items]

    @property
    def lines(self) -> list[tuple[int, str]]:
        return [(line.sequence, line.message) for batch in self.batches for line in batch.lines]


@pytest.mark.asyncio
async def test_lines_are_numbered_and_sent_by_a_flush() -> None:
    sink = Sink()
    sink.buffer.add({"message": "one", "level": "error", "source": "stdout", "at": "2026-01-02T03:04:05+00:00"})
    sink.buffer.add({"message": "two", "at": "nonsense"})

    await sink.buffer.flush()

    assert sink.lines == [(1, "one"), (2, "two")]
    (first, second) = sink.batches[0].lines
    assert (first.level, first.source, first.at) == ("error", "stdout", "2026-01-02T03:04:05+00:00")
    assert second.at.endswith("+00:00")
    assert sink.batches[0].attempt == 2


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "at", ["infinity", "2026-01-02T03:04:05-15:00", "0044-03-15T00:00:00Z BC", "20000-01-01T00:00:00Z", "1970-01-01", 5]
)
async def test_line_with_a_bad_time_gets_the_present_one(at: object) -> None:
    sink, before = Sink(), datetime.now(UTC)

    sink.buffer.add({"message": "kept", "at": at})
    await sink.buffer.flush()

    (line,) = sink.batches[0].lines
    assert line.message == "kept"
    assert before <= datetime.fromisoformat(line.at) <= datetime.now(UTC)


@pytest.mark.asyncio
async def test_cut_log_ends_with_one_marker_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.workers.node.attempts.logs.ATTEMPT_MAX_LINES", 3)
    sink = Sink()
    for number in range(10):
        sink.buffer.add({"message": f"line {number}"})

    await sink.buffer.flush()
    await sink.buffer.flush()

    assert [message for _, message in sink.lines[:3]] == ["line 0", "line 1", "line 2"]
    assert len(sink.lines) == 4
    assert "7 lines with 42 characters" in sink.lines[3][1]


@pytest.mark.asyncio
async def test_log_is_bounded_by_bytes_and_lines_by_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.workers.node.attempts.logs.ATTEMPT_MAX_BYTES", 100_000)
    sink = Sink()
    for _ in range(3):
        sink.buffer.add({"message": "x" * 200_000})

    await sink.buffer.flush()

    assert 64 * 1024 - 40 < len(sink.lines[0][1]) <= 64 * 1024
    assert len(sink.lines) == 2


@pytest.mark.asyncio
async def test_odd_fields_and_text_are_made_safe() -> None:
    sink = Sink()
    sink.buffer.add({"message": "\ud800\x00", "fields": {"a": float("nan"), "b\x00": ["\udfff"], "c": float("-inf")}})

    await sink.buffer.flush()

    (line,) = sink.batches[0].lines
    assert line.message == "?\N{REPLACEMENT CHARACTER}"
    assert line.fields == rb'{"a": "nan", "b\ufffd": ["?"], "c": "-inf"}'


@pytest.mark.asyncio
async def test_every_part_of_a_line_is_bounded() -> None:
    """A frame's header may have a megabyte, and a run 50,000 lines."""
    sink = Sink()
    long = "x" * 500_000
    sink.buffer.add({"message": "m", "level": long, "source": long, "at": f"2026-01-02T03:04:05.{'0' * 500_000}+00:00"})

    await sink.buffer.flush()

    (line,) = sink.batches[0].lines
    assert max(len(line.level), len(line.source), len(line.at)) <= 40


@pytest.mark.asyncio
async def test_a_cut_line_says_how_much_is_missing_and_a_writers_own_note_stands() -> None:
    sink = Sink()
    noted = clean_text("x" * 200_000)
    sink.buffer.add({"message": "y" * 200_000})
    sink.buffer.add({"message": noted})

    await sink.buffer.flush()

    (_, cut), (_, kept) = sink.lines
    assert cut.endswith(f" … [{200_000 - cut.count('y'):,} characters cut]")
    assert kept == noted


@pytest.mark.asyncio
async def test_lines_that_the_writer_dropped_are_counted_with_the_rest() -> None:
    sink = Sink()
    sink.buffer.add({"message": "one"})
    sink.buffer.add({"message": "cut", "dropped_lines": 10_000, "dropped_bytes": 70_000})
    sink.buffer.add({"message": "cut", "dropped_lines": -1, "dropped_bytes": "many"})

    await sink.buffer.flush()

    assert [message for _, message in sink.lines] == [
        "one", "The log was cut here: 10,000 lines with 70,000 characters were dropped."
    ]  # fmt: skip


@pytest.mark.asyncio
@pytest.mark.parametrize("fields", [{"many": [0] * 50_000}, {"long": "x" * 200_000}], ids=["items", "bytes"])
async def test_fields_over_the_limit_are_left_out_and_say_so(fields: dict[str, Any]) -> None:
    sink = Sink()
    sink.buffer.add({"message": "m", "fields": fields})

    await sink.buffer.flush()

    assert b"over the limit" in (sink.batches[0].lines[0].fields or b"")
