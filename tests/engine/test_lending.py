"""Vectors out of rclip's database: taken where the model made them, refused in a sentence where not."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import diptych
from diptych import similarity
from diptych.engine.homes.rclip import Rclip
from diptych.errors import BadData, MissingData, TooNew, WrongModel
from diptych.testing import Colours

NAMES = ("red", "green", "blue", "yellow")


class Counting(Colours):
    """Counts the pictures that it encodes."""

    encoded = 0

    def encode_image(self, images: Any) -> Any:
        type(self).encoded += len(images)
        return super().encode_image(images)


Keep = Callable[..., Path]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in NAMES:
        Image.new("RGB", (40, 30), name).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def keep(photos: Path, tmp_path: Path) -> Keep:
    """Write a database as rclip 3 and 4 do: vectors are float32 of length 1."""

    def keep(*, version: int = 4, encoder: Any = None, names: tuple[str, ...] = NAMES) -> Path:
        path = tmp_path / "db.sqlite3"
        paths = [photos / f"{name}.png" for name in names]
        vectors = (encoder or Colours()).encode_image([Image.open(one) for one in paths])
        with sqlite3.connect(path) as base:
            base.execute(
                "CREATE TABLE images (id INTEGER PRIMARY KEY, deleted BOOLEAN, "
                "filepath TEXT NOT NULL UNIQUE, modified_at DATETIME NOT NULL, size INTEGER NOT NULL, "
                "vector BLOB NOT NULL, indexing BOOLEAN, hash TEXT)"
            )
            base.execute("CREATE TABLE db_version (version INTEGER)")
            base.execute("INSERT INTO db_version VALUES (?)", (version,))
            for one, vector in zip(paths, similarity.unit(vectors), strict=True):
                state = one.stat()
                base.execute(
                    "INSERT INTO images (filepath, modified_at, size, vector) VALUES (?, ?, ?, ?)",
                    (str(one), state.st_mtime, state.st_size, vector.astype(np.float32).tobytes()),
                )
        base.close()
        return path

    return keep


def test_vectors_of_the_same_model_are_taken_and_others_made(photos: Path, keep: Keep) -> None:
    base = keep(names=("red", "green", "blue"))
    Image.new("RGB", (40, 30), "black").save(photos / "green.png")  # changed since
    Counting.encoded = 0
    with diptych.open(photos, model=Counting()) as collection:
        tried = Counting.encoded
        summary = collection.add(vectors_of=base)
        assert (summary.added, summary.lent, summary.encoded) == (4, 2, 2)
        assert Counting.encoded - tried == 2 + 2, "two pictures are compared, two are new"
        ids, vectors = collection.vectors("image")
        again = Colours().encode_image([Image.open(photos / one) for one in ids])
        assert np.allclose(vectors, similarity.unit(again), atol=1e-3)
        assert collection.add(vectors_of=base).unchanged == 4
        assert summary.as_dict()["lent"] == 2


class Backwards(Colours):
    """Another model of as many numbers."""

    def encode_image(self, images: Any) -> Any:
        return -super().encode_image(images)[:, ::-1]


@pytest.mark.parametrize(
    ("version", "made_by"),
    [(2, "ViT-B/32 of OpenAI .clip:vit-b-32"), (4, "ViT-B/32 of 256 pixels, learned")],
)
def test_vectors_of_another_model_are_refused(photos: Path, keep: Keep, version: int, made_by: str) -> None:
    base = keep(version=version, encoder=Backwards())
    with (
        diptych.open(photos, model=Colours()) as collection,
        pytest.raises(WrongModel, match=rf"another model than .*came with CLIP {made_by}"),
    ):
        collection.add(vectors_of=base)


def test_nothing_to_compare_is_refused(photos: Path, keep: Keep) -> None:
    base = keep()
    for name in NAMES:
        (photos / f"{name}.png").rename(photos / f"moved-{name}.png")
    with (
        diptych.open(photos, model=Colours()) as collection,
        pytest.raises(MissingData, match=r"none of the pictures that .* knows is where it was"),
    ):
        collection.add(vectors_of=base)


def test_what_is_no_such_database_is_refused(photos: Path, keep: Keep, tmp_path: Path) -> None:
    with pytest.raises(TooNew, match="format 5 of rclip, and formats up to 4"):
        Rclip(keep(version=5))
    with pytest.raises(MissingData, match="is not there"):
        Rclip(tmp_path / "nowhere.sqlite3")
    sqlite3.connect(tmp_path / "other.sqlite3").execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(BadData, match="is no database of rclip"):
        Rclip(tmp_path / "other.sqlite3")
    (tmp_path / "text.sqlite3").write_bytes(b"no database " * 500)
    with pytest.raises(BadData, match="cannot be read as a database of rclip"):
        Rclip(tmp_path / "text.sqlite3")


@pytest.mark.parametrize("content", [b"12345", "no bytes", 7])
def test_a_damaged_vector_is_a_sentence(photos: Path, keep: Keep, content: object) -> None:
    path = keep()
    with sqlite3.connect(path) as base:
        base.execute("UPDATE images SET vector = ?", (content,))
    first = photos / f"{NAMES[0]}.png"
    with (
        Rclip(path) as kept,
        pytest.raises(BadData, match=r"db\.sqlite3 cannot be read as a database of rclip"),
    ):
        kept.vector(first, first.stat().st_size, first.stat().st_mtime_ns)


def test_the_command_tells_what_was_taken(photos: Path, keep: Keep, run: Any) -> None:
    base = keep()
    code, _, err = run("index", str(photos), "--vectors-of", str(base))
    assert code == 1
    assert "were made by another model than builtin" in err
