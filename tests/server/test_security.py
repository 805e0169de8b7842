"""Whoever may not ask is refused, nothing outside is ever read, and nobody elsewhere learns paths."""

from __future__ import annotations

import base64
import io
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

import diptych
from diptych.engine.collection import Collection
from diptych.errors import UsageError
from diptych.server import app as application
from diptych.server.errors import without_paths
from diptych.server.running import checked_token, listening, opened
from diptych.server.security import content_policy
from diptych.testing import Colours

Made = Callable[..., TestClient]
TOKEN = "a-token-of-many-letters"
ELSEWHERE = "192.0.2.7"


def kind(answer: object) -> str:
    return str(answer.json()["error"]["kind"])  # type: ignore[attr-defined]


# Who may ask


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8765", 200),
        ("127.0.0.1", 200),
        ("[::1]:8765", 200),
        ("192.0.2.1:8765", 200),  # a number is no name that somebody could point here
        ("pictures.example", 200),
        ("evil.example:8765", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("user@evil.example", 421),
        ("", 400),
        ("[", 400),
    ],
)
def test_a_foreign_host_is_refused(served: Made, host: str, status: int) -> None:
    client = served(hosts=frozenset({"pictures.example"}))
    assert client.get("/api/v1/search", headers={"host": host}).status_code == status
    assert client.get("/metrics", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://localhost:8765"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://localhost:9999"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, 403),
    ],
)
def test_pages_of_others_may_not_ask(served: Made, headers: dict[str, str], status: int) -> None:
    answer = served().get("/api/v1/search", headers=headers)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


def test_a_token_is_needed_where_there_is_one(served: Made) -> None:
    client = served(token=TOKEN, caller=ELSEWHERE)
    for path in ("/api/v1/search", "/api/v1/openapi.json", "/metrics", "/api/v1/items/1/thumbnail"):
        answer = client.get(path)
        assert (answer.status_code, kind(answer)) == (401, "Unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert client.get("/api/v1/health").json()["authorized"] is False
    right = {"authorization": f"Bearer {TOKEN}"}
    assert client.get("/api/v1/search", headers=right).status_code == 200
    for wrong in (f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer ", f"Basic {TOKEN}", "Bearer \xe9"):
        answer = client.get("/api/v1/search", headers={"authorization": wrong.encode("latin-1")})
        assert answer.status_code == 401


def test_a_browser_signs_in_and_out(served: Made) -> None:
    client = served(token=TOKEN, caller=ELSEWHERE)
    assert client.post("/api/v1/session", json={"token": "wrong"}).status_code == 401
    signed = client.post("/api/v1/session", json={"token": TOKEN})
    assert signed.status_code == 204
    cookie = signed.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    assert client.get("/api/v1/search").status_code == 200
    client.delete("/api/v1/session")
    assert client.get("/api/v1/search").status_code == 401
    until = f"{2**40}"
    forged = {"cookie": f"diptych-session={until}.{'0' * 64}"}
    assert client.get("/api/v1/search", headers=forged).status_code == 401


def test_wrong_tokens_are_few(served: Made) -> None:
    client = served(token=TOKEN, caller=ELSEWHERE)
    wrong = {"authorization": "Bearer of-something-else"}
    found = [client.get("/api/v1/search", headers=wrong).status_code for _ in range(22)]
    assert found == [401] * 20 + [429] * 2
    assert client.get("/api/v1/search", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_callers_from_elsewhere_need_a_token(served: Made) -> None:
    answer = served(caller=ELSEWHERE).get("/api/v1/health")
    assert (answer.status_code, kind(answer)) == (403, "Forbidden")
    # As of a proxy on this machine, which hands on what others ask.
    answer = served().get("/api/v1/search", headers={"x-forwarded-for": ELSEWHERE})
    assert (answer.status_code, kind(answer)) == (403, "Forbidden")


@pytest.mark.parametrize("token", ["short", "with blanks in it is long", "", "ümlaut-token-of-many-letters"])
def test_a_token_guards(token: str) -> None:
    with pytest.raises(UsageError, match="a token has at least 16"):
        checked_token(token, "127.0.0.1")


def test_an_open_address_needs_a_token() -> None:
    assert checked_token(None, "localhost") is None
    for host in ("0.0.0.0", "::", "192.0.2.1", "pictures.example"):
        with pytest.raises(UsageError, match="so a token is needed"):
            checked_token(None, host)
    assert checked_token(TOKEN, "0.0.0.0") == TOKEN


def test_a_port_that_is_taken_is_told() -> None:
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"127.0.0.1 port {port} cannot be listened on"):
            listening("127.0.0.1", port)
    with pytest.raises(UsageError, match="from 0 to 65535, not 70000"):
        listening("127.0.0.1", 70000)


def test_the_page_runs_nothing_but_its_own_files(served: Made) -> None:
    headers = served().get("/api/v1/health").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    for name, value in {"x-content-type-options": "nosniff", "x-frame-options": "DENY"}.items():
        assert headers[name] == value
    assert "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='" in content_policy([b""])


# What may be changed


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/jobs", {}),
        ("DELETE", "/api/v1/jobs/j1", None),
        ("POST", "/api/v1/items", {"items": [{"id": "a", "texts": ["b"]}]}),
        ("POST", "/api/v1/remove", {"files": ["red.png"]}),
    ],
)
def test_nothing_is_changed_unasked(
    served: Made, collection: Collection, method: str, path: str, body: object
) -> None:
    client = served()
    answer = client.request(method, path, json=body)
    assert (answer.status_code, kind(answer)) == (403, "Forbidden")
    assert collection.count("image") == 6


