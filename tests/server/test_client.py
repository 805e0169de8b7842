"""A client speaks of a served collection as the collection itself does."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image
from starlette.testclient import TestClient

import diptych
from diptych.engine.collection import Collection
from diptych.server.app import create_app
from diptych.server.client import question
from diptych.server.running import listening
from diptych.server.settings import Settings

TOKEN = "a token of many letters"


@pytest.fixture
def address(collection: Collection) -> Iterator[str]:
    """A server in a thread, with a token and the right to write."""
    app = create_app([collection], Settings(write=True, token=TOKEN))
    config = uvicorn.Config(app, log_level="warning", proxy_headers=False, ws="none")
    server = uvicorn.Server(config)
    listener = listening("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def client(address: str) -> Iterator[diptych.Client]:
    with diptych.Client(address, token=TOKEN) as found:
        yield found


def same(one: Any, other: Any) -> bool:
    left, right = one.as_dict(), other.as_dict()
    left["seconds"] = right["seconds"] = 0
    return bool(left == right)


def test_it_searches_as_the_collection_does(
    client: diptych.Client, collection: Collection, photos: Path
) -> None:
    where = diptych.where.width > 60
    asked: list[tuple[Any, dict[str, Any]]] = [
        ("green", {"k": 3}),
        (photos / "blue.png", {"k": 2, "itself": True}),
        ((photos / "blue.png").read_bytes(), {"k": 2}),
        (Image.new("RGB", (9, 9), "yellow"), {"k": 2, "to": "text"}),
        ("red", {"negative": [(0.3, "blue")], "image": (0.5, photos / "green.png"), "itself": True}),
        (None, {"like": "more/white.png", "where": where, "k": 4}),
        (None, {"text": [(2, "red"), "blue"], "offset": 1, "fold": None, "by": "vectors"}),
        ("wall", {"by": "words"}),
    ]
    for query, options in asked:
        assert same(client.search(query, **options), collection.search(query, **options)), (query, options)
    assert same(client.newest(k=3, where=where), collection.newest(k=3, where=where))
    queries = ["red", "blue", "green"]
    many = [[one.id for one in found] for found in client.search_many(queries, k=2)]
    assert many == [[one.id for one in found] for found in collection.search_many(queries, k=2)]


def test_it_tells_what_the_collection_holds(
    client: diptych.Client, collection: Collection, photos: Path
) -> None:
    assert (len(client), client.count("text")) == (len(collection), collection.count("text"))
    assert client.facets("folder") == collection.facets("folder")
    item, mine = client.get("red.png"), collection.get("red.png")
    assert item is not None
    assert mine is not None
    assert (item.text, item.image) == (mine.text, mine.image)
    assert client.get("nothing.png") is None
    assert client.picture("red.png") == (photos / "red.png").read_bytes()
    assert client.models() == collection.models()
    assert client.info()["skipped"] == {}
    assert (
        client.why("red.png", "red")["relevance"] == collection.why("red.png", "red").as_dict()["relevance"]
    )
    assert client.health()["write"]
    (photos / "again.png").write_bytes((photos / "red.png").read_bytes())
    collection.add()
    groups = client.duplicates(threshold=1.0)
    assert sorted(one["id"] for one in groups["exact"][0]) == ["again.png", "red.png"]


def test_it_fills_and_empties(client: diptych.Client, collection: Collection, photos: Path) -> None:
    Image.new("RGB", (80, 40), "purple").save(photos / "purple.png")
    told: list[diptych.engine.results.Progress] = []  # type: ignore[name-defined]
    summary = client.add(on_progress=told.append)
    assert (summary.added, summary.unchanged) == (1, 6)
    assert client.search("purple", k=1)[0].id == "purple.png"
    assert client.remove("purple.png") == 1
    picture = Image.new("RGB", (80, 40), "orange")
    new = diptych.NewItem("shop/1", image=picture, texts=["an orange wall"], meta={"price": 3})
    assert client.add_items([new]).added == 1
    found = client.search(where="price = 3", by="words", text="orange")[0]
    assert (found.id, found.path) == ("shop/1", None)
    assert client.remove_items(["shop/1", "shop/2"]) == 1


def test_vectors_come_page_by_page_as_the_collection_has_them(
    client: diptych.Client, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = client.ask
    monkeypatch.setattr(client, "ask", lambda *given, **query: asked(*given, **{**query, "k": 2}))
    for side in ("image", "text"):
        ids, vectors = client.vectors(side)
        mine, theirs = collection.vectors(side)
        assert ids == mine
        np.testing.assert_array_equal(vectors, theirs)
        assert vectors.dtype == np.float32


def test_a_side_that_holds_nothing_has_no_vectors(client: diptych.Client, collection: Collection) -> None:
    collection.remove(collection.folder)
    for side in ("image", "text"):
        ids, vectors = client.vectors(side)
        assert (ids, vectors.shape[0]) == ([], 0)
        assert vectors.shape == collection.vectors(side)[1].shape


def test_what_is_left_out_is_said_from_afar(client: diptych.Client, collection: Collection) -> None:
    client.exclude("re*.png", "/more/")
    assert client.excludes == collection.excludes == ("re*.png", "/more/")
    with pytest.raises(diptych.UsageError, match="is no pattern"):
        client.exclude("fine", "")
    with pytest.raises(diptych.UsageError, match=r"it has re\*\.png, /more/"):
        client.exclude_no_longer("/more/", "blue")
    client.exclude_no_longer("/more/")
    assert client.excludes == collection.excludes == ("re*.png",)
    client.add()
    assert client.get("red.png") is None


def test_codes_are_made_from_afar(client: diptych.Client, collection: Collection) -> None:
    codes = client.make_codes(16)
    assert codes == collection.home.codes
    assert codes["bits"] == 16
    with pytest.raises(diptych.ServerError, match="multiple of 8"):
        client.make_codes(12)
    with pytest.raises(diptych.ServerError, match="codes have a length"):
        client.ask("POST", "jobs", {"kind": "codes"})


@pytest.mark.parametrize(
    "asked", [{"bits": 64}, {"kind": "codes", "bits": 64, "folders": ["more"], "check": True}]
)
def test_what_a_job_would_ignore_is_refused(client: diptych.Client, asked: dict[str, Any]) -> None:
    with pytest.raises(
        diptych.ServerError, match=r"a job of kind \w+ takes .* and not .*; ask for each in a job"
    ):
        client.ask("POST", "jobs", asked)
    assert client.ask("GET", "jobs")["jobs"] == []


def test_of_a_part_only_the_part_is_told_and_what_concerns_all_is_not_done(
    collection: Collection, photos: Path
) -> None:
    with diptych.open(photos / "more", model=collection.encoder) as part:
        app = create_app([part], Settings(write=True))
        asking = TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000))
        told = asking.get("/api/v1/vectors").json()
        assert told["ids"] == [one for one in collection.vectors("image")[0] if one.startswith("more/")]
        assert 0 < len(told["ids"]) < collection.count()
        for endpoint, asked in (("excludes", {"more": ["*.tmp"]}), ("jobs", {"kind": "codes", "bits": 16})):
            refused = asking.post(f"/api/v1/{endpoint}", json=asked)
            assert refused.status_code == 403
            assert "only a part of the collection is served" in refused.json()["error"]["message"]


def test_any_number_of_items_is_taken(client: diptych.Client, collection: Collection) -> None:
    items = (diptych.NewItem(f"shop/{number}", vector=[1.0, 0.1, 0.1]) for number in range(150))
    summary = client.add_items(items)
    assert (summary.added, collection.count()) == (150, 156)
    assert client.add_items([]).added == 0
    with pytest.raises(diptych.UsageError, match="has neither a picture, nor a vector, nor texts"):
        client.add_items([diptych.NewItem("shop/150")])


def test_it_waits_a_little_for_whoever_else_writes(
    client: diptych.Client, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = [diptych.NewItem("shop/1", vector=[1.0, 0.1, 0.1])]
    with collection.writing():
        other = threading.Thread(target=lambda: client.add_items(new))
        other.start()
        time.sleep(0.5)
    other.join()
    assert collection.get("shop/1") is not None
    monkeypatch.setattr("diptych.server.client._TRIES", 1)
    with collection.writing(), pytest.raises(diptych.CollectionBusy, match="by another process"):
        client.remove_items(["shop/1"])


def test_errors_are_those_of_the_library(
    client: diptych.Client, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(diptych.UsageError, match="nothing was asked"):
        client.search()
    with pytest.raises(diptych.UsageError, match="colour"):
        client.search("red", where="colour = 3")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(diptych.ImageError, match=r"broken\.jpg") as raised:
        client.search(tmp_path / "broken.jpg")
    assert raised.value.reason == "not a picture, whatever its name says"
    with pytest.raises(diptych.ServerError, match=r"there is no item 'gone\.png' here") as refused:
        client.picture("gone.png")
    assert refused.value.kind == "NotFound"
    monkeypatch.delenv("DIPTYCH_TOKEN", raising=False)
    with (
        diptych.Client(address) as stranger,
        pytest.raises(diptych.ServerError, match="needs a token"),
    ):
        stranger.search("red")
    monkeypatch.setenv("DIPTYCH_TOKEN", TOKEN)
    with diptych.Client(address) as knowing:
        assert knowing.count() == 6
    with pytest.raises(diptych.ServerError, match="does not answer") as away:
        diptych.Client("127.0.0.1:9").count()
    assert away.value.kind == "Away"
    with pytest.raises(diptych.UsageError, match="is no address of a server"):
        diptych.Client("ftp://somewhere")


def test_a_picture_of_the_collection_is_named_as_such(photos: Path) -> None:
    asked = question(photos / "red.png", known=lambda path: 7 if path.name == "red.png" else None)
    assert asked["image"][0]["item"] == 7
    assert base64.b64decode(asked["image"][0]["data"]) == (photos / "red.png").read_bytes()
    json.dumps(asked)
