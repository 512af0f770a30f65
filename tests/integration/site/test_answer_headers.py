"""What every answer of the real application tells browsers, whichever part wrote it; and production's own settings."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from apps.access.key_brake import BURST
from tests.factories import bearer, make_run, make_user
from tests.live_server import Answer, LiveServer, running_server
from tests.ports import reserve_port
from trigger_site.web.answer_headers import NOTHING, is_secure, with_defaults
from trigger_site.web.body_limit import BODY_MAX_BYTES

START_SECONDS = 60.0
EVERYWHERE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


@pytest.fixture
def server(transactional_db: None) -> Iterator[LiveServer]:
    with running_server() as live:
        yield live


def cookie(role: str) -> dict[str, str]:
    client = Client()
    client.force_login(make_user(role))
    return {"Cookie": f"sessionid={client.cookies['sessionid'].value}"}


def check(answer: Answer, status: int) -> None:
    assert answer.status == status
    assert {name: answer.headers.get(name) for name in EVERYWHERE} == EVERYWHERE
    assert "camera=()" in answer.headers["permissions-policy"]
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_every_kind_of_answer_says_what_browsers_may_do_and_that_none_keeps_it(
    server: LiveServer,
) -> None:
    run = make_run()
    viewer, admin, key = cookie("viewer"), cookie("admin"), bearer("operator")
    answers: list[tuple[str, str, dict[str, str], int]] = [
        ("GET", "/sign-in", {}, 200),
        ("POST", "/sign-in", {}, 403),
        ("GET", "/sign-in/MQ/x", {}, 410),
        ("GET", "/runs", {}, 302),
        ("GET", "/runs", viewer, 200),
        ("GET", "/runs/rows", viewer, 200),
        ("GET", f"/runs/{run.public_id}", viewer, 200),
        ("GET", f"/runs/{run.public_id}/summary", viewer, 200),
        ("POST", f"/runs/{run.public_id}/cancellation", viewer, 403),
        ("GET", "/runs/run_x", viewer, 404),
        ("GET", "/nowhere", viewer, 404),
        ("GET", "/sign-out", viewer, 405),
        ("GET", "/admin/", admin, 200),
        ("GET", "/admin/queues/deadletter/", admin, 200),
        ("GET", "/api/v1/docs", viewer, 200),
        ("GET", "/api/v1/openapi.json", key, 200),
        ("GET", "/api/v1/runs", key, 200),
        ("GET", "/api/v1/runs/run_x", key, 404),
        ("PUT", "/api/v1/runs", key, 405),
        ("GET", "/api/v1/runs", {}, 401),
        ("GET", "/api/v1/runs", {"Authorization": "Bearer tr_a_b"}, 401),
        ("GET", "/api/nowhere", key, 404),
        ("GET", "/static/nowhere.css", {}, 404),
        ("GET", "/runs", {**viewer, "Host": "evil.example"}, 400),
        ("GET", "/health", {}, 200),
    ]
    for method, path, headers, status in answers:
        answer = server.call(method, path, headers=headers)
        check(answer, status)
        assert "no-store" in answer.headers["cache-control"], path


def test_a_page_that_breaks_says_the_same(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.runs.list.views.render", None)

    answer = server.call("GET", "/runs", headers=cookie("viewer"))

    check(answer, 500)
    assert "no-store" in answer.headers["cache-control"]


@pytest.mark.parametrize("size", [3_500_000, BODY_MAX_BYTES + 1_000_000])
def test_a_body_over_a_limit_is_refused_with_the_same_headers(server: LiveServer, size: int) -> None:
    answer = server.call("POST", "/api/v1/tasks/process-order/runs", b"x" * size, headers=bearer("operator"))

    check(answer, 413)


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators")
def test_static_files_are_kept(server: LiveServer) -> None:
    answer = server.call("GET", "/static/css/app.css")

    check(answer, 200)
    assert "public" in answer.headers["cache-control"]


@pytest.mark.parametrize("credential", [True, False])
def test_a_call_to_another_host_is_refused(server: LiveServer, credential: bool) -> None:
    headers = bearer("viewer") if credential else {}

    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:8000", "127.0.0.1@evil.example"):
        answer = server.call("GET", "/api/v1/runs", headers={**headers, "Host": host})

        assert answer.status == 400
    if credential:
        assert answer.json()["type"] == "/problems/host-refused"
        assert answer.headers["content-type"] == "application/problem+json"


def test_guessed_keys_are_slowed_down(server: LiveServer) -> None:
    guess = {"Authorization": "Bearer tr_aaaaaaaaaaaa_b", "X-Forwarded-For": "203.0.113.9"}
    answers = [server.call("GET", "/api/v1/runs", headers=guess) for _ in range(BURST)]
    assert {answer.status for answer in answers} <= {401, 429}

    while (last := server.call("GET", "/api/v1/runs", headers=guess)).status == 401:
        pass  # some were looked up meanwhile, one a second

    check(last, 429)
    assert "127.0.0.1" in last.json()["detail"]  # no proxy was said to be there, so the header is the client's word


def test_given_headers_stand() -> None:
    headers = dict(with_defaults([(b"Cache-Control", b"max-age=60"), (b"x-frame-options", b"x")], is_secure=False))

    assert headers[b"Cache-Control"] == b"max-age=60"
    assert headers[b"x-frame-options"] == b"x"
    assert headers[b"content-security-policy"] == NOTHING.encode()
    assert b"cache-control" not in headers


def test_a_scheme_that_no_proxy_vouches_for_is_not_believed() -> None:
    told = [(b"x-forwarded-proto", b"https")]

    assert not is_secure({"scheme": "http", "headers": told})
    assert is_secure({"scheme": "https", "headers": []})


# Production


@pytest.fixture
def production(new_database: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a production web process behind a proxy."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TRIGGER_", "DJANGO_"))}
    return {
        **kept,
        "TRIGGER_ENV": "production",
        "TRIGGER_VAR_DIR": str(tmp_path),
        "TRIGGER_DATABASE_URL": new_database,
        "TRIGGER_SECRET_KEY": "".join(chr(ord("0") + number) for number in range(70)),
        "TRIGGER_WORKER_TOKEN": "w" * 40,
        "TRIGGER_ALLOWED_HOSTS": "jobs.example.org",
        "TRIGGER_BEHIND_PROXY": "true",
    }


def manage(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_djangos_deployment_checks_are_clean_in_production(production: dict[str, str]) -> None:
    done = manage(production, "check", "--deploy", "--fail-level", "WARNING")

    assert done.returncode == 0, done.stdout + done.stderr
    without = manage({**production, "TRIGGER_BEHIND_PROXY": "false"}, "check", "--deploy", "--fail-level", "WARNING")
    assert without.returncode != 0
    assert "security.W004" in without.stderr
    assert "security.W008" in without.stderr


@pytest.fixture
def production_server(production: dict[str, str], tmp_path: Path) -> Iterator[LiveServer]:
    done = manage(production, "collectstatic", "--noinput", "--verbosity", "0")
    assert done.returncode == 0, done.stderr
    port = reserve_port()
    log = tmp_path / "web.log"
    with log.open("wb") as output:
        command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "runweb", "--port", str(port)]
        process = subprocess.Popen(command, env=production, stdout=output, stderr=output)
    live = LiveServer("127.0.0.1", port, {"Host": "jobs.example.org"})
    try:
        wait_until_healthy(live, process, log)
        yield live
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def wait_until_healthy(live: LiveServer, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            if live.call("GET", "/health").status == 200:
                return
        time.sleep(0.05)
    pytest.fail(f"The web process did not start:\n{log.read_text()}")


def test_production_behind_a_proxy_insists_on_tls_and_its_cookies_are_its_own(production_server: LiveServer) -> None:
    secure = {"X-Forwarded-Proto": "https"}

    plain = production_server.call("GET", "/runs?state=failed")
    page = production_server.call("GET", "/sign-in", headers=secure)
    refused = production_server.call("GET", "/api/v1/runs", headers={**secure, "Authorization": "Bearer tr_a_b"})

    assert (plain.status, plain.headers["location"]) == (301, "https://jobs.example.org/runs?state=failed")
    assert "strict-transport-security" not in plain.headers
    check(page, 200)
    assert page.headers["strict-transport-security"] == f"max-age={365 * 86400}"
    assert re.match(r"__Host-csrftoken=\w+;", page.headers["set-cookie"])
    assert {"Secure", "HttpOnly", "Path=/"} <= set(page.headers["set-cookie"].split("; "))
    assert "Domain" not in page.headers["set-cookie"]
    check(refused, 401)
    assert refused.headers["strict-transport-security"] == f"max-age={365 * 86400}"
    assert production_server.call("GET", "/health").status == 200
