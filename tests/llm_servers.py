"""A real HTTP server on this machine that answers as it is told to, well or badly."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answering = Callable[["Request"], None]


class Request:
    """What was asked, and the ways to answer it."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self.handler, self.path = handler, handler.path
        self.headers = dict(handler.headers)
        content = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.body: Any = json.loads(content) if content else None

    def send(self, content: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        self.handler.send_response(status)
        self.handler.send_header("Content-Type", kind)
        self.handler.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.handler.wfile.write(content)

    def json(self, found: Any, status: int = 200, **headers: str) -> None:
        self.send(json.dumps(found).encode(), status, **headers)

    def say(self, text: str, **choice: Any) -> None:
        self.json(
            {
                "choices": [
                    {"message": {"role": "assistant", "content": text}, "finish_reason": "stop", **choice}
                ],
                "usage": {"prompt_tokens": 11, "completion_tokens": 3},
            }
        )


@contextlib.contextmanager
def serving(answer: Answering) -> Iterator[tuple[str, list[Request]]]:
    """A server for the block: its address, and what it was asked so far."""
    asked: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            request = Request(self)
            asked.append(request)
            answer(request)

        do_GET = do_POST = _handle

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # whoever asked has gone

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def hang(request: Request) -> None:
    """Answer nothing while anybody waits."""
    with contextlib.suppress(OSError):
        request.handler.connection.settimeout(5)
        request.handler.connection.recv(1)


def drip(request: Request) -> None:
    """A letter now and then, so that every single wait is short."""
    request.handler.send_response(200)
    request.handler.end_headers()
    with contextlib.suppress(OSError):
        for _ in range(200):
            request.handler.wfile.write(b" ")
            request.handler.wfile.flush()
            time.sleep(0.02)
