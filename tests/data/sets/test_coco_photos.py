"""COCO's photos as JSON Lines: what each split holds, and the photos here."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from diptych.data import open_data
from diptych.data.readers import coco
from diptych.errors import BadData


def written(folder: Path, stem: str, categories: list[list[str]]) -> None:
    rows = []
    with ZipFile(folder / f"{stem}_images.zip", "w") as archive:
        for number, names in enumerate(categories):
            rows.append(
                {
                    "image": f"{stem}{number}.png",
                    "captions": [f"{stem} {number} {caption}" for caption in range(number + 1)],
                    "categories": names,
                }
            )
            with archive.open(f"{stem}{number}.png", "w") as file:
                Image.new("RGB", (4, 4), (number, 0, 0)).save(file, "PNG")
    (folder / f"{stem}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def test_queries_and_database_are_the_photos_with_a_category(tmp_path: Path) -> None:
    written(tmp_path, "train", [["cat"], [], ["dog", "cat"]])
    written(tmp_path, "dev", [[], ["dog"]])
    data = open_data("coco_photos", tmp_path)
    sizes = {name: (len(data.split(name).image), len(data.split(name).text)) for name in data.splits}
    assert sizes == {"train": (3, 6), "dev": (2, 3), "query": (1, 2), "database": (2, 4)}
    database = data.split("database")
    assert list(database.image_id or ()) == ["train0.png", "train2.png"]
    assert database.label is not None
    held = [[coco.CLASSES[column] for column in np.flatnonzero(row)] for row in database.label]
    assert held == [["cat"], ["cat", "dog"]]
    assert list(database.text)[1:] == ["train 2 0", "train 2 1", "train 2 2"]
    ((query, gallery),) = data.cases("label")
    assert (query, gallery) == (data.split("query"), database)
    assert data.protocol("label").train == "database"
    ((asked, ranked),) = data.cases("pair")
    assert asked is ranked
    assert list(asked.text) == ["dev 0 0", "dev 1 0", "dev 1 1"]


def test_a_category_that_coco_does_not_have_is_refused(tmp_path: Path) -> None:
    written(tmp_path, "train", [["unicorn"]])
    with pytest.raises(BadData, match="the label 'unicorn' is not one of the 80 classes"):
        open_data("coco_photos", tmp_path).split("train")


@pytest.mark.data
def test_the_photos_that_are_here(shared_data: Path) -> None:
    data = open_data("coco_photos", shared_data / "coco-photos")
    assert (len(data.split("dev").image), len(data.split("dev").text)) == (149, 745)
    assert (len(data.split("train").image), len(data.split("train").text)) == (1192, 2879)
    for part in ("query", "database"):
        label = data.split(part).label
        assert label is not None
        assert label.any(axis=1).all()
