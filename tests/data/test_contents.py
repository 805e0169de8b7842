"""Fingerprints of what a split holds: everything counts, and names and byte orders do not."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diptych.data.base import Absent, Pictures, Split, paired_in_order
from diptych.data.contents import contents_sha256
from diptych.errors import ImageError


def features() -> Split:
    drawn = np.random.default_rng(0)
    image, text = drawn.random((4, 3)), drawn.random((4, 2))
    return Split(image, text, np.eye(4), paired_in_order(4), image_id=["a", "b", "c", "d"])


def one_more(array: Any) -> Any:
    """A copy whose last number is another."""
    changed = array.copy()
    changed.reshape(-1)[-1] += 1
    return changed


@pytest.mark.parametrize(
    "change",
    [
        lambda s: {"image": one_more(s.image)},
        lambda s: {"text": one_more(s.text)},
        lambda s: {"label": s.label[::-1]},
        lambda s: {"text_label": s.text_label[::-1]},
        lambda s: {"pairs": s.pairs[:3]},
        lambda s: {"positives": np.array([[0, 0], [0, 1]])},
        lambda s: {"image_id": ["a", "b", "c", "e"]},
        lambda s: {"text_id": ["a", "b", "c", "e"]},
    ],
)
def test_every_part_of_a_split_counts(change: Any) -> None:
    split = features()
    assert features().fingerprint == split.fingerprint
    assert replace(split, **change(split)).fingerprint != split.fingerprint


def test_identity_knows_the_part_and_fingerprint_its_contents() -> None:
    split = features()
    other = replace(split, image=one_more(split.image))
    assert other.sha256() == split.sha256()
    assert other.fingerprint != split.fingerprint


def test_it_is_read_once_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    split = features()
    first = split.fingerprint
    monkeypatch.setattr("diptych.data.split.contents_sha256", lambda *_: pytest.fail("read again"))
    assert split.fingerprint == first


def test_pixels_tokens_and_texts_count() -> None:
    pixels = np.zeros((2, 3, 4, 4), np.uint8)
    assert contents_sha256(pixels, "image") != contents_sha256(one_more(pixels), "image")
    tokens = np.zeros((2, 5), np.uint32)
    assert contents_sha256(tokens, "text") != contents_sha256(one_more(tokens), "text")
    assert contents_sha256(tokens, "text") != contents_sha256(tokens.astype(np.int32), "text")
    assert contents_sha256(tokens, "text") != contents_sha256(tokens.reshape(5, 2), "text")
    assert contents_sha256(["ab", "c"], "text") != contents_sha256(["a", "bc"], "text")


def test_byte_order_and_memory_layout_do_not_count() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    said = contents_sha256(array, "image")
    assert contents_sha256(array.astype(">f4"), "image") == said
    assert contents_sha256(np.asfortranarray(array), "image") == said
    assert contents_sha256(np.repeat(array, 2, axis=0)[::2], "image") == said


def test_pictures_count_by_the_bytes_of_their_files(tmp_path: Path) -> None:
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (3, 2), colour).save(tmp_path / name)
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes())
    red, blue, again = ([tmp_path / f"{name}.png"] for name in "abc")
    assert contents_sha256(red, "image") == contents_sha256(again, "image")
    assert contents_sha256(red, "image") != contents_sha256(blue, "image")
    assert contents_sha256(red, "image") == contents_sha256(Pictures.from_paths(again), "image")
    assert contents_sha256(red, "image") == contents_sha256([red[0].read_bytes()], "image")
    with pytest.raises(ImageError, match="nowhere"):
        contents_sha256([tmp_path / "nowhere.png"], "image")


def test_open_pictures_and_arrays_count_by_their_pixels() -> None:
    pictures = [Image.new("RGB", (3, 2), colour) for colour in ("red", "blue")]
    assert contents_sha256(pictures[:1], "image") != contents_sha256(pictures[1:], "image")
    arrays = [np.asarray(picture) for picture in pictures]
    assert contents_sha256(arrays[:1], "image") != contents_sha256(arrays[1:], "image")


def test_absent_items_count_by_their_number() -> None:
    said = contents_sha256(Absent(3, "not here"), "image")
    assert contents_sha256(Absent(3, "elsewhere"), "image") == said
    assert contents_sha256(Absent(4, "not here"), "image") != said


def test_names_of_kept_features_stay_what_they_were() -> None:
    """Features extracted before are found again: their files are named after this."""
    said = hashlib.sha256(b"\x01" + bytes(7) + b"a" + b"\x02" + bytes(7) + "é".encode()).hexdigest()
    assert contents_sha256(["a", "é"], "text") == said
