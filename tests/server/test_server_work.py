"""Requests that come together: batches, limits, deadlines, and jobs that outlive their server."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import diptych
from diptych.engine.collection import Collection
from diptych.errors import DiptychError
from diptych.server import asking
from diptych.server.app import create_app
from diptych.server.errors import Refused
from diptych.server.gate import Gate
from diptych.server.holding import Holding
from diptych.server.schema import Job
from diptych.server.settings import Settings
from diptych.server.together import Together, join_calls
from diptych.testing import Colours

Made = Callable[..., TestClient]


class Slow:
    """Doubles numbers, holding on until it is let go, and tells what came together."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, values: Sequence[Any]) -> Any:
        self.seen.append(len(values))
        self.begun.set()
        assert self.go.wait(30)
        if -1 in values:
            raise DiptychError("minus one")
        return np.array(values) * 2


def test_calls_that_come_meanwhile_are_one_batch() -> None:
    slow = Slow()
    together, found = Together(slow, most=5), dict[int, Any]()

    def ask(number: int) -> None:
        try:
            found[number] = together([number]).tolist()
        except DiptychError as error:
            found[number] = str(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in (0, 1, 2, -1, 3, 4, 5)]
    threads[0].start()
    assert slow.begun.wait(30)
    for thread in threads[1:]:
        thread.start()
    while len(together._waiting) < 6:
        time.sleep(0.01)
    slow.go.set()
    for thread in threads:
        thread.join()
    assert found == {number: [2 * number] for number in range(6)} | {-1: "minus one"}
    assert slow.seen[0] == 1
    assert sorted(slow.seen[1:3])[-1] == 5  # and the fault of one is not that of the others
    assert together(np.array([3])).tolist() == [6]  # what is no list goes by itself


def test_an_encoder_stays_what_it_is() -> None:
    encoder = Colours()
    before = encoder.encode_text(["red", "blue"])
    sizes: list[int] = []
    join_calls(encoder, told=sizes.append)
    join_calls(encoder, told=sizes.append)
    assert np.array_equal(encoder.encode_text(["red", "blue"]), before)
    assert sizes == [2]
    assert isinstance(encoder, Colours)


