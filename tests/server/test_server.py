"""What the endpoints answer."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from PIL import Image
from starlette.testclient import TestClient

from diptych import NewItem
from diptych.engine.collection import Collection
from diptych.server import schema

Made = Callable[..., TestClient]


def png(colour: Any = "red", size: tuple[int, int] = (50, 40)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["results"]]


def test_words_find_pictures_as_the_collection_does(served: Made, collection: Collection) -> None:
    answer = served().get("/api/v1/search", params={"q": "green", "k": 3})
    schema.Found.model_validate(answer.json(), strict=True)
    found = collection.search("green", k=3)
    assert ids(answer) == [one.id for one in found]
    told = answer.json()
    mine = found.as_dict()
    del told["seconds"], mine["seconds"]
    assert {name: told[name] for name in mine} == mine
    assert (told["query"], told["to"], told["folder"]) == ("green", "image", str(collection.folder))


def test_parts_have_their_weights(served: Made, collection: Collection) -> None:
    client = served()
    row = collection.search("blue", k=1)[0].item
    asked = {
        "text": [{"text": "red", "weight": 0.1}],
        "like": [{"item": row, "weight": 2}],
        "k": 2,
        "itself": True,
    }
    assert ids(client.post("/api/v1/search", json=asked))[0] == "blue.png"
    asked = {"text": ["red"], "negative": [{"text": "red", "weight": 0.9}], "k": 6}
    mine = collection.search(text="red", negative=[(0.9, "red")], k=6)
    assert ids(client.post("/api/v1/search", json=asked)) == [one.id for one in mine]


def test_an_uploaded_picture_finds_what_is_like_it(served: Made) -> None:
    client = served()
    sent = client.post("/api/v1/uploads", files={"file": ("mine.png", png("blue"), "image/png")})
    assert sent.status_code == 201
    schema.Upload.model_validate(sent.json(), strict=True)
    assert (sent.json()["width"], sent.json()["height"], sent.json()["format"]) == (50, 40, "png")
    asked = {"image": [{"upload": sent.json()["upload"]}], "k": 1}
    assert ids(client.post("/api/v1/search", json=asked)) == ["blue.png"]
    gone = client.post("/api/v1/search", json={"image": [{"upload": "u0"}]})
    assert (gone.status_code, gone.json()["error"]["kind"]) == (410, "Gone")


def test_nothing_asked_gives_the_newest_page_by_page(served: Made) -> None:
    client = served()
    pages = [ids(client.get("/api/v1/items", params={"k": 4, "offset": at})) for at in (0, 4)]
    assert [len(page) for page in pages] == [4, 2]
    assert len({one for page in pages for one in page}) == 6
    assert ids(client.get("/api/v1/search", params={"where": "width = 60"})) == ["red.png"]


def test_an_item_its_thumbnail_its_file_and_what_is_like_it(
    served: Made, collection: Collection, photos: Path
) -> None:
    client = served()
    row = client.get("/api/v1/search", params={"q": "red", "k": 1}).json()["results"][0]["item"]
    facts = client.get(f"/api/v1/items/{row}")
    schema.ItemFacts.model_validate(facts.json(), strict=True)
    assert facts.json()["captions"] == [{"text": "a red wall", "source": "sidecar"}]
    assert facts.json()["picture"]["width"] == 60
    small = client.get(f"/api/v1/items/{row}/thumbnail", params={"size": 20})
    assert small.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(small.content)).size == (60, 40)
    whole = client.get(f"/api/v1/items/{row}/original")
    assert whole.content == (photos / "red.png").read_bytes()
    assert whole.headers["content-disposition"].startswith("inline")
    like = client.get(f"/api/v1/items/{row}/similar", params={"k": 2})
    assert ids(like) == [one.id for one in collection.search(like="red.png", k=2)]
    text = client.get("/api/v1/search", params={"q": "red", "to": "text", "k": 1}).json()["results"][0]
    assert text["text"] == "a red wall"
    assert (
        client.get(f"/api/v1/items/{text['item']}/thumbnail").content
        == client.get(f"/api/v1/items/{row}/thumbnail").content
    )


def test_collections_facets_counts_and_models(served: Made) -> None:
    client = served()
    told = client.get("/api/v1/collections").json()
    schema.Collections.model_validate(told, strict=True)
    assert (told["collections"][0]["name"], told["collections"][0]["images"]) == ("photos", 6)
    told = client.get("/api/v1/facets", params={"field": ["folder", "width"], "limit": 1}).json()
    assert told["facets"][0] == {"field": "folder", "values": [{"value": "", "count": 4}], "more": 1}
    assert client.get("/api/v1/count", params={"where": "width > 62"}).json() == {"count": 3}
    told = client.get("/api/v1/models").json()
    schema.Models.model_validate(told, strict=True)
    assert told["models"][0]["collections"] == ["photos"]
    assert client.get("/api/v1/collections/photos/skipped").json() == {"skipped": []}
    assert b'diptych_items{collection="photos",side="image"} 6.0' in client.get("/metrics").content


def test_what_has_no_file_is_told_as_it_was_given(served: Made, collection: Collection) -> None:
    storage = fsspec.filesystem("memory")
    try:
        storage.pipe("/far/red.png", png())
        storage.pipe("/far/red.txt", b"a red thing")
        storage.pipe("/far/broken.png", b"no picture")
        collection.add("memory://far")
    finally:
        storage.store.clear()
    collection.add_items([NewItem("shop/1", vector=[1.0, 0.5, 0.5], texts=["a pink thing"])])
    client = served()
    told = client.get("/api/v1/collections/photos/skipped").json()["skipped"]
    assert [one["path"] for one in told] == ["memory:///far/broken.png"]
    for name, caption in {
        "memory:///far/red.png": {"text": "a red thing", "source": "sidecar"},
        "shop/1": {"text": "a pink thing", "source": "program"},
    }.items():
        facts = client.get("/api/v1/lookup", params={"id": name}).json()
        assert (facts["captions"], facts["has_picture"]) == ([caption], False)


@pytest.mark.parametrize(
    ("asked", "status", "kind"),
    [
        ("/api/v1/search?q=red&collection=other", 404, "NotFound"),
        ("/api/v1/search?q=red&k=0", 422, "BadRequest"),
        ("/api/v1/search?q=red&where=nonsense+(", 400, "UsageError"),
        ("/api/v1/search?negative=red", 400, "BadRequest"),
        ("/api/v1/items/99999999", 404, "NotFound"),
        ("/api/v1/items/99999999/original", 404, "NotFound"),
        ("/api/v1/jobs/j9", 404, "NotFound"),
        ("/api/v1/jobs/j9/events", 404, "NotFound"),
        ("/api/v1/facets?field=size", 400, "UsageError"),
        ("/api/v2/search", 404, "NotFound"),
    ],
)
def test_what_cannot_be_answered_is_told_in_one_form(
    served: Made, asked: str, status: int, kind: str
) -> None:
    answer = served().get(asked)
    assert (answer.status_code, answer.json()["error"]["kind"]) == (status, kind)
    schema.Failure.model_validate(answer.json(), strict=True)


def test_thumbnails_are_kept_by_browsers_only_where_they_can_be_no_other_server_s(
    served: Callable[..., TestClient],
) -> None:
    client = served()
    (item,) = [one["item"] for one in client.get("/api/v1/search?q=red&k=1").json()["results"]]
    run = client.get("/api/v1/health").json()["run"]
    for asked, kept in (
        ("", False),
        ("?collection=photos", False),
        (f"?run={run}&collection=photos", True),
        ("?run=another&collection=photos", False),
        (f"?run={run}", False),
    ):
        how = client.get(f"/api/v1/items/{item}/thumbnail{asked}").headers["cache-control"]
        assert ("immutable" in how) == kept, asked
        assert ("no-cache" in how) != kept, asked
    assert served().get("/api/v1/health").json()["run"] != run
