"""A model that gives the same vectors of pictures and reads texts differently asks a collection as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

import diptych
from diptych.engine.collection import Collection
from diptych.errors import CollectionError, UsageError, WrongModel
from diptych.systems.dual_tower.builtin import Builtin

OTHER = "builtin:languages"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("red", "green", "blue"):
        picture = Image.new("RGB", (96, 96), "white")
        ImageDraw.Draw(picture).ellipse((20, 20, 70, 70), fill=name)
        picture.save(photos / f"{name}.png")
    (photos / "red.txt").write_text("a red ball\n")
    with diptych.open(photos, model="builtin") as collection:
        assert collection.add().added == 3
    return photos


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """From now on no picture may be encoded."""

    def refuse(*_: object) -> None:
        raise AssertionError("a picture was encoded")

    monkeypatch.setattr(Builtin, "encode_image", refuse)


def names(collection: Collection, query: str, **options: object) -> list[str]:
    return [one.path.name for one in collection.search(query, by="vectors", **options) if one.path]  # type: ignore[arg-type]


@pytest.mark.usefixtures("no_pictures")
def test_it_searches_what_the_other_one_indexed(folder: Path) -> None:
    with diptych.open(folder, create=False) as collection:
        plain = collection.search("ein roter Ball", by="vectors")
        assert "builtin:languages reads other languages" in plain.remark
        told = collection.search("ein roter Ball", by="vectors", model=OTHER)
        assert told.remark == ""
        assert [one.score for one in told] != [one.score for one in plain]
        view = collection.using(OTHER)
        assert (view.model, collection.model) == (OTHER, "builtin")
        assert names(view, "ein roter Ball") == [one.path.name for one in told if one.path]
        assert view.search("ein roter Ball", to="text", by="vectors")[0].text == "a red ball"


@pytest.mark.usefixtures("no_pictures")
def test_a_collection_is_opened_with_either_and_stays_what_it_was(folder: Path) -> None:
    with diptych.open(folder, model=OTHER) as collection:
        assert collection.model == OTHER
        found = names(collection, "ein roter Ball")
        (folder / "blue.txt").write_text("ein blauer Ball\n")
        assert collection.add().captions.used["captions"] == 1
        texts = collection.search("ein blauer Ball", to="text", by="vectors")
        assert texts[0].score == pytest.approx(1, abs=2e-3)  # both were read by it
    with diptych.open(folder, create=False) as collection:
        assert collection.model == "builtin"
        assert names(collection, "ein roter Ball", model=OTHER) == found
    with pytest.raises(WrongModel, match="was indexed with builtin, not builtin:concepts"):
        diptych.open(folder, model="builtin:concepts")


@pytest.mark.usefixtures("no_pictures")
def test_it_is_made_the_default_and_back(folder: Path) -> None:
    with diptych.open(folder, create=False) as collection:
        first = names(collection, "a red ball")
        collection.set_default_model(OTHER)
    with diptych.open(folder, create=False) as collection:
        assert collection.model == OTHER
        assert [one.name for one in collection.models()] == [OTHER]
        assert collection.search("ein roter Ball").remark == ""
        assert names(collection, "a red ball", model="builtin") == first
        collection.set_default_model("builtin")
        assert collection.search("ein roter Ball").remark


def test_it_reads_vectors_that_lie_beside(folder: Path) -> None:
    with diptych.open(folder, create=False) as collection:
        collection.add_model("builtin:concepts")
        collection.set_default_model("builtin:concepts")
        assert names(collection, "ein roter Ball", model=OTHER)
        with pytest.raises(
            UsageError, match=r"has no vectors of its own in .*; it compares with those of builtin"
        ):
            collection.drop_model(OTHER)
        collection.set_default_model(OTHER)
        assert [one.name for one in collection.models()] == [OTHER, "builtin:concepts"]


@pytest.mark.usefixtures("no_pictures")
def test_it_has_no_vectors_to_add_or_to_drop(folder: Path) -> None:
    with diptych.open(folder, create=False) as collection:
        with pytest.raises(
            UsageError, match=r"compares with the vectors of builtin, which .* has; search with it"
        ):
            collection.add_model(OTHER)
        with pytest.raises(UsageError, match="no vectors of its own"):
            collection.drop_model(OTHER)
        assert [one.name for one in collection.models()] == ["builtin"]


def test_somebody_elses_collection_does_not_choose_what_is_fetched() -> None:
    from diptych.engine.trust import check_model

    check_model("builtin:languages", Path("photos"))
    for name in ("builtin:languages@owner/name", "builtin@runs/mine"):
        with pytest.raises(CollectionError, match="which is not loaded unasked"):
            check_model(name, Path("photos"))
