"""Vectors, codes and what they are of, written for other programs, and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
from crash_child import Tiny
from engine_helpers import Paint

import diptych
from diptych import similarity
from diptych.engine.collection import Collection, open_collection
from diptych.errors import CollectionError, UsageError
from diptych.testing import Colours


@pytest.fixture
def collection(photos: Path, paint: Paint) -> Any:
    for name in ("red", "green", "blue"):
        paint(f"{name}.png", name).with_suffix(".txt").write_text(f"all {name}\nso {name}\n")
    paint("sub/white.png", "white")
    with open_collection(photos, model=Colours()) as opened:
        opened.add()
        yield opened


def test_a_matrix_has_a_line_for_each_row(collection: Collection, tmp_path: Path) -> None:
    collection.make_codes(8)
    done = collection.export(tmp_path / "out.npy", codes=True)
    assert (done.rows, done.dimensions, done.type, done.bits) == (4, 3, "float16", 8)
    vectors = np.load(tmp_path / "out.npy")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    ids, kept = collection.vectors("image")
    assert vectors.dtype == np.float16
    np.testing.assert_array_equal(vectors, kept.astype(np.float16))
    assert [line["id"] for line in lines] == ids
    told = {line["id"]: line for line in lines}
    assert told["red.png"]["captions"] == ["all red", "so red"]
    assert told["sub/white.png"]["fields"]["folder"] == ["sub"]
    rows, codes = collection.home.packed() or ((), np.zeros(0))
    np.testing.assert_array_equal(np.load(tmp_path / "out.codes.npy"), codes)
    assert len(rows) == len(codes) == 4
    collection.export(tmp_path / "texts.npy", side="text", single=True)
    texts = np.load(tmp_path / "texts.npy")
    assert (texts.shape, texts.dtype) == ((6, 3), np.float32)


def test_a_folder_is_read_as_a_data_set_of_pairs(collection: Collection, tmp_path: Path) -> None:
    done = collection.export(tmp_path / "out", single=True)
    assert (done.rows, done.left_out) == (6, 1)
    split = diptych.open_data(tmp_path / "out").split("all")
    ids, images = collection.vectors("image")
    texts = [item.text for item in collection.gallery("text")]
    _, vectors = collection.vectors("text")
    assert list(split.text_id or ()) == texts
    of = [ids.index(str(one)) for one in split.image_id or ()]
    assert [Path(ids[one]).stem for one in of] == [str(text).split()[1] for text in texts]
    np.testing.assert_array_equal(split.image, images[of])
    np.testing.assert_array_equal(split.text, vectors)
    collection.export(tmp_path / "pictures", side="image")
    alone = diptych.open_data(tmp_path / "pictures").split("all")
    assert list(alone.image_id or ()) == ids
    np.testing.assert_array_equal(alone.image, images)


def test_a_table_holds_everything(collection: Collection, tmp_path: Path) -> None:
    collection.make_codes(16)
    assert collection.export(tmp_path / "out.parquet", codes=True).rows == 10
    lines = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [line["side"] for line in lines] == ["image"] * 4 + ["text"] * 6
    for side in ("image", "text"):
        ids, vectors = collection.vectors(side)  # type: ignore[arg-type]
        mine = [line for line in lines if line["side"] == side]
        assert [line["id"] for line in mine] == ids
        np.testing.assert_array_equal(np.array([line["vector"] for line in mine]), vectors)
    assert {len(line["code"]) for line in lines} == {2}
    assert json.loads(lines[0]["fields"])["name"] == [lines[0]["id"]]


def test_a_folder_inside_and_a_further_model(collection: Collection, tmp_path: Path) -> None:
    class Long(Colours):
        name, fingerprint = "long", "long:1"

        def encode_image(self, images: Any) -> Any:
            return super().encode_image(images).repeat(3, axis=1)

        def encode_text(self, texts: Any) -> Any:
            return super().encode_text(texts).repeat(3, axis=1)

    collection.add_model(Long())
    assert collection.using("long").export(tmp_path / "long.npy").dimensions == 9
    with open_collection(collection.folder / "sub", model=Colours()) as inside:
        assert inside.export(tmp_path / "in.npy").rows == 1
        with pytest.raises(UsageError, match="no pictures with captions in"):
            inside.export(tmp_path / "in")


def test_codes_of_a_hashing_model_are_also_vectors(photos: Path, paint: Paint, tmp_path: Path) -> None:
    class Signs(Tiny):
        similarity = "hamming"

        def encode_image(self, images: Any) -> Any:
            return np.where(super().encode_image(images) > 0, 1, -1).astype(np.float32)

    paint("red.png", "red")
    paint("blue.png", "blue")
    with open_collection(photos, model=Signs()) as opened:
        opened.add()
        opened.export(tmp_path / "out.npy", codes=True)
        vectors = np.load(tmp_path / "out.npy")
        assert set(np.unique(vectors)) == {-1, 1}
        np.testing.assert_array_equal(similarity.pack(vectors), np.load(tmp_path / "out.codes.npy"))


def test_what_cannot_be_written_is_said_and_leaves_nothing(collection: Collection, tmp_path: Path) -> None:
    place = tmp_path / "written"
    place.mkdir()
    for name, how, error, said in (
        ("", {}, UsageError, "is there already"),
        ("x.csv", {}, UsageError, "which is not written"),
        ("x.npy", {"codes": True}, UsageError, "no codes of colours"),
        ("x.npy", {"side": "both"}, UsageError, "side must be image or text"),
    ):
        with pytest.raises(error, match=said):
            collection.export(place / name if name else place, **how)
    (place / "file").write_text("")
    with pytest.raises(CollectionError, match="cannot be written"):
        collection.export(place / "file" / "x.npy")
    assert [path.name for path in place.iterdir()] == ["file"]
    with (
        open_collection(place, model=Colours()) as empty,
        pytest.raises(UsageError, match="there are no pictures in"),
    ):
        empty.export(place / "y.npy")
