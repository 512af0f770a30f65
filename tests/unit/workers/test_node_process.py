"""The worker's program as a process: what it imports and what it is given."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from apps.protocol import Problem, encode
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
        "for found in pkgutil.walk_packages(executors.__path__, 'apps.workers.node.executors.'):\n"
        "    importlib.import_module(found.name)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )

    loaded = set(json.loads(run_python(code)))

    assert {"apps.workers.node.worker", "apps.workers.node.executors.docker.images"} <= loaded
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
    # What a program is started with is open to the tasks beside it: the token goes through a pipe.
    del wanted["TRIGGER_WORKER_TOKEN"]
    assert wanted.items() <= environment.items()
    assert environment.keys() >= {"TRIGGER_WORKER_TOKEN_FD"}
    assert "token" not in environment.values()
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
        ([], {"TRIGGER_WORKER_TOKEN": "t\nX: y"}, "TRIGGER_WORKER_TOKEN"),
        ([], {"TRIGGER_WORKER_TOKEN": "t", "TRIGGER_WORKER_NAME": ""}, "TRIGGER_WORKER_NAME"),
        ([], {"TRIGGER_WORKER_TOKEN": "t", "TRIGGER_WORKER_NAME": "  "}, "TRIGGER_WORKER_NAME"),
        ([], {"TRIGGER_WORKER_TOKEN": "t", "TRIGGER_WORKER_NAME": "n" * 129}, "129 characters"),
        ([], {"TRIGGER_WORKER_TOKEN": "t", "TRIGGER_WORKER_NAME": "a\0b"}, "TRIGGER_WORKER_NAME"),
        ([], {"TRIGGER_WORKER_TOKEN": "t", "TRIGGER_WORKER_NAME": "a\udc80"}, "TRIGGER_WORKER_NAME"),
        ([], {"TRIGGER_WORKER_TOKEN": "t", "TRIGGER_COORDINATOR_URL": "localhost:8001"}, "TRIGGER_COORDINATOR_URL"),
        ([], {"TRIGGER_WORKER_TOKEN": "t", "TRIGGER_COORDINATOR_URL": "http://[::1"}, "TRIGGER_COORDINATOR_URL"),
        ([], {"TRIGGER_WORKER_TOKEN": "t", "TRIGGER_COORDINATOR_URL": "http://h:99999"}, "TRIGGER_COORDINATOR_URL"),
    ],
)
def test_wrong_configuration_is_named(arguments: list[str], environment: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read_config(arguments, environment)


def test_argument_beats_variable() -> None:
    config = read_config(["--concurrency", "7"], {"TRIGGER_WORKER_TOKEN": "t", "TRIGGER_CONCURRENCY": "2"})

    assert (config.concurrency, config.executor) == (7, "auto")


@pytest.mark.asyncio
async def test_worker_that_its_coordinator_refuses_ends_and_says_why(tmp_path: Path) -> None:
    """A repeated registration would be refused again, for ever."""

    async def refuse(request: web.Request) -> web.Response:
        problem = Problem("/problems/registration-invalid", "name: 200 characters, 128 are allowed")
        return web.Response(status=422, body=encode(problem))

    app = web.Application()
    app.router.add_post("/coordinator/v1/workers", refuse)
    async with TestServer(app) as server:
        environment = {"TRIGGER_WORKER_TOKEN": "t", "TRIGGER_COORDINATOR_URL": str(server.make_url(""))}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "manage.py", "runworker", "--executor", "process", cwd=ROOT,
            env={**environment, "TRIGGER_WORKER_DIR": str(tmp_path)}, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, said = await asyncio.wait_for(process.communicate(), 60)

    assert process.returncode == 1
    assert b"name: 200 characters, 128 are allowed" in said
    assert b"Traceback" not in said
