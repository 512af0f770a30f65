"""A real HTTP server that answers clients as a test says. The true server's answers are tested with that server."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Peer:
    """Answers requests in turn from `answers`: (status, body)."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, bytes]] = []
        self.connections: set[Any] = set()
        self.closes_after_answer = False
        self.headers: dict[str, str] = {}
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                peer.requests.append((self.command, self.path, dict(self.headers), body))
                peer.connections.add(self.client_address)
                status, content = peer.answers.pop(0)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                for name, value in peer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)
                # Without a header that says so, like a server that closes idle connections.
                self.close_connection = peer.closes_after_answer

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the names that the base class calls

            def log_message(self, *_: object) -> None:
                """Nothing is printed between the tests' own lines."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def will_answer(self, *answers: tuple[int, Any]) -> None:
        contents = [body if isinstance(body, bytes) else json.dumps(body).encode() for _, body in answers]
        self.answers = [(status, content) for (status, _), content in zip(answers, contents, strict=True)]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
