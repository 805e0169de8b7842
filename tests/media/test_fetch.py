"""Pictures are fetched within bounds, and never from private networks."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from diptych.errors import ImageError, UsageError
from diptych.media import fetch as web
from diptych.media.fetch import fetch, is_address


class _Host(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.hosts.append(self.headers["Host"])
        name = self.path.partition("?")[0]
        if name == "/moved":
            self._head(302, Location="/a%20picture?size=1")
        elif name == "/round":
            self._head(302, Location="/round")
        elif name == "/inside":
            self._head(302, Location="http://127.0.0.1:1/")
        elif name == "/gone":
            self._head(404)
        elif name == "/short":
            self._head(200, **{"Content-Length": "100"})
            self.wfile.write(b"ten bytes.")
        elif name == "/slow":
            for _ in range(100):  # a letter of a head now and then
                self.wfile.write(b"H")
                self.wfile.flush()
                time.sleep(0.1)
        else:
            self._head(200)
            self.wfile.write(self.path.encode() * 3)

    def _head(self, status: int, **fields: str) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def host() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Host)
    server.hosts = []
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    assert set(server.hosts) <= {f"127.0.0.1:{server.server_port}"}


def test_what_lies_there_comes_also_where_it_has_moved(host: str) -> None:
    assert fetch(f"{host}/a.jpg?x=1", private=True) == b"/a.jpg?x=1" * 3
    assert fetch(f"{host}/moved", private=True) == b"/a%20picture?size=1" * 3
    assert fetch(f"{host}/\u00e4 b.jpg", private=True) == b"/%C3%A4%20b.jpg" * 3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone", "answers 404"),
        ("short", "ends before it should"),
        ("round", "leads on more than 5 times"),
        ("long", "more than"),
    ],
)
def test_what_does_not_come_is_said(host: str, name: str, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        fetch(f"{host}/{name}", largest=10 if name == "long" else 1000, private=True)


def test_a_host_that_dawdles_is_left(host: str) -> None:
    began = time.monotonic()
    with pytest.raises(ImageError, match="takes too long"):
        fetch(f"{host}/slow", seconds=0.5, private=True)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "name",
    ["127.0.0.1", "localhost", "10.1.2.3", "192.168.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]",
     "[2002:a00:1::]", "0.0.0.0", "2130706433", "0x7f000001", "224.0.0.1", "[fe80::1]"],
)  # fmt: skip
def test_private_hosts_are_not_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("it was asked"))
    with pytest.raises((UsageError, ImageError), match=r"private network|not found"):
        fetch(f"http://{name}/a.jpg")


def test_neither_is_one_that_a_public_host_leads_to(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = iter([True, False])
    monkeypatch.setattr(web, "_is_public", lambda _: next(asked))
    with pytest.raises(UsageError, match="private network"):
        fetch(f"{host}/inside")


def test_a_name_with_one_private_address_is_private(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(2, 1, 6, "", ("93.184.215.14", 80)), (2, 1, 6, "", ("10.0.0.1", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with pytest.raises(UsageError, match="private network"):
        fetch("http://two.example/")


@pytest.mark.parametrize(
    "address", ["file:///etc/hosts", "ftp://a/b", "http:///a", "http://a:99999/", "http://[::1/a"]
)
def test_other_addresses_are_none(address: str) -> None:
    with pytest.raises(UsageError, match="no address of the web"):
        fetch(address)
    with pytest.raises(UsageError, match="password"):
        fetch("http://me:secret@host/a")


def test_what_an_address_is() -> None:
    assert all(is_address(one) for one in ("HTTPS://a/b", "http://a"))
    assert not any(is_address(one) for one in ("a.jpg", "ftp://a", "http", b"http://a", None))
