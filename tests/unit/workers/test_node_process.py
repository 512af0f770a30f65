"""The worker's program as a process: what it imports and what it is given."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from apps.workers.node.config import ConfigError, read_config

ROOT = Path(__file__).resolve().parents[3]
BARRED = ("django", "psycopg", "psycopg_pool", "ninja", "channels", "trigger_site", "apps.runs", "apps.workers.models")


def run_python(code: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return result.stdout


def test_workers_program_imports_no_django_and_no_database() -> None:
    code = (
        "import sys, pkgutil, importlib, json; sys.path.insert(0, 'sdk/python')\n"
        "import apps.workers.node.__main__, apps.workers.node.executors as executors\n"
        "for found in pkgutil.iter_modules(executors.__path__):\n"
        "    importlib.import_module(f'apps.workers.node.executors.{found.name}')\n"
        "print(json.dumps(sorted(sys.modules)))"
    )

    loaded = set(json.loads(run_python(code)))

    assert "apps.workers.node.worker" in loaded
    assert loaded.isdisjoint(BARRED)


def test_runworker_hands_over_its_own_variables_only() -> None:
    """`manage.py runworker` replaces itself; what it would start is printed instead."""
    code = (
        "import json, os, sys, runpy\n"
        "def execve(path, arguments, environment):\n"
        "    print(json.dumps([arguments, environment])); sys.exit(0)\n"
        "os.execve = execve; sys.argv = ['manage.py', 'runworker', '--concurrency', '3']\n"
        "try: runpy.run_path('manage.py', run_name='__main__')\n"
        "finally: assert 'django' not in sys.modules"
    )
    secret = {
        "TRIGGER_DATABASE_URL": "postgres://secret", "TRIGGER_LISTEN_DATABASE_URL": "postgres://secret",
        "TRIGGER_SECRET_KEY": "secret", "DATABASE_URL": "secret", "PGPASSWORD": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret", "DJANGO_SETTINGS_MODULE": "secret",
    }  # fmt: skip
    wanted = {
        "TRIGGER_WORKER_TOKEN": "token", "TRIGGER_COORDINATOR_URL": "http://c", "TRIGGER_CONCURRENCY": "2",
        "DOCKER_HOST": "unix:///d", "HOME": "/h",
    }  # fmt: skip

    arguments, environment = json.loads(run_python(code, **secret, **wanted))

    assert arguments[1:] == ["-m", "apps.workers.node", "--concurrency", "3"]
    assert wanted.items() <= environment.items()
    assert environment.keys().isdisjoint(secret)
    assert "secret" not in "".join(environment.values())


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        ([], {}, "TRIGGER_WORKER_TOKEN"),
        ([], {"TRIGGER_WORKER_TOKEN": "t", "TRIGGER_EXECUTOR": "magic"}, "TRIGGER_EXECUTOR"),
        ([], {"TRIGGER_WORKER_TOKEN": "t", "TRIGGER_CONCURRENCY": "0"}, "TRIGGER_CONCURRENCY"),
        ([], {"TRIGGER_WORKER_TOKEN": "t", "TRIGGER_CONCURRENCY": "many"}, "TRIGGER_CONCURRENCY"),
        (["--concurrency", "1001"], {"TRIGGER_WORKER_TOKEN": "t"}, "--concurrency"),
        ([], {"TRIGGER_WORKER_TOKEN": "t", "TRIGGER_DRAIN_SECONDS": "nan"}, "TRIGGER_DRAIN_SECONDS"),
    ],
)
def test_wrong_configuration_is_named(arguments: list[str], environment: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read_config(arguments, environment)


def test_argument_beats_variable() -> None:
    config = read_config(["--concurrency", "7"], {"TRIGGER_WORKER_TOKEN": "t", "TRIGGER_CONCURRENCY": "2"})

    assert (config.concurrency, config.executor) == (7, "auto")
