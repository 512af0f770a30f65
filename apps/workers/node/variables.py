"""Variables of task sets on this node: fetched once per version from the coordinator, and masked in what tasks print.

In development a task folder's `.env` is read here too, from the folder itself: it is stored nowhere.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

from trigger_sdk.variables import check_all, read_dotenv

from apps.protocol import UNKNOWN_VERSION, DeploymentReply
from apps.workers.node.coordinator import CallRefusedError, Coordinator

DOTENV = ".env"
MASK = "********"
MASKED_FROM_CHARACTERS = 8
"""Shorter values would hide ordinary words."""
MASKED_LINE_FROM_CHARACTERS = 16
"""Of a value with several lines, such as a key, each line from this length is masked too."""
FIELDS_MAX_DEPTH = 16


class VariablesUnavailableError(Exception):
    """The task's variables are not available on this node; the text says why, and contains no value."""


@dataclass(frozen=True)
class Variables:
    """What one attempt's task finds in its environment; processes are shared by attempts of the same version only."""

    version: str = ""
    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    def masked(self, text: str) -> str:
        """The text without the values."""
        return text if self._secrets is None else self._secrets.sub(MASK, text)

    def masked_frame(self, header: Mapping[str, Any]) -> dict[str, Any]:
        """A frame's header without the values, in whatever it says."""
        return dict(header) if self._secrets is None else {name: self._masked(each) for name, each in header.items()}

    def _masked(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, str):
            return self.masked(value)
        if depth > FIELDS_MAX_DEPTH:
            return value
        if isinstance(value, dict):
            return {name: self._masked(each, depth + 1) for name, each in value.items()}
        if isinstance(value, list):
            return [self._masked(each, depth + 1) for each in value]
        return value

    @cached_property
    def _secrets(self) -> re.Pattern[str] | None:
        found: set[str] = set()
        for value in self.values.values():
            if len(value) >= MASKED_FROM_CHARACTERS:
                found |= {
                    value,
                    json.dumps(value)[1:-1],
                    json.dumps(value, ensure_ascii=False)[1:-1],
                    repr(value)[1:-1],
                }
            if "\n" in value:
                found |= {line for line in value.splitlines() if len(line) >= MASKED_LINE_FROM_CHARACTERS}
        longest_first = sorted(found, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first))) if found else None


NO_VARIABLES = Variables()


class VariableSource:
    """Fetches each version once, however many attempts ask for it at the same time; keeps the newest."""

    def __init__(self, coordinator: Coordinator, dotenv_folder: Path | None = None) -> None:
        """`dotenv_folder` has a file per task set that names the folder with its `.env`."""
        self._coordinator = coordinator
        self._dotenv_folder = dotenv_folder
        self._fetched: dict[UUID, tuple[str, asyncio.Task[Variables]]] = {}

    async def get(self, deployment: DeploymentReply, version: str) -> Variables:
        """The variables of that version, or newer ones. Raises VariablesUnavailableError, or the coordinator's error if
        it does not answer."""
        found = await self._of_site(deployment.deployment_id, version) if version else NO_VARIABLES
        if self._dotenv_folder is None:
            return found
        return await asyncio.to_thread(with_dotenv, found, self._dotenv_folder, deployment.task_set)

    async def _of_site(self, deployment_id: UUID, version: str) -> Variables:
        known, task = self._fetched.get(deployment_id, ("", None))
        has_failed = task is not None and task.done() and task.exception() is not None
        if task is None or known != version or version == UNKNOWN_VERSION or has_failed:
            task = asyncio.create_task(self._fetch(deployment_id), name="fetch-variables")
            self._fetched[deployment_id] = version, task
        try:
            return await asyncio.shield(task)
        except CallRefusedError as error:
            raise VariablesUnavailableError(str(error)) from error

    async def _fetch(self, deployment_id: UUID) -> Variables:
        reply = await self._coordinator.variables(deployment_id)
        return Variables(reply.version, reply.values)


def with_dotenv(variables: Variables, dotenv_folder: Path, task_set: str) -> Variables:
    """The variables with those of the task set's `.env`, which win. VariablesUnavailableError names its line."""
    pointer = dotenv_folder / dotenv_pointer(task_set)
    if not pointer.is_file():
        return variables
    path = Path(pointer.read_text(encoding="utf-8")) / DOTENV
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return variables
    except (OSError, UnicodeDecodeError) as error:
        raise VariablesUnavailableError(f"{path} cannot be read: {error}") from error
    try:
        values = {**variables.values, **read_dotenv(text)}
        check_all(values)
    except ValueError as error:
        raise VariablesUnavailableError(f"{path}: {error}") from error
    return Variables(f"{variables.version}+{hashlib.sha256(text.encode()).hexdigest()[:16]}", values)


def dotenv_pointer(task_set: str) -> str:
    """The name of the file that says where the task set's folder is."""
    return hashlib.sha256(task_set.encode()).hexdigest()[:32]
