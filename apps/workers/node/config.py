"""Reads a worker's configuration from its arguments and its own environment variables, and nothing else."""

import argparse
import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

EXECUTORS = ("auto", "process", "docker")
DEFAULT_CONCURRENCY = 10
CONCURRENCY_MAX = 1000
NAME_MAX_LENGTH = 128


class ConfigError(Exception):
    """A variable or argument that cannot be used, in a sentence that names it."""


@dataclass(frozen=True, slots=True)
class Config:
    coordinator_url: str
    worker_token: str
    executor: str
    concurrency: int
    name: str
    folder: Path
    base_image: str
    drain_seconds: float
    dotenv_folder: Path | None = None
    """Only in development: where the task folders with their `.env` files are named."""


def read_config(arguments: Sequence[str], environment: Mapping[str, str]) -> Config:
    """Reads the worker's configuration; raises ConfigError. `--help` exits as argparse does."""
    parser = argparse.ArgumentParser(prog="manage.py runworker", description="Runs tasks on this node.")
    parser.add_argument("--concurrency", type=int, help=f"concurrent runs (default {DEFAULT_CONCURRENCY})")
    parser.add_argument("--executor", choices=EXECUTORS, help="default auto: docker if an engine is usable")
    given = parser.parse_args(arguments)
    token = environment.get("TRIGGER_WORKER_TOKEN", "")
    if not token:
        raise ConfigError("TRIGGER_WORKER_TOKEN is not set; it must equal the coordinator's.")
    if not (token.isascii() and token.isprintable()):
        raise ConfigError("TRIGGER_WORKER_TOKEN may contain only printable ASCII characters.")
    executor = given.executor or environment.get("TRIGGER_EXECUTOR") or "auto"
    if executor not in EXECUTORS:
        raise ConfigError(f"TRIGGER_EXECUTOR must be one of {', '.join(EXECUTORS)}, not {executor!r}.")
    return Config(
        coordinator_url=_url(environment.get("TRIGGER_COORDINATOR_URL") or "http://127.0.0.1:8001"),
        worker_token=token,
        executor=executor,
        concurrency=_concurrency(given.concurrency, environment.get("TRIGGER_CONCURRENCY")),
        name=_name(environment.get("TRIGGER_WORKER_NAME")),
        folder=Path(
            environment.get("TRIGGER_WORKER_DIR") or Path(tempfile.gettempdir()) / f"trigger-worker-{os.getuid()}"
        ),
        base_image=environment.get("TRIGGER_BASE_IMAGE") or "python:3.12-slim",
        drain_seconds=_seconds("TRIGGER_DRAIN_SECONDS", environment.get("TRIGGER_DRAIN_SECONDS"), 30.0),
        dotenv_folder=Path(environment["TRIGGER_WORKER_DOTENV_DIR"])
        if environment.get("TRIGGER_WORKER_DOTENV_DIR")
        else None,
    )


def _name(given: str | None) -> str:
    name = socket.gethostname() if given is None else given
    origin = "the host's name" if given is None else "TRIGGER_WORKER_NAME"
    if not 0 < len(name.strip()) <= len(name) <= NAME_MAX_LENGTH:
        raise ConfigError(
            f"{origin} has {len(name)} characters, or only spaces; a worker's name (TRIGGER_WORKER_NAME) has 1 to "
            f"{NAME_MAX_LENGTH}."
        )
    if not name.isprintable():  # a line feed, NUL, or half of a character that was not UTF-8
        raise ConfigError(f"{origin} contains a character that cannot be printed: {name!r:.60}.")
    return name


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or not text.isprintable():
        raise ConfigError(f"TRIGGER_COORDINATOR_URL must be an address like http://host:8001, not {text!r:.100}.")
    return text.rstrip("/")


def _concurrency(argument: int | None, variable: str | None) -> int:
    text = str(argument) if argument is not None else variable or str(DEFAULT_CONCURRENCY)
    if not text.isdecimal() or not 1 <= int(text) <= CONCURRENCY_MAX:
        raise ConfigError(f"TRIGGER_CONCURRENCY (--concurrency) must be between 1 and {CONCURRENCY_MAX}, not {text!r}.")
    return int(text)


def _seconds(name: str, text: str | None, default: float) -> float:
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ConfigError(f"{name} must be a number of seconds, 0 or more, not {text!r}.")
    return value
