"""Several models of one collection, side by side: added, gone on with, kept current, chosen and dropped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crash_child import Tiny
from engine_helpers import Paint

from diptych import similarity
from diptych.engine.collection import Collection, open_collection
from diptych.engine.rebuild import rebuilding
from diptych.errors import CollectionError, UsageError, WrongModel
from diptych.testing import Colours

COLOURS = ("red", "green", "blue", "white", "black")


class Dark(Colours):
    """Another model: the colours of the negative, twice."""

    name, fingerprint = "dark", "dark:1"

    def encode_image(self, images: Any) -> Any:
        return -np.asarray(super().encode_image(images)).repeat(2, axis=1)

    def encode_text(self, texts: Any) -> Any:
        return np.asarray(super().encode_text(texts)).repeat(2, axis=1)


class Stopped(BaseException):
    pass


@pytest.fixture
def indexed(photos: Path, paint: Paint) -> Path:
    for name in COLOURS:
        paint(f"{name}.png", name).with_suffix(".txt").write_text(f"all {name}\n")
    with open_collection(photos, model=Colours()) as collection:
        collection.add()
    return photos


def opened(folder: Path) -> Collection:
    return open_collection(folder, model=Colours())


def ids(collection: Collection, query: str = "red", **how: Any) -> list[str]:
    return [result.id for result in collection.search(query, k=9, by="vectors", **how)]


def assert_vectors(collection: Collection, model: Any) -> None:
    """Every vector of a model is that of its content, and a search is a plain product of them."""
    view = collection.using(model)
    for side in ("image", "text"):
        names, vectors = view.vectors(side)
        stored = [item.image if side == "image" else item.text for item in view.gallery(side)]
        if side == "image":
            from PIL import Image

            stored = [Image.open(path).convert("RGB") for path in stored]
        wanted = similarity.unit(np.asarray(getattr(model, f"encode_{side}")(stored), np.float32))
        assert len(names) == len(vectors) == len(wanted)
        np.testing.assert_allclose(vectors, wanted, atol=2e-3)
    assert collection.info()["check"] == "ok"


def test_a_second_model_stands_beside_and_is_asked_by_name(indexed: Path) -> None:
    dark = Dark()
    with opened(indexed) as collection, opened(indexed) as reader:
        before = ids(collection)
        filled = collection.add_model(dark, batch_size=2)
        assert (filled.encoded, filled.lacking, filled.skipped) == (10, 0, [])
        assert_vectors(collection, dark)
        assert_vectors(collection, Colours())
        assert ids(collection) == before == ids(reader)
        assert ids(collection, model=dark)[-1] == "red.png" != before[-1]
        assert ids(collection, model="dark") == ids(reader, model=dark)
        assert ids(collection, to="text", model="dark")[0] == "red.png"
        assert [(m.name, m.default, m.images, m.texts, m.dimensions) for m in collection.models()] == [
            ("colours", True, 5, 5, 3), ("dark", False, 5, 5, 6),
        ]  # fmt: skip
        assert collection.add_model(dark).encoded == 0


def test_it_is_kept_current(indexed: Path, paint: Paint) -> None:
    dark = Dark()
    with opened(indexed) as collection:
        collection.add_model(dark)
        dark.pictures = 0
        paint("yellow.png", "yellow")
        (indexed / "again.png").write_bytes((indexed / "red.png").read_bytes())
        (indexed / "blue.png").rename(indexed / "sky.png")
        (indexed / "green.png").unlink()
        (indexed / "white.txt").write_text("snow\n")
        summary = collection.add()
        assert [(one.model, one.encoded, one.lacking) for one in summary.models] == [("dark", 2, 0)]
        assert dark.pictures == 1  # the copy has its twin's vector
        assert_vectors(collection, dark)
        # By itself: which of two that are equal is told under the other, may hang on a processor's rounding.
        assert {"again.png", "red.png"} <= set(ids(collection, model=dark, fold=None))
        assert not collection.add().models


def test_killed_in_the_middle_the_next_index_goes_on(indexed: Path) -> None:
    dark = Dark()
    told: list[int] = []

    def stop(at: Any) -> None:
        told.append(at.done)
        if len(told) == 3:
            raise Stopped

    with opened(indexed) as collection:
        with pytest.raises(Stopped):
            collection.add_model(dark, batch_size=1, on_progress=stop)
        partly = collection.models()[1].images
        assert 0 < partly < 5
        assert len(ids(collection, model=dark)) == partly
    with opened(indexed) as collection:
        (why,) = [one.reason for one in collection.add().models]  # an encoder of this test's own
        assert "dark" in why
        assert "program's own" in why
        dark.pictures = 0
        filled = collection.add_model(dark)
        assert (dark.pictures, filled.lacking) == (5 - partly, 0)
        assert_vectors(collection, dark)


def test_killed_for_good_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    from crash_harness import Harness

    harness = Harness(tmp_path)
    harness.make(24)
    with open_collection(harness.folder, model=Tiny()) as collection:
        collection.add()
    child = Path(__file__).with_name("crash_child.py")
    for last in (40, 90, 140, 200, 260):
        how = [sys.executable, str(child), "beside", str(harness.folder), "tiny", str(last), "0"]
        ended = subprocess.run(how, env=os.environ, capture_output=True, text=True)
        assert ended.returncode in (-signal.SIGKILL, 0), ended.stderr
        with open_collection(harness.folder, model=Tiny()) as collection:
            assert len(ids(collection, "red 3")) == 9
            if len(collection.models()) == 2:
                assert_vectors_of_tiny(collection)
    assert ended.returncode == 0
    with open_collection(harness.folder, model=Tiny()) as collection:
        first, second = collection.models()
        assert (first.images, first.texts) == (second.images, second.texts)


def assert_vectors_of_tiny(collection: Collection) -> None:
    from diptych.media.pictures import open_picture

    other = Tiny("other")
    view = collection.using(other)
    names, vectors = view.vectors("image")
    assert len(set(names)) == len(names)
    if names:
        pictures = [open_picture(collection.folder / name, size=32) for name in names]
        np.testing.assert_allclose(vectors, similarity.unit(other.encode_image(pictures)), atol=2e-3)


def test_pictures_that_are_away_are_told_and_come_later(indexed: Path) -> None:
    dark, place = Dark(), indexed / "red.png"
    kept = place.read_bytes()
    place.write_bytes(b"something else")
    with opened(indexed) as collection:
        filled = collection.add_model(dark)
        assert [(one.path.name, one.reason) for one in filled.skipped] == [
            ("red.png", "changed since it was indexed")
        ]
        assert filled.lacking == 1
        assert "red.png" not in ids(collection, model=dark)
        place.write_bytes(kept)
        # An item before others: what is searched is made anew, and not only added to.
        assert collection.add_model(dark).lacking == 0
        assert sorted(ids(collection, model=dark)) == sorted(ids(collection))
        assert_vectors(collection, dark)


def test_one_comes_and_one_goes_before_others_and_search_sees_both(indexed: Path) -> None:
    """As many vectors as before are not the same ones."""
    dark, place = Dark(), indexed / "black.png"
    kept = place.read_bytes()
    place.write_bytes(b"something else")
    with opened(indexed) as collection:
        collection.add_model(dark)
        assert len(ids(collection, model=dark)) == 4
        place.write_bytes(kept)
        (indexed / "blue.png").unlink()
        collection.add()
        assert sorted(ids(collection, model=dark)) == ["black.png", "green.png", "red.png", "white.png"]


def test_it_becomes_the_default_and_the_other_is_dropped(indexed: Path, paint: Paint) -> None:
    dark = Dark()
    with opened(indexed) as collection:
        collection.add_model(dark)
        with pytest.raises(UsageError, match="default model"):
            collection.drop_model("colours")
        collection.set_default_model("dark")
    with pytest.raises(WrongModel, match="dark"):
        opened(indexed).search("red")
    with open_collection(indexed, model=dark) as collection:
        assert [m.name for m in collection.models()] == ["dark", "colours"]
        assert ids(collection)[-1] == "red.png"
        paint("yellow.png", "yellow")
        (told,) = collection.add().models
        assert (told.model, told.lacking) == ("colours", 1)
        assert_vectors(collection, dark)
        assert "yellow.png" not in ids(collection, model=Colours())
        collection.drop_model("colours")
        assert [m.name for m in collection.models()] == ["dark"]
        with pytest.raises(UsageError, match="no vectors of colours, but of dark"):
            ids(collection, model=Colours())
        collection.add_model(Colours())
        assert_vectors(collection, Colours())


def test_a_default_made_before_it_was_whole_is_completed(indexed: Path) -> None:
    dark = Dark()

    def stop(_: Any) -> None:
        raise Stopped

    with opened(indexed) as collection:
        with pytest.raises(Stopped):
            collection.add_model(dark, batch_size=2, on_progress=stop)
        collection.set_default_model(dark)
    with open_collection(indexed, model=dark) as collection:
        assert collection.models()[0].images < 5
        collection.add()
        assert_vectors(collection, dark)


def test_codes_are_of_a_column(indexed: Path) -> None:
    dark = Dark()
    with opened(indexed) as collection:
        collection.add_model(dark)
        collection.using(dark).make_codes(8)
        assert [m.codes is None for m in collection.models()] == [True, False]
        assert collection.home.codes is None
        collection.make_codes(16)
        assert [m.codes["bits"] for m in collection.models() if m.codes] == [16, 8]
        collection.drop_model(dark)
        assert sorted(path.name for path in (indexed / ".diptych" / "search").glob("*-*")) == []
        assert [m.codes["bits"] for m in collection.models() if m.codes] == [16]


def test_what_cannot_be_is_said(indexed: Path, photos: Path, tmp_path: Path) -> None:
    class Later(Dark):
        fingerprint = "dark:2"

    dark = Dark()
    with opened(indexed) as collection:
        with pytest.raises(UsageError, match=r"default model of .* already"):
            collection.add_model(Colours())
        collection.add_model(dark)
        with pytest.raises(WrongModel, match="drop them, then add it anew"):
            collection.add_model(Later())
        with pytest.raises(UsageError, match="no vectors of nothing, but of colours, dark"):
            collection.search("red", model="nothing")
        view = collection.using(dark)
        collection.drop_model(dark)
        with pytest.raises(CollectionError, match="dropped"):
            view.search("red")
    empty = tmp_path / "empty"
    empty.mkdir()
    with open_collection(empty) as collection, pytest.raises(UsageError, match="nothing is indexed"):
        collection.add_model(dark)
    assert not list(empty.iterdir())


def test_one_that_is_not_believed_loads_no_second_model_unasked(
    indexed: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diptych import catalogue

    loaded: list[str] = []
    models: dict[str, Any] = {"builtin": Colours(), "runs/dark": Dark()}

    def load(name: str, **_: Any) -> Any:
        loaded.append(name)
        return models[name]

    for name, model in models.items():
        model.name = name
    with rebuilding(indexed, model=models["builtin"]) as fresh:
        fresh.add()
    with open_collection(indexed) as collection:
        monkeypatch.setattr(catalogue, "load", load)
        collection.add_model("runs/dark")
    monkeypatch.setenv("DIPTYCH_HOME", str(indexed.parent / "elsewhere"))
    paint("yellow.png", "yellow")
    loaded.clear()
    with open_collection(indexed) as collection:
        (told,) = collection.add().models
        assert loaded == ["builtin"]
        assert (told.model, told.lacking) == ("runs/dark", 1)
        assert "not loaded unasked" in told.reason
        assert len(ids(collection, model="runs/dark")) == 5  # named: so it may be
        assert loaded == ["builtin", "runs/dark"]


def test_a_rebuild_keeps_what_stands_beside(indexed: Path, paint: Paint) -> None:
    dark = Dark()
    with opened(indexed) as collection:
        collection.add_model(dark)
        collection.using(dark).make_codes(8)
    paint("yellow.png", "yellow")
    dark.pictures = 0
    with rebuilding(indexed, model=Colours()) as fresh:
        fresh.add()
    assert dark.pictures == 0
    with opened(indexed) as collection:
        assert [(m.name, m.images, m.texts) for m in collection.models()] == [
            ("colours", 6, 5), ("dark", 5, 5),
        ]  # fmt: skip
        assert [m.codes["bits"] for m in collection.models() if m.codes] == [8]
        collection.add_model(dark)
        assert dark.pictures == 1
        assert_vectors(collection, dark)
    with rebuilding(indexed, model=dark) as fresh:  # what stood beside takes the place of the first
        fresh.add()
    with open_collection(indexed, model=dark) as collection:
        assert [m.name for m in collection.models()] == ["dark"]


def test_searches_go_on_while_it_is_added(indexed: Path) -> None:
    dark = Dark()
    with opened(indexed) as collection, opened(indexed) as reader:
        before = ids(reader)
        counts: list[int] = []

        def look(_: Any) -> None:
            assert ids(reader) == before
            counts.append(len(ids(reader, model=dark)))

        collection.add_model(dark, batch_size=1, on_progress=look)
        assert counts == sorted(counts)
        assert counts[-1] == 5
