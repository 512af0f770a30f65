"""What doctor says of a coordinator that every network can reach."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from trigger_site import doctor


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Silent."""


@contextmanager
def listening(host: str) -> Iterator[int]:
    with HTTPServer((host, 0), Ready) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("host", "level"), [("127.0.0.1", doctor.Level.OK), ("0.0.0.0", doctor.Level.WARN)])
def test_a_coordinator_that_is_open_to_every_network_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, host: str, level: doctor.Level
) -> None:
    with listening(host) as port:
        monkeypatch.setenv("TRIGGER_COORDINATOR_URL", f"http://127.0.0.1:{port}")

        finding = doctor.examine_coordinator()

    assert finding.level is level
    assert ("--host" in finding.mend) == (level is doctor.Level.WARN)
