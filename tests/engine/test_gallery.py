"""A side of a collection is a sequence of items like any other gallery, and any system ranks it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_helpers import Paint
from PIL import Image

from diptych.core import Item, Run
from diptych.engine.collection import Collection, open_collection
from diptych.errors import CollectionError, UsageError
from diptych.pipeline import Rerank, over
from diptych.testing import Colours

COLOURS = ["red", "green", "blue", "yellow", "black", "white"]


@pytest.fixture
def collection(photos: Path, encoder: Colours, paint: Paint) -> Any:
    """Six pictures, of which the first and the third are removed again, so that row numbers have gaps."""
    with open_collection(photos, model=encoder) as opened:
        for colour in COLOURS:
            paint(f"{colour}.png", colour)
            (photos / f"{colour}.txt").write_text(f"all {colour}\nplain\n", encoding="utf-8")
            opened.add()
        for colour in ("red", "blue"):
            (photos / f"{colour}.png").unlink()
            (photos / f"{colour}.txt").unlink()
        opened.add()
        yield opened


def test_entries_are_numbered_from_0_and_have_their_captions(collection: Collection) -> None:
    gallery = collection.gallery("image")
    names = ["green.png", "yellow.png", "black.png", "white.png"]
    assert len(gallery) == 4
    assert [item.image.name for item in gallery] == names
    assert [gallery[place].image.name for place in range(4)] == names
    assert [item.image.name for item in gallery[1:3]] == names[1:3]
    assert gallery[-1].image.name == "white.png"
    assert gallery[0].text == "all green\nplain"
    texts = collection.gallery("text")
    assert [item.text for item in texts[:3]] == ["all green", "plain", "all yellow"]
    assert texts[2].meta["path"].name == "yellow.png"
    assert len({item.id for item in texts}) == 8
    for wrong in (4, -5):
        with pytest.raises(IndexError, match=f"no entry {wrong} of 4"):
            _ = gallery[wrong]


class Brightness:
    """Scores a pair by how bright the picture is; counts what it reads."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def score_pairs(self, images: Any, texts: Any, pairs: Any) -> Any:
        self.read += [Path(image).name for image in images]
        bright = [float(np.asarray(Image.open(image).convert("L")).mean()) for image in images]
        return np.array([bright[image] for image, _ in pairs], np.float32)


def test_a_scorer_of_pairs_ranks_it(collection: Collection) -> None:
    gallery, scorer = collection.gallery("image"), Brightness()
    run = over(scorer, gallery, 3)(Run([Item(text="x"), Item(text="y")], gallery))
    assert run.hits is not None
    for line in run.hits.rows:
        assert [gallery[row].image.name for row in line] == ["white.png", "yellow.png", "green.png"]
    assert sorted(scorer.read) == sorted(["green.png", "yellow.png", "black.png", "white.png"])


def test_a_scorer_re_ranks_it_and_reads_each_picture_once(collection: Collection, encoder: Colours) -> None:
    gallery, scorer = collection.gallery("image"), Brightness()
    search = over(encoder, gallery, 4)
    queries = [Item(text=text) for text in ("green", "red green", "green green")]
    before = search(Run(queries, gallery)).hits
    after = (search >> Rerank(scorer, 2))(Run(queries, gallery)).hits
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(np.sort(before.rows[:, :2]), np.sort(after.rows[:, :2]))
    np.testing.assert_array_equal(before.rows[:, 2:], after.rows[:, 2:])
    assert len(scorer.read) == len(set(scorer.read)) == len(np.unique(before.rows[:, :2]))


def test_it_is_of_one_side_and_of_one_moment(
    collection: Collection, encoder: Colours, photos: Path, paint: Paint
) -> None:
    gallery = collection.gallery("image")
    with pytest.raises(UsageError, match="a gallery of images, so it cannot be searched for texts"):
        over(encoder, gallery, 1, to="text")
    paint("new.png", "magenta")
    (photos / "green.png").unlink()
    collection.add()
    assert len(gallery) == 4
    stage = over(encoder, gallery, 9)
    hits = stage(Run([Item(text="red")], gallery)).hits
    assert hits is not None
    assert sorted(hits.rows[0].tolist()) == [0, 1, 2, 3]
    with pytest.raises(CollectionError, match="was removed while it was being read"):
        _ = gallery[0]
    assert [item.image.name for item in collection.gallery("image")][-1] == "new.png"


def test_another_encoder_looks_at_the_pictures_itself(collection: Collection, encoder: Colours) -> None:
    class Other(Colours):
        fingerprint = "other:1"

        def encode_image(self, images: Any) -> Any:
            return super().encode_image([Image.open(image) for image in images])

    other, gallery = Other(), collection.gallery("image")
    assert over(encoder, gallery, 1)(Run([Item(text="green")], gallery)).hits is not None
    hits = over(other, gallery, 1)(Run([Item(text="green")], gallery)).hits
    assert hits is not None
    assert gallery[hits.rows[0, 0]].image.name == "green.png"
    assert other.pictures == 4


def test_a_folder_inside_has_a_gallery_of_its_own(photos: Path, encoder: Colours, paint: Paint) -> None:
    for name in ("a.png", "sub/b.png", "sub/c.png"):
        paint(name, {"a.png": "red", "sub/b.png": "green", "sub/c.png": "blue"}[name])
    with open_collection(photos, model=encoder) as opened:
        opened.add()
    with open_collection(photos / "sub", model=encoder) as opened:
        gallery = opened.gallery("image")
        assert [item.image.name for item in gallery] == ["b.png", "c.png"]
        hits = over(encoder, gallery, 5)(Run([Item(text="blue")], gallery)).hits
        assert hits is not None
        assert hits.rows.tolist() == [[1, 0]]
        assert [result.path.name for result in opened.search("blue", k=5) if result.path] == [
            "c.png",
            "b.png",
        ]
