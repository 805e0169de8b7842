"""What a re-ranker made of pictures is kept, and never relied upon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from engine_helpers import Paint

from diptych.engine.collection import discard, open_collection
from diptych.engine.homes.states import FILE, States
from diptych.media.pictures import open_picture
from diptych.testing import Colours


def test_states_are_kept_by_content_and_by_what_made_them(tmp_path: Path) -> None:
    kept = States(tmp_path, "one")
    assert kept.get([b"a"]) == {}
    assert not (tmp_path / FILE).exists()
    kept.put({b"a": b"1", b"b": b"2"})
    kept.put({b"a": b"other"})  # what is there stays
    many = [b"a", b"c", *(bytes([one, 0]) for one in range(200)), b"b"]
    assert States(tmp_path, "one").get(many) == {b"a": b"1", b"b": b"2"}
    assert States(tmp_path, "two").get([b"a"]) == {}


def test_a_full_cache_forgets_the_oldest(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("diptych.engine.homes.states._MOST", 10)
    kept = States(tmp_path, "one")
    keys = [bytes([one]) for one in range(11)]
    for key in keys:
        kept.put({key: b"x"})
    assert set(kept.get(keys)) == set(keys[6:])


def test_a_damaged_cache_is_no_error(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all" * 100)
    kept = States(tmp_path, "one")
    kept.put({b"a": b"1"})
    assert kept.get([b"a"]) == {}


def test_a_place_that_takes_nothing_is_no_error(tmp_path: Path) -> None:
    kept = States(tmp_path / "away", "one")
    kept.put({b"a": b"1"})
    assert kept.get([b"a"]) == {}
    (tmp_path / FILE).mkdir()
    kept = States(tmp_path, "one")
    kept.put({b"a": b"1"})
    assert kept.get([b"a"]) == {}


class Mean:
    """Scores by the mean colour, which is what it keeps of a picture."""

    name, fingerprint = "mean", "mean:1"

    def __init__(self) -> None:
        self.looked = 0

    def picture_states(self, images: Any) -> Any:
        self.looked += len(images)
        arrays = [np.asarray(open_picture(image).resize((4, 4)), float) for image in images]
        return np.array([array.mean(axis=(0, 1)) for array in arrays], np.float16)

    def score_pairs(self, images: Any, texts: Any, pairs: Any) -> Any:
        plain = [one if isinstance(one, np.ndarray) else self.picture_states([one])[0] for one in images]
        return np.array([plain[i][0] - 3 * len(texts[t]) for i, t in pairs], np.float32)


def test_a_second_search_looks_at_no_picture_again(photos: Path, paint: Paint) -> None:
    for number in range(8):
        paint(f"{number}.png", (30 * number, 255 - 30 * number, 9))
    with open_collection(photos, model=Colours()) as collection:
        collection.add()
        scorer = Mean()
        first = collection.search("red", k=8, rerank=scorer, depth=8)
        assert scorer.looked == 8
        assert [r.path for r in collection.search("red", k=8, rerank=scorer, depth=8)] == [
            r.path for r in first
        ]
        assert scorer.looked == 8
    with open_collection(photos, model=Colours()) as collection:
        scorer = Mean()
        collection.search("a green one", rerank=scorer, depth=8)
        assert scorer.looked == 0
        paint("3.png", "white")
        collection.add()
        collection.search("a green one", rerank=scorer, depth=8)
        assert scorer.looked == 1  # another content
        scorer.fingerprint = "mean:2"
        collection.search("a green one", rerank=scorer, depth=8)
        assert scorer.looked == 9
        place = collection.place
    assert (place / FILE).is_file()
    for told in ("sessions/a.jsonl", "replies/ab/cd.json"):  # of dialogues, and by language models
        (place / told).parent.mkdir(parents=True)
        (place / told).write_text("{}")
    discard(photos)
    assert {one.name for one in place.iterdir()} <= {"writer.lock"}
