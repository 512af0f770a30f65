"""How `trigger replay` and `trigger requeue` read their arguments, and how they print a preview."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from trigger_sdk.cli import EXIT_FAILED, EXIT_OK, EXIT_USAGE, execute

RUN = {"id": "run_1", "task": "t", "state": "pending", "attempt_count": 0}
PREVIEW: dict[str, Any] = {
    "deployment": {"id": "dep_2", "version": 2},
    "is_other_deployment": True,
    "resumes_after": "fetched",
    "reused": [
        {"key": "fetched", "kind": "checkpoint", "is_edited": True, "is_code_changed": False},
        {"key": "page-1", "kind": "step", "is_edited": False, "is_code_changed": True},
    ],
    "runs_again": ["paid"],
    "keys_reason": "It has its own idempotency keys, because the data is edited.",
    "concurrency_key": "customer-7",
    "warnings": ["Effects may repeat."],
    "refusals": [],
}


class Server:
    """Records what is posted and answers each request with `answer`."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.answer: dict[str, Any] = RUN
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.requests.append((self.path, body))
                content = json.dumps(server.answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Nothing is printed between the tests' own lines."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    running = Server()
    monkeypatch.setenv("TRIGGER_URL", f"http://127.0.0.1:{running.http.server_port}")
    monkeypatch.setenv("TRIGGER_API_KEY", "tr_key")
    yield running
    running.http.shutdown()
    running.http.server_close()


def test_replay_sends_its_edits(server: Server, tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text('{"order": {"n": 1180591620717411303424}}')

    edits = ["--payload", '{"a": 1}', "--data", f"fetched=@{tmp_path}/order.json", "--data", 'page=1="a=b"']
    code = execute(["replay", "run_1", "--from", "fetched", *edits, "--deployment", "latest", "--new-keys"])

    assert code == EXIT_OK
    assert server.requests == [
        (
            "/api/v1/runs/run_1/replays",
            {
                "from_checkpoint": "fetched",
                "payload": {"a": 1},
                "checkpoint_data": {"fetched": {"order": {"n": 2**70}}, "page=1": "a=b"},
                "deployment": "latest",
                "new_idempotency_keys": True,
            },
        )
    ]


def test_preview_shows_what_would_happen(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.answer = PREVIEW

    assert execute(["replay", "run_1", "--from", "page-1", "--preview"]) == EXIT_OK

    printed = capsys.readouterr().out
    for line in (
        "dep_2 v2, not the original's",
        "after fetched",
        "fetched  checkpoint, edited",
        "page-1  step, its code has changed",
        "runs again paid",
        "Effects may repeat.",
        "because the data is edited",
    ):
        assert line in printed
    assert [path for path, _ in server.requests] == ["/api/v1/runs/run_1/replays/preview"]


def test_preview_of_a_refused_replay_fails(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.answer = {**PREVIEW, "refusals": [{"path": "deployment", "message": "needs `tax`"}]}

    assert execute(["replay", "run_1", "--preview"]) == EXIT_FAILED
    assert "deployment: needs `tax`" in capsys.readouterr().out
    assert execute(["replay", "run_1", "--preview", "--json"]) == EXIT_FAILED
    assert json.loads(capsys.readouterr().out)["refusals"][0]["path"] == "deployment"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--data", "fetched"], "--data fetched: must be KEY=JSON"),
        (["--data", "={}"], "--data ={}: must be KEY=JSON"),
        (["--data", "fetched={order: 1}"], "--data fetched is not JSON"),
        (["--data", "fetched={a=b}"], "--data fetched is not JSON"),
        (["--data", "fetched=NaN"], "--data fetched is not JSON"),
        (["--data", "fetched=-"], "--data fetched is not JSON"),
        (["--data", "fetched=@/no/such/file"], "--data fetched @/no/such/file"),
        (["--data", "k=1", "--data", "k=2"], "the key 'k' is given twice"),
        (["--payload", "{"], "--payload is not JSON"),
        (["--payload", "null"], "--payload null: leave it out"),
    ],
)
@pytest.mark.parametrize("preview", [[], ["--preview"]])
def test_wrong_edits_are_a_usage_error_that_names_them(
    server: Server, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str, preview: list[str]
) -> None:
    assert execute(["replay", "run_1", *arguments, *preview]) == EXIT_USAGE
    assert complaint in capsys.readouterr().err
    assert not server.requests


@pytest.mark.parametrize(("arguments", "deployment"), [([], "original"), (["--deployment", "latest"], "latest")])
def test_requeue_names_the_deployment(
    server: Server, capsys: pytest.CaptureFixture[str], arguments: list[str], deployment: str
) -> None:
    assert execute(["requeue", "run_1", *arguments]) == EXIT_OK

    assert server.requests == [("/api/v1/runs/run_1/requeue", {"deployment": deployment})]
    assert capsys.readouterr().out == "run_1\n"
