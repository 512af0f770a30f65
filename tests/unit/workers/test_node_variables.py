"""Variables on a node: masked in what is shown, fetched once per version, with the `.env` of development on top."""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from apps.protocol import UNKNOWN_VERSION, DeploymentReply, VariablesReply
from apps.workers.node.coordinator import CallRefusedError, UnreachableError
from apps.workers.node.variables import (
    NO_VARIABLES,
    Variables,
    VariableSource,
    VariablesUnavailableError,
    dotenv_pointer,
    with_dotenv,
)

SECRET = 'pa"ss\\word'
DEPLOYMENT = DeploymentReply(uuid4(), "orders", 1, "folder", b"", {})


class Coordinator:
    def __init__(self, *replies: VariablesReply | Exception) -> None:
        self.replies = list(replies)
        self.asked: list[UUID] = []

    async def variables(self, deployment_id: UUID) -> VariablesReply:
        self.asked.append(deployment_id)
        await asyncio.sleep(0)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


def source(*replies: VariablesReply | Exception) -> tuple[VariableSource, Coordinator]:
    coordinator = Coordinator(*replies)
    return VariableSource(coordinator), coordinator  # type: ignore[arg-type]


def test_values_are_masked_in_every_form_in_which_they_are_printed() -> None:
    variables = Variables("v", {"PASSWORD": SECRET, "SHORT": "abc"})

    for shown in (SECRET, repr(SECRET), json.dumps(SECRET), json.dumps({"a": [SECRET]})):
        assert "ss" not in variables.masked(f"before {shown} after")
        assert variables.masked(f"before {shown} after").startswith("before ")
    assert variables.masked("abc stays") == "abc stays"


def test_frames_are_masked_inside_their_fields() -> None:
    variables = Variables("v", {"PASSWORD": SECRET})
    header: dict[str, Any] = {"message": SECRET, "fields": {"n": 1, "list": [{"x": f"a{SECRET}b"}]}, "sequence": 7}

    masked = variables.masked_frame(header)

    assert masked == {"message": "********", "fields": {"n": 1, "list": [{"x": "a********b"}]}, "sequence": 7}
    assert header["message"] == SECRET


def test_lines_of_a_key_are_masked_alone() -> None:
    variables = Variables("v", {"KEY": "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\nshort\n"})

    assert variables.masked("read MIIEvQIBADANBgkqhkiG and short") == "read ******** and short"


def test_values_are_in_no_representation() -> None:
    assert SECRET not in repr(Variables("v", {"PASSWORD": SECRET}))


@pytest.mark.asyncio
async def test_version_is_fetched_once_and_a_newer_one_again() -> None:
    variables, coordinator = source(VariablesReply("1", {"A": "1"}), VariablesReply("2", {"A": "2"}))

    first = await asyncio.gather(*(variables.get(DEPLOYMENT, "1") for _ in range(3)))
    second = await variables.get(DEPLOYMENT, "2")

    assert [found.values for found in first] == [{"A": "1"}] * 3
    assert second.values == {"A": "2"}
    assert len(coordinator.asked) == 2
    assert await variables.get(DEPLOYMENT, "") == NO_VARIABLES


@pytest.mark.asyncio
async def test_unknown_version_is_fetched_each_time() -> None:
    variables, coordinator = source(VariablesReply("1", {}), VariablesReply("1", {}))

    for _ in range(2):
        await variables.get(DEPLOYMENT, UNKNOWN_VERSION)

    assert len(coordinator.asked) == 2


@pytest.mark.asyncio
async def test_refusal_is_the_reason_and_silence_is_asked_again() -> None:
    refusal = CallRefusedError(409, "variable-unreadable", "The variable A was encrypted by another key.")
    variables, _ = source(UnreachableError("away"), refusal, VariablesReply("1", {"A": "1"}))

    with pytest.raises(UnreachableError):
        await variables.get(DEPLOYMENT, "1")
    with pytest.raises(VariablesUnavailableError, match="encrypted by another key"):
        await variables.get(DEPLOYMENT, "1")
    assert (await variables.get(DEPLOYMENT, "1")).values == {"A": "1"}


def test_dotenv_wins_and_its_changes_are_another_version(tmp_path: Path) -> None:
    folder = tmp_path / "orders"
    folder.mkdir()
    (tmp_path / dotenv_pointer("orders")).write_text(str(folder))
    of_site = Variables("1", {"A": "site", "B": "site"})
    assert with_dotenv(of_site, tmp_path, "orders") is of_site

    (folder / ".env").write_text("A=local\n")
    first = with_dotenv(of_site, tmp_path, "orders")
    (folder / ".env").write_text("A=changed\n")
    second = with_dotenv(of_site, tmp_path, "orders")

    assert (first.values, second.values) == ({"A": "local", "B": "site"}, {"A": "changed", "B": "site"})
    assert len({of_site.version, first.version, second.version}) == 3
    assert with_dotenv(of_site, tmp_path, "mail") is of_site


def test_wrong_dotenv_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / dotenv_pointer("orders")).write_text(str(tmp_path))
    (tmp_path / ".env").write_text("A=1\nPATH=/x\n")

    with pytest.raises(VariablesUnavailableError, match=r"\.env: line 2: name 'PATH' is reserved"):
        with_dotenv(NO_VARIABLES, tmp_path, "orders")
