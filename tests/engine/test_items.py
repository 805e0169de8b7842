"""Items that a program gives: under ids of its own, without files, untouched by what happens to folders."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_helpers import Paint
from PIL import Image

from diptych import NewItem
from diptych.engine.collection import Collection, open_collection
from diptych.engine.rebuild import rebuilding
from diptych.errors import UsageError
from diptych.testing import Colours


def colour(name: str) -> Image.Image:
    return Image.new("RGB", (40, 30), name)


def as_bytes(name: str) -> bytes:
    file = io.BytesIO()
    colour(name).save(file, "PNG")
    return file.getvalue()


def given() -> list[NewItem]:
    return [
        NewItem("shop/1", image=colour("red"), texts=["a red thing"], meta={"price": 12, "tags": "new;hot"}),
        NewItem("shop/2", image=as_bytes("blue")),
        NewItem("shop/3", image=np.asarray(colour("green"))),
        NewItem("ready", vector=[2.0, 2.0, 1.0]),
        NewItem("words", texts=["so blue", "so red"]),
    ]


@pytest.fixture
def collection(photos: Path, paint: Paint) -> Any:
    paint("white.png", "white")
    with open_collection(photos, model=Colours()) as opened:
        opened.add()
        opened.add_items(given(), batch_size=2)
        yield opened


def ids(collection: Collection, **how: Any) -> set[str]:
    return {result.id for result in collection.search("red", k=20, **how)}


def test_they_are_found_under_their_ids_and_have_no_path(collection: Collection) -> None:
    assert ids(collection) == {"shop/1", "shop/2", "shop/3", "ready", "white.png"}
    assert ids(collection, to="text") == {"shop/1", "words"}
    (best,) = collection.search("red", k=1)
    assert (best.id, best.path, best.text) == ("shop/1", None, "a red thing")
    assert best.as_dict()["path"] is None
    assert (best.meta["price"], best.meta["tag"]) == (12, ["hot", "new"])
    names, vectors = collection.vectors("image")
    np.testing.assert_allclose(vectors[names.index("ready")], [2 / 3, 2 / 3, 1 / 3], atol=1e-3)
    item = collection.get("shop/1")
    assert item is not None
    assert item.text == "a red thing"
    assert len(list(collection)) == len(collection) == 8
    assert collection.home.count_unread() == 1  # where text is looked for: in files


def test_a_search_may_ask_for_more_like_one(collection: Collection) -> None:
    liked = collection.search(like="shop/1", k=1, itself=True)
    assert [one.id for one in liked] == ["shop/1"]
    assert collection.search(like="shop/1", k=1)[0].id != "shop/1"
    # By its picture alone, as of a file, and not by its captions.
    by_picture = collection.search(colour("red"), k=5)
    assert [round(one.score, 3) for one in collection.search(like="shop/1", k=5, itself=True)] == [
        round(one.score, 3) for one in by_picture
    ]
    assert {one.id for one in collection.search(like="words", to="text", itself=True)} == {"shop/1", "words"}
    with pytest.raises(UsageError, match=r"no 'shop/9' indexed; did you mean shop/"):
        collection.search(like="shop/9")


def test_folders_never_forget_them(collection: Collection) -> None:
    (collection.folder / "white.png").unlink()
    (collection.folder / "black.png").write_bytes(as_bytes("black"))
    summary = collection.add(check=True, forget_missing=True)
    assert (summary.removed, summary.away, summary.added) == (1, 0, 1)
    assert ids(collection) == {"shop/1", "shop/2", "shop/3", "ready", "black.png"}
    assert collection.search("red", k=20).missing == 0
    assert collection.remove(collection.folder) == 1
    assert ids(collection) == {"shop/1", "shop/2", "shop/3", "ready"}


def test_an_id_that_is_there_is_replaced_and_removed(collection: Collection) -> None:
    summary = collection.add_items(
        [NewItem("shop/1", image=colour("green"), meta={"price": 5}), NewItem("new", image=colour("red"))]
    )
    assert (summary.added, summary.changed, summary.encoded) == (1, 1, 2)
    (best,) = collection.search("red", k=1)
    assert best.id == "new"
    changed = next(result for result in collection.search("red", k=20) if result.id == "shop/1")
    assert (changed.text, changed.meta["price"], changed.meta.get("tag")) == (None, 5, None)
    assert collection.remove_items(["shop/1", "nothing", "words"]) == 2
    assert ids(collection) == {"shop/2", "shop/3", "ready", "new", "white.png"}
    assert collection.count("text") == 0


def test_a_rebuild_keeps_them_and_refuses_a_model_that_cannot_have_them(collection: Collection) -> None:
    class Others(Colours):
        name, fingerprint = "others", "others:1"

    def found(opened: Collection) -> dict[str, Any]:
        return {one.id: (round(one.score, 4), dict(one.meta)) for one in opened.search("red", k=20)}

    before = found(collection)
    with rebuilding(collection.folder, model=Colours()) as fresh:
        fresh.add()
    with open_collection(collection.folder, model=Colours()) as again:
        assert found(again) == before
        with (
            pytest.raises(UsageError, match=r"5 items of .* were given by programs"),
            rebuilding(collection.folder, model=Others()) as fresh,
        ):
            fresh.add()
        filled = again.add_model(Others())
        assert {one.reason for one in filled.skipped} == {"was given by a program, without a file to read"}
        assert filled.lacking == 4
        assert ids(again, model="others") == {"white.png"}
        assert ids(again, model="others", to="text") == {"shop/1", "words"}


def test_what_is_wrong_is_said_and_nothing_of_its_batch_is_stored(photos: Path) -> None:
    good = NewItem("good", image=colour("red"))
    with open_collection(photos, model=Colours()) as opened:
        for wrong, said in (
            (NewItem("x"), "neither a picture, nor a vector, nor texts"),
            (NewItem("", image=colour("red")), "a text that is not empty"),
            (NewItem("x", image=colour("red"), vector=[1, 2, 3]), "give one of the two"),
            (NewItem("x", vector=[1, 2]), r"must be 3 finite numbers, .* shape \(2,\)"),
            (NewItem("x", vector=[1, 2, np.nan]), "with NaN or infinity"),
            (NewItem("x", vector=[0, 0, 0]), "is zero"),
            (NewItem("x", vector=["a"]), "is no list of numbers"),
            (NewItem("x", texts="red"), "must be a list of texts"),
            (NewItem("x", image="https://example.org/a.png"), "address"),
            ({"id": "x"}, "given as NewItem"),
        ):
            with pytest.raises(UsageError, match=said):
                opened.add_items([good, wrong])  # type: ignore[list-item]
            assert opened.count("image") == 0
        assert opened.add_items([good]).added == 1


def test_pictures_are_fetched_only_where_it_is_asked_for(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fetched(address: str) -> bytes:
        asked.append(address)
        return as_bytes("red")

    monkeypatch.setattr("diptych.media.fetch.fetch", fetched)
    item = NewItem("web", image="https://example.org/a.png")
    with pytest.raises(UsageError, match=r"is an address.*fetch=True"):
        collection.add_items([item])
    assert not asked
    collection.add_items([item], fetch=True)
    assert asked == ["https://example.org/a.png"]
    assert "web" in ids(collection)
