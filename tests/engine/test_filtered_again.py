"""Searches that ask with the same filter again, which find what was made for the one before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from engine_helpers import Paint

from diptych import similarity
from diptych.engine.collection import open_collection
from diptych.engine.filters import checked
from diptych.engine.gallery import gallery_of
from diptych.index.two_stage import TwoStage
from diptych.testing import Colours


def test_the_same_filter_has_the_same_gallery_until_something_changes(photos: Path, paint: Paint) -> None:
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "green")):
        paint(f"{name}.png", colour)
    with open_collection(photos, model=Colours()) as collection:
        collection.add()

        def found() -> list[str]:
            return sorted(one.path.name for one in collection.search("red", k=9, where="name < 'c'"))

        assert found() == found() == ["a.png", "b.png"]
        condition = checked("name < 'c'", collection.home.field_names())
        with collection.home.snapshot():
            first, again = (gallery_of(collection, "image", condition) for _ in range(2))
        assert first is again
        with pytest.raises(ValueError, match="read-only"):
            collection.home.matching("image", condition)[0] = 7
        paint("aa.png", "orange")
        collection.add()
        assert found() == ["a.png", "aa.png", "b.png"]
        collection.remove(photos / "a.png")
        assert found() == ["aa.png", "b.png"]
        now = collection.home.vectors_now("image")
        assert [one.sees(now) for one in collection.galleries] == [True], "old files are held no longer"


def test_rows_that_may_change_are_looked_at_anew() -> None:
    rng = np.random.default_rng(0)
    vectors = similarity.unit(rng.standard_normal((500, 32))).astype(np.float16)
    index = TwoStage(similarity.pack(vectors), vectors, encode=similarity.pack, candidates=50)
    within = np.arange(0, 100)
    for frozen in (False, True):
        within.flags.writeable = not frozen
        for _ in range(2):
            hits = index.search(vectors[:3].astype(np.float32), 5, within)
            assert np.isin(hits.rows, within).all()
        if not frozen:
            within += 300
            assert np.isin(index.search(vectors[:3].astype(np.float32), 5, within).rows, within).all()
            within -= 300
    assert len(index._recent) == 1
