"""A rebuild takes nothing away before the new collection is whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from engine_helpers import Paint

from diptych.engine.collection import open_collection
from diptych.engine.rebuild import rebuilding
from diptych.errors import DiptychError, UnknownName
from diptych.testing import Colours


class Others(Colours):
    """Another model, whose vectors have more dimensions."""

    name = "others"
    fingerprint = "others:1"

    def encode_image(self, images: Any) -> Any:
        return super().encode_image(images).repeat(2, axis=1)

    def encode_text(self, texts: Any) -> Any:
        return super().encode_text(texts).repeat(2, axis=1)


@pytest.fixture
def indexed(photos: Path, paint: Paint) -> Path:
    for name in ("red", "green", "blue"):
        paint(f"{name}.png", name)
    with open_collection(photos, model=Colours()) as collection:
        collection.add()
    return photos


def held(folder: Path, model: Any) -> list[str]:
    with open_collection(folder, model=model) as collection:
        return sorted(result.id for result in collection.search("red", k=9))


def test_another_model_takes_its_place(indexed: Path) -> None:
    with open_collection(indexed, model=Colours()) as reader:
        assert [result.id for result in reader.search("red", k=1)] == ["red.png"]
        with rebuilding(indexed, model=Others()) as fresh:
            assert fresh.add().added == 3
            assert [result.id for result in reader.search("green", k=1)] == ["green.png"]
        with pytest.raises(DiptychError, match="rebuild the collection"):
            reader.search("red")
    with open_collection(indexed, model=Others()) as collection:
        info = collection.info()
        assert (info["model"], info["images"], info["check"]) == ("others", 3, "ok")
        assert [result.id for result in collection.search("blue", k=1)] == ["blue.png"]
        assert collection.add().unchanged == 3
    assert not (indexed / ".diptych" / "next").exists()


def test_a_model_that_does_not_load_leaves_everything(indexed: Path) -> None:
    class Broken(Colours):
        def encode_image(self, images: Any) -> Any:
            raise RuntimeError("no memory")

    for model, error in (("nosuch", UnknownName), (Broken(), DiptychError)):
        with pytest.raises(error, match=r"nosuch|no memory"), rebuilding(indexed, model=model) as fresh:
            fresh.add()
        assert held(indexed, Colours()) == ["blue.png", "green.png", "red.png"]


def test_interrupted_it_leaves_the_old_and_goes_on(indexed: Path) -> None:
    model = Others()

    def interrupted(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), rebuilding(indexed, model=model) as fresh:
        fresh.add(batch_size=2, on_progress=interrupted)
    assert held(indexed, Colours()) == ["blue.png", "green.png", "red.png"]
    with rebuilding(indexed, model=model) as fresh:
        summary = fresh.add()
    assert (summary.added, summary.unchanged) == (1, 2)
    assert held(indexed, Others()) == ["blue.png", "green.png", "red.png"]


def test_what_a_finished_rebuild_left_behind_is_not_gone_on_with(
    indexed: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the old one was replaced, and before what lay beside was removed."""

    class Killed(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    def leave() -> None:
        with rebuilding(indexed, model=Colours()) as fresh:
            fresh.add()
            monkeypatch.setattr(shutil, "rmtree", killed)

    with pytest.raises(Killed):
        leave()
    monkeypatch.undo()
    assert (indexed / ".diptych" / "next").exists()
    (indexed / "red.png").unlink()
    with rebuilding(indexed, model=Colours()) as fresh:
        assert fresh.add(indexed / "green.png").added == 1
    assert held(indexed, Colours()) == ["green.png"]


@pytest.mark.parametrize("damage", [b"garbage" * 900, b""])
def test_a_damaged_collection_is_what_it_is_for(indexed: Path, damage: bytes) -> None:
    (indexed / ".diptych" / "collection.sqlite").write_bytes(damage)
    with rebuilding(indexed, model=Colours()) as fresh:
        assert fresh.add().added == 3
    assert held(indexed, Colours()) == ["blue.png", "green.png", "red.png"]


def test_codes_are_made_again(indexed: Path, paint: Paint) -> None:
    for number in range(40):
        paint(f"{number:02}.png", (6 * number, 250 - 5 * number, 7 * (number % 9)))
    with open_collection(indexed, model=Colours()) as collection:
        collection.add()
        collection.make_codes(64)
    for model, bits in ((Colours(), 64), (Others(), 64), (Others(), 128)):
        with rebuilding(indexed, model=model) as fresh:
            fresh.add()
            if bits == 128:
                fresh.make_codes(bits)
        with open_collection(indexed, model=model) as collection:
            facts = collection.info()["codes"]
            assert (facts["bits"], facts["pictures"], facts["fingerprint"]) == (bits, 43, model.fingerprint)
            exact = [result.id for result in collection.search("red", k=5, exact=True)]
            assert [result.id for result in collection.search("red", k=5, recall=0.98)] == exact
    with rebuilding(indexed, model=Colours()) as fresh:  # which is left empty, so nothing can be learned from
        pass
    with open_collection(indexed, model=Colours()) as collection:
        assert collection.info()["codes"] is None


def test_codes_of_a_system_that_does_not_fit_are_made_of_as_many_bits(indexed: Path) -> None:
    with open_collection(indexed, model=Colours()) as collection:
        facts = dict(collection.make_codes(16))
        with collection.writing(), collection.home.batch(changes=False):
            collection.home.set("codes", json.dumps({**facts, "system": str(indexed / "no run")}))
    with rebuilding(indexed, model=Colours()) as fresh:
        fresh.add()
    with open_collection(indexed, model=Colours()) as collection:
        facts = collection.info()["codes"]
        assert (facts["bits"], facts.get("system"), facts["pictures"]) == (16, None, 3)


def test_without_a_name_the_model_stays(indexed: Path) -> None:
    """The one of this collection has no name that a program could load, which is said."""
    with pytest.raises(UnknownName, match="colours"), rebuilding(indexed):
        pass


def test_where_there_is_none_one_is_founded(photos: Path, paint: Paint) -> None:
    paint("red.png", "red")
    with rebuilding(photos, model=Colours()) as fresh:
        assert fresh.add().added == 1
    assert held(photos, Colours()) == ["red.png"]