# What may be read


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/api/v1/items/..%2f..%2fetc%2fpasswd/original",
        "/api/v1/items/%2fetc%2fpasswd/original",
        "/api/v1/items/-1/original",
        "/api/v1/items/1e3/original",
        "/api/v1/items/0/original",
        "/api/v1/lookup?id=/etc/passwd",
        "/api/v1/lookup?id=../../etc/passwd",
        "/api/v1/lookup?id=%00",
        "/api/v1/search?q=red&folder=../..",
        "/api/v1/search?q=red&folder=/etc",
        "/api/v1/search?q=red&folder=C:/Windows",
        "//etc/passwd",
        "/routes.py",
        "/../app.py",
    ],
)
def test_nothing_outside_is_read(served: Made, path: str) -> None:
    answer = served().get(path)
    assert answer.status_code in (400, 404, 422)
    assert b"root:" not in answer.content
    assert b"import" not in answer.content


def row_of(client: TestClient, name: str) -> int:
    return int(client.get("/api/v1/lookup", params={"id": name}).json()["item"])


def test_a_file_that_became_a_link_out_is_not_read(served: Made, photos: Path, tmp_path: Path) -> None:
    client = served()
    row = row_of(client, "green.png")
    Image.new("RGB", (9, 9), "pink").save(tmp_path / "secret.png")
    (photos / "green.png").unlink()
    (photos / "green.png").symlink_to(tmp_path / "secret.png")
    for path in ("original", "thumbnail?size=160"):
        answer = client.get(f"/api/v1/items/{row}/{path}")
        assert (answer.status_code, kind(answer)) == (403, "Forbidden")
    assert client.post(f"/api/v1/items/{row}/why", json={"text": ["red"]}).status_code == 403
    assert client.get(f"/api/v1/items/{row}").json()["picture"] is None


def test_a_link_out_that_was_indexed_as_such_is_read(photos: Path, tmp_path: Path, served: Made) -> None:
    Image.new("RGB", (9, 9), "pink").save(tmp_path / "other.png")
    (photos / "link.png").symlink_to(tmp_path / "other.png")
    with diptych.open(photos, model=Colours()) as filling:
        filling.add(follow_links=True)
    client = served()
    row = row_of(client, "link.png")
    assert client.get(f"/api/v1/items/{row}/original").status_code == 200
    Image.new("RGB", (8, 8), "pink").save(tmp_path / "other.png")
    assert client.get(f"/api/v1/items/{row}/original").status_code == 403


def test_a_file_that_is_gone_is_told(served: Made, photos: Path) -> None:
    client = served()
    row = row_of(client, "green.png")
    (photos / "green.png").unlink()
    answer = client.get(f"/api/v1/items/{row}/original")
    assert (answer.status_code, kind(answer)) == (410, "Gone")


def test_a_folder_inside_serves_its_part_only(collection: Collection, photos: Path) -> None:
    outside = collection.search("red", k=1)[0].item
    (served,), _ = opened([photos / "more"], trust=False)
    client = TestClient(
        application.create_app([diptych.open(photos / "more", model=Colours())]),
        base_url="http://localhost",
        client=("127.0.0.1", 1),
    )
    served.close()
    with client:
        found = client.get("/api/v1/search", params={"q": "red", "k": 10}).json()["results"]
        assert sorted(one["id"] for one in found) == ["more/black.png", "more/white.png"]
        for path in (f"items/{outside}", f"items/{outside}/original", "lookup?id=red.png"):
            assert client.get(f"/api/v1/{path}").status_code == 404
        asked = {"like": [outside], "k": 1}
        assert client.post("/api/v1/search", json=asked).status_code == 404
        assert client.get("/api/v1/search", params={"q": "red", "folder": "."}).status_code == 200
        told = client.get("/api/v1/collections").json()["collections"][0]
        assert (told["name"], told["images"], told["texts"]) == ("more", 2, 0)


def test_a_drawing_is_never_a_page(served: Made, photos: Path, collection: Collection) -> None:
    (photos / "evil.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="30" height="30"><script>alert(1)</script>'
        '<rect width="30" height="30" fill="red"/></svg>'
    )
    collection.add()
    client = served()
    answer = client.get(f"/api/v1/items/{row_of(client, 'evil.svg')}/original")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["content-security-policy"]


