"""COCO's categories: how they are halved, HashNet's lists, and the table here."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from diptych.data import open_data
from diptych.data.originals import Layout
from diptych.data.readers import coco
from diptych.data.sets.coco_categories import COCOCategories
from diptych.errors import BadData

NUMBERS = [8, 9, 12, 15]
HELD = [["person", "dog", "toothbrush"], ["person", "dog", "toothbrush"], ["cat"], ["cat"]]


def written(folder: Path, *, rows: int = 4) -> None:
    held = np.array([[name in names for name in coco.CLASSES] for names in HELD])
    np.savez(
        folder / "coco_categories.npz",
        ids=np.array(NUMBERS, np.int32),
        labels_packed=np.packbits(held, axis=1),
        hashnet_pytorch=np.array([1, 0, 2, 1], np.uint8)[:rows],
    )


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    (layout,) = COCOCategories.variants["halves"]
    free = Layout(layout.title, layout.parts, layout.read, layout.shared, class_names=layout.class_names)
    monkeypatch.setattr(COCOCategories, "variants", MappingProxyType({"halves": (free,)}))


def names(row: np.ndarray) -> list[str]:
    return [coco.CLASSES[column] for column in np.flatnonzero(row)]


@pytest.mark.usefixtures("any_size")
def test_categories_alternate_between_the_sides(tmp_path: Path) -> None:
    written(tmp_path)
    data = open_data("coco_categories", tmp_path)
    train, query, database = (data.split(part) for part in ("train", "query", "database"))
    assert list(train.image_id or ()) == ["000000000008", "000000000015"]
    assert list(query.image_id or ()) == ["000000000012"]
    assert list(database.image_id or ()) == ["000000000008", "000000000009", "000000000015"]
    assert [names(row) for row in database.image] == [["person", "toothbrush"], ["dog"], []]
    assert [names(row) for row in database.text] == [["dog"], ["person", "toothbrush"], ["cat"]]
    assert [names(row) for row in (*query.image, *query.text)] == [["cat"], []]
    assert database.label is not None
    assert [names(row) for row in database.label] == [HELD[0], HELD[1], HELD[3]]


@pytest.mark.usefixtures("any_size")
def test_rows_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    written(tmp_path, rows=3)
    with pytest.raises(BadData, match="mixes sets: 4 ids, 4 labels, 3 parts"):
        open_data("coco_categories", tmp_path).split("train")


def test_a_part_of_it_is_not_taken_for_the_set(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(BadData, match=r"train of coco_categories has 2 .* 10,?000"):
        open_data("coco_categories", tmp_path).split("train")


@pytest.mark.data
def test_the_table_that_is_here(shared_data: Path) -> None:
    data = open_data("coco_categories", shared_data)
    parts = {part: data.split(part) for part in data.splits}
    labels = {part: split.label for part, split in parts.items() if split.label is not None}
    assert {part: int(label.sum()) for part, label in labels.items()} == {
        "train": 29286,
        "query": 14605,
        "database": 343022,
        "query-1000": int(labels["query"][::5].sum()),
    }
    for part, split in parts.items():
        np.testing.assert_array_equal(np.asarray(split.image) + np.asarray(split.text), labels[part])
    held, known = set(parts["database"].image_id or ()), set(parts["query"].image_id or ())
    assert set(parts["train"].image_id or ()) < held
    assert not known & held
    assert set(parts["query-1000"].image_id or ()) < known
    # The same photos carry the same categories in the set that has the pictures.
    photos = open_data("coco_photos", shared_data).split("query")
    assert photos.label is not None
    row = {name: at for at, name in enumerate(parts["database"].image_id or ())}
    stems = [Path(name).stem for name in photos.image_id or ()]
    shared = [(at, row[stem]) for at, stem in enumerate(stems) if stem in row]
    assert len(shared) > 100
    mine, theirs = (list(side) for side in zip(*shared, strict=True))
    np.testing.assert_array_equal(photos.label[mine], labels["database"][theirs])
