"""What stands for the systems of others: answers that depend on the request alone, and a record of what was asked."""

import hashlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LINKS = {"/": ["/a", "/b"], "/a": ["/", "/c"], "/b": ["/c", "/d"], "/c": [], "/d": ["/a"]}
TEXTS = {"one": "the cat and the hat", "two": "a hat and a cat and a mat", "three": "the mat"}


def invoice(number: str) -> dict[str, Any]:
    lines = [{"title": "tea", "amount": "12.50"}, {"title": "cup", "amount": "7.25"}]
    return {"number": number, "due": "2026-12-01", "lines": lines}


def page_of_contacts(since: str, number: str) -> dict[str, Any]:
    first = 2 * int(number)
    contacts = [{"id": first, "name": "Ada", "email": None}, {"id": first + 1, "name": "Bob", "email": "b@example.org"}]
    return {"contacts": contacts, "next": int(number) + 1 if int(number) < 3 else None}


def sales(month: str) -> dict[str, list[Any]]:
    return {"shop": ["north", "south", "north", "west"], "amount": ["10.5", "20", "30.25", "7"]}


GET: dict[str, Callable[..., Any]] = {
    "invoices": invoice,
    "pictures": lambda name: {"name": name, "width": 1600, "height": 900 + 10 * len(name)},
    "search": lambda text: {"hits": [text.upper(), "six"]},
    "customers": lambda name: {"name": name.title(), "orders": len(name) % 2},
    "contacts": page_of_contacts,
    "documents": lambda name: {"text": TEXTS[name]},
    "sales": sales,
    "hours": lambda team: {"mon": 8, "tue": 7.5},
}


def model(body: dict[str, Any]) -> dict[str, Any]:
    """Searches, calculates, answers."""
    asked = [message for message in body["messages"] if message["role"] == "tool"]
    if not asked:
        return {"tool": "search", "argument": "seven"}
    if len(asked) == 1:
        return {"tool": "calculate", "argument": "6*7"}
    return {"content": f"It is {asked[-1]['content']}."}


class World:
    """`effects` are the requests that were not plain reads, in order."""

    def __init__(self) -> None:
        self.effects: list[tuple[str, Any]] = []
        self.refused: set[str] = set()
        self.url = ""

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if method == "GET":
            if path in LINKS:
                return 200, {"links": LINKS[path]}
            _, kind, *names = path.split("/")
            return 200, GET[kind](*names)
        self.effects.append((path, body))
        if path in self.refused:
            return 409, f"{path} is refused"
        digest = hashlib.sha256(json.dumps([path, body], sort_keys=True).encode()).hexdigest()
        return 200, model(body) if path == "/model" else {"id": digest[:8]}


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A task that was crashed leaves its connections."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def running_world() -> Iterator[World]:
    world = World()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(size)) if size else None
            status, found = world.answer(self.command, self.path, body)
            text = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = answer  # noqa: N815 - the library's names

        def log_message(self, *args: Any) -> None:
            """The record is enough."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    world.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield world
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