def test_collections_of_one_model_share_it(photos: Path, tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        Image.new("RGB", (20, 20), "red").save(folder / "red.png")
        with diptych.open(folder) as collection:
            collection.add()
        made.append(diptych.open(folder))
    holding = Holding(made)
    first, second = (served.warmed() for served in holding)
    assert first.encoder is second.encoder
    assert [served.name for served in holding] == ["one", "two"]
    holding.close()


def test_a_gate_refuses_what_is_too_much_and_too_late() -> None:
    async def run() -> None:
        gate = Gate("work", threads=1, waiting=1, deadline=0.3)
        go = threading.Event()
        first = asyncio.create_task(gate.run(lambda: go.wait(30)))
        second = asyncio.create_task(gate.run(lambda: "second"))
        await asyncio.sleep(0.05)
        assert gate.taken == 2
        with pytest.raises(Refused, match="too many requests wait") as busy:
            await gate.run(lambda: None)
        assert (busy.value.kind, busy.value.after) == ("Busy", 1)
        for task in (first, second):
            with pytest.raises(Refused, match=r"longer than 0\.3 seconds"):
                await task
        assert gate.taken == 1  # the thread is still taken; who waited for it is gone
        late = asyncio.create_task(gate.join("kind", 1, lambda asked: asked))
        with pytest.raises(Refused, match=r"longer than 0\.3 seconds"):
            await late
        go.set()
        while gate.taken:
            await asyncio.sleep(0.01)
        assert await gate.run(lambda: "again") == "again"
        assert await gate.join("kind", 2, lambda asked: asked) == 2  # without the one that was late
        gate.close()
        with pytest.raises(Refused, match="is being stopped"):
            await gate.run(lambda: None)

    asyncio.run(run())


def test_too_many_searches_are_told_to_come_again(served: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    client = served(threads=1, waiting=1, deadline=20.0)
    go, begun = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> Any:
        begun.set()
        assert go.wait(30)
        raise DiptychError("enough")

    monkeypatch.setattr("diptych.server.routes.shared.answers", slow)
    threads = [threading.Thread(target=client.get, args=("/api/v1/search?q=red",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert begun.wait(30)
    gate = client.app.serving.searches  # type: ignore[attr-defined]
    while gate.taken < 2:
        time.sleep(0.01)
    answer = client.get("/api/v1/search?q=red")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert client.get("/api/v1/health").status_code == 200
    go.set()
    for thread in threads:
        thread.join()


def test_a_search_whose_caller_has_gone_is_not_begun(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go, seen = threading.Event(), threading.Event(), list[str]()

    def slow(_: object, queries: Sequence[Any], *__: object) -> Any:
        seen.extend(query.text[0] for query in queries)
        begun.set()
        assert go.wait(30)
        raise DiptychError("enough")

    monkeypatch.setattr("diptych.server.routes.shared.answers", slow)
    app = create_app([collection], Settings(threads=1))
    gate = app.serving.searches

    async def ask(asked: str, gone: asyncio.Event) -> list[int]:
        came, statuses = [{"type": "http.request", "body": b"", "more_body": False}], list[int]()

        async def receive() -> Any:
            if came:
                return came.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            statuses.append(message.get("status"))

        scope = {"type": "http", "method": "GET", "scheme": "http", "path": "/api/v1/search"}
        scope |= {"http_version": "1.1", "query_string": asked.encode(), "root_path": "", "state": {}}
        scope |= {"headers": [(b"host", b"localhost:8765")], "client": ("127.0.0.1", 50000)}
        await app(scope, receive, send)
        return [status for status in statuses if status]

    async def run() -> None:
        stays, goes = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(ask("q=red", stays))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        left = [asyncio.create_task(ask(one, goes)) for one in ("q=green", "q=blue&k=2", "q=black")]
        last = asyncio.create_task(ask("q=white", stays))
        while gate.taken < 5:
            await asyncio.sleep(0.01)
        goes.set()
        assert await asyncio.gather(*left) == [[499], [499], [499]]  # which nobody reads, but metrics count
        assert gate.taken == 2  # at once, while the first still works
        go.set()
        assert [await first, await last] == [[500], [500]]
        assert seen == ["red", "white"]
        goes.clear()
        go.clear()
        begun.clear()
        running = asyncio.create_task(ask("q=yellow", goes))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        goes.set()
        assert await running == [499]
        assert gate.taken == 1  # what was begun cannot be stopped, and keeps its thread
        go.set()
        while gate.taken:
            await asyncio.sleep(0.01)

    asyncio.run(run())
    gate.close()


def test_what_is_alike_and_waits_is_one_call() -> None:
    async def run() -> None:
        gate = Gate("work", threads=8, waiting=8, deadline=30.0)
        slow = Slow()
        asked = [asyncio.create_task(gate.join("double", 0, slow))]
        while not slow.begun.is_set():
            await asyncio.sleep(0.01)
        busy = [asyncio.create_task(gate.join(f"other {at}", 9, slow)) for at in range(os.cpu_count() or 1)]
        while len(slow.seen) < (os.cpu_count() or 1):  # as many calls as there are cores
            await asyncio.sleep(0.01)
        asked += [asyncio.create_task(gate.join("double", number, slow)) for number in (1, 2, -1, 3)]
        await asyncio.sleep(0.05)
        assert await gate.run(lambda: "another thread") == "another thread"
        slow.go.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [str(one) for one in found] == ["0", "2", "4", "minus one", "6"]
        assert await asyncio.gather(*busy) == [18] * len(busy)
        assert max(slow.seen) >= 4  # and then one by one, for the fault of one
        assert gate.taken == 0
        gate.close()
        with pytest.raises(Refused, match="is being stopped"):
            await gate.join("double", 1, slow)
        assert gate.taken == 0

    asyncio.run(run())


def test_searches_that_are_alike_read_the_vectors_once_and_answer_as_ever(
    served: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = served(threads=2)
    words = ("red", "green", "blue", "black")
    alone = {one: client.get(f"/api/v1/search?q={one}").json() for one in words}
    sizes, go, begun = list[int](), threading.Event(), threading.Event()
    many = asking.search_many

    def slow(view: Any, items: Any, options: Any) -> Any:
        sizes.append(len(items))
        begun.set()
        assert go.wait(30)
        return many(view, items, options)

    monkeypatch.setattr(asking, "search_many", slow)
    monkeypatch.setattr("diptych.server.gate._AT_A_TIME", 1)
    found = dict[str, Any]()

    def ask(asked: str) -> None:
        found[asked] = client.get(f"/api/v1/search?{asked}").json()

    others = ["q=red&k=2", "q=red&where=width+%3D+", "q=green&folder=more"]
    threads = [threading.Thread(target=ask, args=(one,)) for one in (*(f"q={one}" for one in words), *others)]
    threads[0].start()
    assert begun.wait(30)
    for thread in threads[1:]:
        thread.start()
    gate = client.app.serving.searches  # type: ignore[attr-defined]
    while gate.taken < len(threads):
        time.sleep(0.01)
    go.set()
    for thread in threads:
        thread.join()
    assert sorted(sizes) == [1, 1, 1, 1, 3]
    for one in words:
        assert found[f"q={one}"]["results"] == alone[one]["results"]
        assert found[f"q={one}"]["query"] == one
    assert len(found[others[0]]["results"]) == 2
    assert found[others[1]]["error"]["kind"] == "UsageError"
    assert {result["id"] for result in found[others[2]]["results"]} == {"more/white.png", "more/black.png"}


# Jobs


def waited(client: TestClient, job: str) -> dict[str, Any]:
    for _ in range(600):
        told: dict[str, Any] = client.get(f"/api/v1/jobs/{job}").json()
        if told["state"] not in ("waiting", "running"):
            return told
        time.sleep(0.05)
    raise AssertionError(told)


def test_a_job_is_seen_as_it_goes_on(served: Made, photos: Path) -> None:
    client = served(write=True)
    (photos / "broken.jpg").write_bytes(b"no picture")
    Image.new("RGB", (80, 40), "purple").save(photos / "purple.png")
    asked = client.post("/api/v1/jobs", json={})
    assert asked.status_code == 202
    Job.model_validate(asked.json(), strict=True)
    told = [line for line in client.get(f"/api/v1/jobs/{asked.json()['job']}/events").iter_lines() if line]
    names = [line.partition(": ")[2] for line in told if line.startswith("event: ")]
    assert names[-2:] == ["skipped", "end"]
    datas = [json.loads(line.partition(": ")[2]) for line in told if line.startswith("data: ")]
    assert datas[-1]["state"] == "done"
    assert datas[-1]["summary"]["added"] == 1
    assert datas[-2]["reason"] == "not a picture, whatever its name says"
    found = client.get("/api/v1/search?q=purple&k=1").json()["results"]
    assert found[0]["id"] == "purple.png"
    assert client.get("/api/v1/collections/photos/skipped").json()["skipped"][0]["path"] == "broken.jpg"
    assert client.get("/api/v1/jobs").json()["jobs"][0]["job"] == asked.json()["job"]


def test_a_job_is_refused_outside_and_stops_when_told(
    served: Made, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = served(write=True)
    assert client.post("/api/v1/jobs", json={"folders": ["../.."]}).status_code == 400
    go, begun = threading.Event(), threading.Event()
    add = Collection.add

    def slow(self: Collection, *paths: object, on_progress: Any = None, **how: Any) -> Any:
        begun.set()
        assert go.wait(30)
        on_progress(diptych.engine.results.Progress(1, 2, 0, None, 0.1))  # type: ignore[attr-defined]
        return add(self, *paths, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Collection, "add", slow)
    first = client.post("/api/v1/jobs", json={}).json()["job"]
    second = client.post("/api/v1/jobs", json={}).json()["job"]
    assert begun.wait(30)
    assert collection.home.get("server_jobs") not in (None, "[]")
    client.delete(f"/api/v1/jobs/{first}")
    client.delete(f"/api/v1/jobs/{second}")
    go.set()
    assert [waited(client, job)["state"] for job in (first, second)] == ["stopped", "stopped"]
    while collection.home.get("server_jobs") != "[]":
        time.sleep(0.01)


def test_what_was_accepted_is_done_by_the_next_server(photos: Path) -> None:
    with diptych.open(photos, model=Colours()) as filling:
        filling.add()
        with filling.home.batch(changes=False):  # as a server left it that was killed
            filling.home.set("server_jobs", json.dumps([{"kind": "index", "folders": []}]))
    Image.new("RGB", (80, 40), "purple").save(photos / "purple.png")
    reading = create_app([diptych.open(photos, model=Colours())])
    with TestClient(reading, base_url="http://localhost", client=("127.0.0.1", 1)) as client:
        assert client.get("/api/v1/jobs").json() == {"jobs": []}  # one that only reads leaves it
    writing = create_app([diptych.open(photos, model=Colours())], Settings(write=True))
    with TestClient(writing, base_url="http://localhost", client=("127.0.0.1", 1)) as client:
        (job,) = client.get("/api/v1/jobs").json()["jobs"]
        assert waited(client, job["job"])["summary"]["added"] == 1
    with diptych.open(photos, model=Colours()) as after:
        assert after.home.get("server_jobs") == "[]"
        assert after.count("image") == 7


def test_searches_go_on_while_a_new_folder_is_indexed(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    for number in range(40):
        Image.new("RGB", (30 + number, 30), (number * 6, 0, 0)).save(folder / f"{number}.png")
    app = create_app([diptych.open(folder, model=Colours())], Settings(write=True))
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1)) as client:
        job = client.post("/api/v1/jobs", json={}).json()["job"]
        states = set()
        while True:
            state = client.get(f"/api/v1/jobs/{job}").json()["state"]
            states.add(client.get("/api/v1/search?q=red").status_code)
            states.add(client.get("/api/v1/collections").status_code)
            if state not in ("waiting", "running"):
                break
        assert (state, states) == ("done", {200})
        assert len(client.get("/api/v1/search?q=red&k=100").json()["results"]) == 40
