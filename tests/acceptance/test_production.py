"""The web process as production starts it: static files collected, probes by IP, foreign names refused."""

import http.client
import re
import secrets
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.acceptance.installation import DEADLINE_SECONDS, ROOT, Installation, until

PROXIED = {"Host": "jobs.example.org", "X-Forwarded-Proto": "https"}


class Production(Installation):
    def __init__(self, database_url: str, folder: Path) -> None:
        super().__init__(database_url, folder)
        self._environment |= {
            "TRIGGER_ENV": "production",
            "TRIGGER_SECRET_KEY": secrets.token_hex(32),
            "TRIGGER_ALLOWED_HOSTS": "jobs.example.org",
            "TRIGGER_BEHIND_PROXY": "true",
        }

    def run_web(self) -> "subprocess.CompletedProcess[str]":
        """Starts it where it is expected to refuse."""
        return subprocess.run(
            [sys.executable, "manage.py", "runweb", "--port", str(self.web_port)],
            cwd=ROOT, env=self._environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS,
        )  # fmt: skip

    def answer(self, path: str, **headers: str) -> tuple[int, str]:
        status, body, _ = self.load(path, headers)
        return status, body.decode()

    def load(self, path: str, headers: dict[str, str]) -> tuple[int, bytes, http.client.HTTPMessage]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.web_port, timeout=DEADLINE_SECONDS)) as client:
            client.request("GET", path, headers=headers)
            response = client.getresponse()
            return response.status, response.read(), response.headers

    def is_listening(self) -> bool:
        try:
            return self.answer("/health")[0] == 200
        except OSError:
            return False


def test_web_refuses_to_start_until_the_static_files_are_collected(empty_database: str, tmp_path: Path) -> None:
    site = Production(empty_database, tmp_path)
    site.manage("migrate", "--verbosity", "0")

    refused = site.run_web()
    assert refused.returncode != 0
    assert "manage.py collectstatic" in refused.stderr
    assert "Traceback" not in refused.stderr

    site.manage("collectstatic", "--noinput")
    site.start("web", "runweb", "--port", str(site.web_port))
    try:
        until(site.is_listening, site.logs())
        until(lambda: site.answer("/ready")[0] == 200, "ready by IP, without HTTPS")
        page = site.answer("/sign-in", **PROXIED)
        assert page[0] == 200
        assert_loads_little(site, page[1])
        assert site.answer("/sign-in", Host="10.0.0.1", **{"X-Forwarded-Proto": "https"})[0] == 400
    finally:
        site.stop()


def assert_loads_little(site: Production, page: str) -> None:
    """One style sheet with all others in it; what is loaded is compressed, and kept by the browser for good."""
    sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page)
    scripts = re.findall(r'<script src="([^"]+)"', page)
    assert len(sheets) == 1

    for address in (*sheets, *scripts):
        assert re.search(r"\.[0-9a-f]{12}\.(css|js)$", address), address
        plain, small = (
            site.load(address, {**PROXIED, "Accept-Encoding": coding}) for coding in ("identity", "br, gzip")
        )
        assert (plain[0], small[0]) == (200, 200), address
        assert small[2]["Content-Encoding"] == "br", address
        assert len(small[1]) < len(plain[1]), address
        assert "immutable" in small[2]["Cache-Control"], address
        assert b"@import" not in plain[1], address


def test_a_port_that_is_taken_is_said(new_database: str, tmp_path: Path) -> None:
    site = Installation(new_database, tmp_path)
    with socket.create_server(("127.0.0.1", site.web_port)):
        done = subprocess.run(
            [sys.executable, "manage.py", "runweb", "--port", str(site.web_port)],
            cwd=ROOT, env=site._environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS,
        )  # fmt: skip

    assert done.returncode != 0
    assert str(site.web_port) in done.stderr
