"""HTTP to a trigger-site server: finds its address and key, keeps connections, and turns problems into exceptions.

Standard library only. Does not know the requests: `client.py` and `operations.py` do.
"""

import http.client
import json
import os
import select
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

API_PATH = "/api/v1"
TIMEOUT_SECONDS = 30.0
RETRY_DELAYS_SECONDS = (0.2, 1.0)
"""Pauses before the second and third try of a repeatable request."""


class ClientError(Exception):
    """Base of what a client raises about the server or the connection to it."""


class NotConfigured(ClientError):
    """No server is configured: no argument, no environment variable, no running development installation."""


class Unreachable(ClientError):
    """The server did not answer. Whether it carried out the request is unknown."""


class ApiError(ClientError):
    """The server refused the request (4xx) or failed (5xx).

    `type` is the problem's name, such as `/problems/task-not-found`, `errors` the fields: `[{path, message}]`,
    `problem` all of it. `retry_after` is how many seconds the server asks to wait before the next try, if it said so.
    """

    def __init__(self, status: int, problem: Mapping[str, Any], *, retry_after: float | None = None) -> None:
        self.status = status
        self.problem = dict(problem)
        self.retry_after = retry_after
        self.type: str = str(problem.get("type") or "about:blank")
        self.title: str = str(problem.get("title") or http.client.responses.get(status, "Error"))
        self.detail: str = str(problem.get("detail") or "")
        self.errors: list[dict[str, str]] = list(problem.get("errors") or [])
        text = self.detail or self.title
        fields = [(str(error.get("path")), str(error.get("message"))) for error in self.errors]
        unsaid = [f"{path}: {said}" for path, said in fields if not {f"{path} {said}", f"{path}: {said}"} & {text}]
        super().__init__("; ".join([text, *(field for field in unsaid if field not in text)]))


def find_server(url: str | None, api_key: str | None) -> tuple[str, str]:
    """Address and key: the arguments, else TRIGGER_URL and TRIGGER_API_KEY, else the nearest `var/dev.json` upwards."""
    url = url or os.environ.get("TRIGGER_URL")
    api_key = api_key or os.environ.get("TRIGGER_API_KEY")
    if url and api_key:
        return url, api_key
    if url:
        raise NotConfigured(f"there is no API key for {url}: give api_key=… or set TRIGGER_API_KEY")
    development = _development_server(Path.cwd())
    if development is None:
        raise NotConfigured(
            "no server is configured: set TRIGGER_URL and TRIGGER_API_KEY, or run this in or below a folder where "
            "`make run` is running"
        )
    return development[0], api_key or development[1]


def _development_server(start: Path) -> tuple[str, str] | None:
    for folder in (start, *start.parents):
        file = folder / "var" / "dev.json"
        # Somebody else's file in a shared folder must not decide where our payloads go.
        if file.is_file() and file.stat().st_uid == os.getuid():
            found = json.loads(file.read_text())
            return found["url"], found["api_key"]
    return None


class HttpApi:
    """One server, for any number of threads; connections are kept for the next request."""

    def __init__(self, url: str, api_key: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise NotConfigured(f"{url!r} is not an address such as http://127.0.0.1:8000")
        self.url = url.rstrip("/")
        self.timeout_seconds = timeout_seconds
        self._is_tls = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port
        self._base = parts.path.rstrip("/") + API_PATH
        self._headers = {"Authorization": f"Bearer {api_key}", "Accept": "application/json"}
        self._idle: list[http.client.HTTPConnection] = []

    def get(self, path: str, query: Mapping[str, Any] | None = None, *, wait_seconds: float = 0) -> Any:
        """Reads; tries twice more if the server does not answer or says 503."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{path}?{urlencode(given)}" if given else path
        return self._repeated("GET", target, None, self.timeout_seconds + wait_seconds)

    def post(self, path: str, body: Mapping[str, Any], *, is_repeatable: bool = False) -> Any:
        """Changes something, and is sent once: after Unreachable nobody knows whether it was carried out.

        `is_repeatable` means that the server recognises a repeat: the request is then retried like a read.
        """
        send = self._repeated if is_repeatable else self._request
        return send("POST", path, encode_body(body), self.timeout_seconds)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Sets something; retried like a read, because a repeat changes nothing further."""
        return self._repeated("PATCH", path, encode_body(body), self.timeout_seconds)

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """Sets something; retried like a read."""
        return self._repeated("PUT", path, encode_body(body), self.timeout_seconds)

    def delete(self, path: str) -> Any:
        """Deletes something; retried like a read."""
        return self._repeated("DELETE", path, None, self.timeout_seconds)

    def close(self) -> None:
        """Closes the kept connections; later requests open new ones."""
        while self._idle:
            self._idle.pop().close()

    def _repeated(self, method: str, path: str, body: bytes | None, timeout_seconds: float) -> Any:
        for delay in RETRY_DELAYS_SECONDS:
            try:
                return self._request(method, path, body, timeout_seconds)
            except (Unreachable, ApiError) as error:
                if isinstance(error, ApiError) and error.status != 503:
                    raise
            time.sleep(delay)
        return self._request(method, path, body, timeout_seconds)

    def _request(self, method: str, path: str, body: bytes | None, timeout_seconds: float) -> Any:
        connection = self._connection(timeout_seconds)
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, self._base + path, body, headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unreachable(f"{self.url} does not answer: {error or type(error).__name__}") from error
        except BaseException:
            connection.close()  # a half-read answer would be taken for the next request's
            raise
        self._idle.append(connection)
        return _answer(response, content)

    def _connection(self, timeout_seconds: float) -> http.client.HTTPConnection:
        while self._idle:
            kept = self._idle.pop()
            if kept.sock is not None and not _is_stale(kept):
                kept.sock.settimeout(timeout_seconds)
                return kept
            kept.close()
        kind = http.client.HTTPSConnection if self._is_tls else http.client.HTTPConnection
        return kind(self._host, self._port, timeout=timeout_seconds)


def _is_stale(connection: http.client.HTTPConnection) -> bool:
    """True if the server has closed an idle connection: the end of the stream is waiting to be read."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _answer(response: http.client.HTTPResponse, content: bytes) -> Any:
    try:
        value = json.loads(content) if content else {}
    except ValueError as error:
        if response.status >= 400:
            value = {}
        else:
            raise ApiError(502, {"detail": f"the server's answer is not JSON: {error}"}) from error
    if response.status >= 400:
        problem = value if isinstance(value, dict) else {}
        raise ApiError(response.status, problem, retry_after=_seconds(response.headers.get("Retry-After")))
    return value


def _seconds(text: str | None) -> float | None:
    """The seconds to wait; None for a date, which proxies may send instead."""
    return float(text) if text and text.isascii() and text.isdigit() else None


def encode_body(body: Mapping[str, Any]) -> bytes:
    """The body as JSON in UTF-8; escapes would make non-ASCII text up to three times as large.

    A lone surrogate has no UTF-8: it is escaped, and the server's refusal names its place.
    """
    try:
        return json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(body, allow_nan=False).encode()


def path_part(name: str) -> str:
    """Encodes a name as one part of an address."""
    return quote(name, safe="")