def test_others_learn_no_paths(served: Made, photos: Path, tmp_path: Path) -> None:
    here, there = served(), served(token=TOKEN, caller=ELSEWHERE)
    there.headers["authorization"] = f"Bearer {TOKEN}"
    where = str(tmp_path)
    asked = [
        "/api/v1/search?q=red",
        "/api/v1/search?q=red&recall=0.9",
        "/api/v1/search?q=red&model=/no/such/run",
        "/api/v1/collections",
        "/api/v1/lookup?id=red.png",
        "/api/v1/models",
        "/api/v1/jobs",
    ]
    for path in asked:
        assert where not in there.get(path).text, path
    assert where in here.get("/api/v1/search?q=red").text
    assert where in here.get("/api/v1/search?q=red&recall=0.9").text
    (photos / "red.png").write_bytes(b"no picture any more")
    row = row_of(there, "red.png")
    answer = there.get(f"/api/v1/items/{row}/thumbnail")
    assert (answer.status_code, answer.json()["error"]["message"]) == (
        422,
        "red.png: not a picture, whatever its name says",
    )


def test_paths_are_taken_out_of_sentences(tmp_path: Path) -> None:
    folder = tmp_path / "a b" / "photos"
    assert without_paths(f"{folder}/x/y.jpg is damaged", [folder]) == "photos/x/y.jpg is damaged"
    assert without_paths("'/var/lib/thing.sqlite' is full") == "'thing.sqlite' is full"
    assert without_paths("C:\\Users\\ann\\thing.sqlite is full") == "thing.sqlite is full"
    assert (
        without_paths("either/or, 1/2 and https://a.example/b/c")
        == "either/or, 1/2 and https://a.example/b/c"
    )


# What may be sent


def broken_png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(out, "PNG")
    return out.getvalue()[:60]


def huge_png() -> bytes:
    """A PNG of some bytes that says that it has 60,000 x 60,000 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    head = (60_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
    return start + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


HOSTILE = {
    "empty": (b"", 422),
    "text": (b"no picture", 422),
    "broken": (broken_png(), 422),
    "huge": (huge_png(), 413),
    "script": (
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>' + b"<",
        422,
    ),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 422),
    "archive": (b"PK\x03\x04" + b"\0" * 100, 422),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_uploads_are_refused(served: Made, name: str) -> None:
    content, status = HOSTILE[name]
    client = served()
    answer = client.post("/api/v1/uploads", files={"file": (f"../{name}.jpg", content)})
    assert answer.status_code == status, answer.text
    data = base64.b64encode(content).decode()
    answer = client.post("/api/v1/search", json={"image": [{"data": data}]})
    assert answer.status_code == status, answer.text


def test_what_is_too_large_is_refused_before_it_is_read(served: Made) -> None:
    client = served(max_upload=1 << 20)
    answer = client.post("/api/v1/uploads", files={"file": ("big.bin", os.urandom(3 << 20))})
    assert (answer.status_code, kind(answer)) == (413, "TooLarge")
    answer = client.post("/api/v1/session", content=b"x" * (2 << 20))
    assert (answer.status_code, kind(answer)) == (413, "TooLarge")

    def pieces() -> object:
        for _ in range(64):
            yield b" " * (1 << 16)

    answer = client.post(  # without a length
        "/api/v1/search", content=pieces(), headers={"content-type": "application/json"}
    )
    assert (answer.status_code, kind(answer)) == (413, "TooLarge")
    assert client.get("/api/v1/health").status_code == 200


def test_addresses_are_fetched_only_where_allowed(served: Made) -> None:
    asked = {"image": [{"url": "http://127.0.0.1:9/x.jpg"}]}
    answer = served().post("/api/v1/search", json=asked)
    assert (answer.status_code, kind(answer)) == (403, "Forbidden")
    client = served(urls=True)
    for url in ("http://127.0.0.1:9/x.jpg", "http://[::1]/x", "http://169.254.169.254/", "http://10.0.0.1/"):
        answer = client.post("/api/v1/search", json={"image": [{"url": url}]})
        assert (answer.status_code, kind(answer)) == (400, "UsageError"), answer.text
        assert "private network" in answer.json()["error"]["message"]
    answer = client.post("/api/v1/search", json={"image": [{"url": "file:///etc/passwd"}]})
    assert (answer.status_code, kind(answer)) == (400, "UsageError")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"text": 3}',
        b'{"text": ["a"], "k": 1e99}',
        b'{"text": ["a"], "k": true, "other": 1}',
        b'{"text": ["\\ud800"]}',
        b'{"text": ["a"], "text_weight": NaN}',
        b'{"text": [{"text": "a", "weight": 1e300}]}',
        b'{"like": [99999999999999999999999]}',
        b'{"like": [{"id": "\\u0000"}]}',
        b'{"like": [{}]}',
        b'{"image": [{}]}',
        b'{"image": [{"data": "&"}]}',
        b'{"image": [{"upload": "u", "data": "AAAA"}]}',
        b'{"text": ["a"], "where": "' + b"(" * 5000 + b'"}',
        b'{"text": ["a"], "folder": "\\u0000"}',
        b"[" * 100_000,
        b'{"text": ["' + b"a " * 40_000 + b'"]}',
    ],
)
def test_nonsense_is_refused(served: Made, body: bytes) -> None:
    answer = served().post("/api/v1/search", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 404, 413, 422), answer.text
    assert answer.json()["error"]["message"]
