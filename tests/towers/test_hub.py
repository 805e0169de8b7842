"""Weights of a hub are fetched once, go on where they broke off, and are never taken for whole before."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import torch

from checkpoints import MAKERS, for_transformers_js

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GRAPH = "onnx/vision_model.onnx"

# What a person does who has no torch: the system is loaded by its name, in a process of its own.
LOAD = """
import json, sys
sys.modules["torch"] = sys.modules["transformers"] = None
from PIL import Image
import diptych
from diptych.errors import DiptychError
try:
    system = diptych.load(sys.argv[1])
    vectors = system.encode_image([Image.new("RGB", (50, 40), "red")])[0, :3].tolist()
    print(json.dumps({"fingerprint": system.fingerprint, "vectors": vectors}))
except DiptychError as error:
    print(json.dumps({"kind": type(error).__name__, "said": str(error)}))
"""


class Hub:
    """A hub with one repository, on this machine."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files, self.asked, self.commit = dict(files), [], COMMIT
        self.break_off: dict[str, list[int]] = {}  # where the next answers for a file end
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                hub.answer(self)

            def do_GET(self) -> None:
                hub.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(request.path).path)
        self.asked.append((request.command, path, request.headers.get("Range")))
        if re.fullmatch(r"/api/models/owner/tiny(/revision/[^/]+)?", path):
            siblings = [{"rfilename": name, "size": len(content)} for name, content in self.files.items()]
            self.say(request, {"id": "owner/tiny", "sha": self.commit, "siblings": siblings})
        elif path.startswith("/api/models/owner/tiny/tree/"):
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in self.files.items()
            ]
            self.say(request, entries)
        elif (found := re.fullmatch(r"/owner/tiny/resolve/([^/]+)/(.+)", path)) and found[2] in self.files:
            self.give(request, found[2])
        else:
            self.say(request, {"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def say(self, request: Any, content: Any, status: int = 200, headers: Mapping[str, str] = {}) -> None:
        body = json.dumps(content).encode()
        request.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": len(body),
            **headers,
        }.items():
            request.send_header(name, str(value))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)

    def give(self, request: Any, name: str) -> None:
        content = self.files[name]
        begin = int((request.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        request.send_response(206 if begin else 200)
        request.send_header("Content-Length", str(len(content) - begin))
        request.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        request.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        request.send_header("X-Repo-Commit", self.commit)
        request.send_header("Accept-Ranges", "bytes")
        request.end_headers()
        if request.command == "GET":
            end = begin + self.break_off[name].pop(0) if self.break_off.get(name) else len(content)
            request.wfile.write(content[begin:end])
            request.wfile.flush()
            if end < len(content):
                request.close_connection = True
                request.connection.close()

    def spans(self, name: str) -> list[str | None]:
        """The parts of a file that were asked for; None for all of it."""
        return [span for verb, path, span in self.asked if path.endswith(name) and verb == "GET"]

    def got(self) -> list[str]:
        """Files that were asked for."""
        return [
            path.rpartition(f"{COMMIT}/")[2]
            for verb, path, _ in self.asked
            if verb == "GET" and "resolve" in path
        ]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    for_transformers_js(folder, "clip", MAKERS["clip"]())
    (folder / "onnx" / "vision_model_fp16.onnx").write_bytes(b"not wanted")
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def hub(files: dict[str, bytes]) -> Iterator[Hub]:
    found = Hub(files)
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def load(hub: Hub, tmp_path: Path) -> Any:
    def loaded(name: str, **environment: str) -> dict[str, Any]:
        given = {
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
            **environment,
        }
        done = subprocess.run(
            [sys.executable, "-c", LOAD, name],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1", **given},
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return {**json.loads(done.stdout), "progress": done.stderr}

    return loaded


def test_it_is_fetched_once_and_without_torch(hub: Hub, load: Any, files: dict[str, bytes]) -> None:
    first = load("clip@owner/tiny")
    assert first["fingerprint"].startswith("clip:onnx:clip:")
    assert "%" in first["progress"]
    assert sorted(set(hub.got())) == sorted(name for name in files if "fp16" not in name)
    hub.asked.clear()
    hub.commit, hub.files = COMMIT[::-1], {}
    again = load("clip@owner/tiny")
    assert hub.asked == []
    offline = load("clip@owner/tiny", HF_HUB_OFFLINE="1")
    for later in (again, offline):
        assert (later["fingerprint"], later["vectors"]) == (first["fingerprint"], first["vectors"])
    assert load("clip@owner/tiny@next")["kind"] == "BadData"  # another revision is looked at anew


def test_a_download_that_breaks_off_goes_on_where_it_was(hub: Hub, load: Any) -> None:
    name, chunk = f"{GRAPH}_data", 10 << 20  # bytes that the hub's client writes at a time
    hub.files[name] = bytes(chunk * 5 // 2)
    hub.break_off[name] = [chunk * 2 + 1000]
    assert "fingerprint" in load("clip@owner/tiny")
    assert hub.spans(name) == [None, f"bytes={2 * chunk}-"]


def test_half_a_download_is_not_taken_for_whole(hub: Hub, load: Any, files: dict[str, bytes]) -> None:
    hub.break_off[GRAPH] = [100] * 50
    broken = load("clip@owner/tiny")
    assert broken["kind"] == "MissingData"
    assert "the hub did not give it" in broken["said"]
    offline = load("clip@owner/tiny", HF_HUB_OFFLINE="1")
    assert offline["kind"] == "MissingData"
    hub.break_off.clear()
    assert hub.got().count("tokenizer.json") == 1
    assert "fingerprint" in load("clip@owner/tiny")
    assert hub.got().count("tokenizer.json") == 1  # what was whole is not fetched again


def test_a_file_that_was_cut_later_is_not_whole(load: Any, tmp_path: Path) -> None:
    first = load("clip@owner/tiny")
    (graph,) = tmp_path.rglob("vision_model.onnx")
    blob = graph.resolve()
    blob.write_bytes(blob.read_bytes()[:-50])
    for offline in "01":
        cut = load("clip@owner/tiny", HF_HUB_OFFLINE=offline)
        assert cut["kind"] == "MissingData"
        assert "is not whole; delete" in cut["said"]
    blob.unlink()
    assert load("clip@owner/tiny")["fingerprint"] == first["fingerprint"]


def test_a_repository_that_is_not_there(load: Any) -> None:
    found = load("clip@owner/none")
    assert found["kind"] == "MissingData"
    assert "owner/none is no folder here, and the hub did not give it (RepositoryNotFound" in found["said"]
