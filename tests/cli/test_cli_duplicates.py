"""``diptych duplicates`` lists copies for people and for programs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def indexed(tmp_path: Path, run) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed, name in enumerate(("a", "b", "c")):
        noise = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
        Image.fromarray(noise).resize((180, 140), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    shutil.copy(folder / "a.png", folder / "copy\nof a.png")
    with Image.open(folder / "b.png") as picture:
        picture.resize((90, 70)).save(folder / "small b.jpg")
    assert run("index", str(folder), "-q")[0] == 0
    return folder


def test_copies_are_listed_in_groups(indexed: Path, run) -> None:
    code, out, err = run("duplicates", str(indexed))
    assert code == 0
    assert (
        out.index("the same content")
        < out.index("a.png")
        < out.index("nearly the same")
        < out.index("small b.jpg")
    )
    assert "c.png" not in out
    assert "\nof a" not in out  # a name does not break a line
    assert "among 5 pictures, 1 copy of the same content and 1 nearly the same as another" in err
    facts = json.loads(run("duplicates", str(indexed), "--json")[1])
    assert facts["threshold"] == 0.8
    assert [[one["id"] for one in group] for group in facts["exact"]] == [["a.png", "copy\nof a.png"]]
    (near,) = facts["near"]
    assert {one["id"] for one in near} == {"b.png", "small b.jpg"}
    assert all(one["likeness"] >= 0.8 for one in near)


def test_paths_for_other_programs(indexed: Path, run) -> None:
    code, out, _ = run("duplicates", str(indexed), "--paths", "-0", "--exact")
    assert code == 0
    assert out == f"{indexed}/a.png\0{indexed}/copy\nof a.png\0\0"
    (indexed / "copy\nof a.png").unlink()
    code, out, err = run("duplicates", str(indexed), "--paths", "--exact")
    assert (code, out) == (1, "")
    assert "1 file not there now could not be compared" in err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--threshold", "0"), "above 0 and at most 1, such as 0.8, not 0.0"),
        (("--threshold", "0.9", "--exact"), "--exact compares content only, so --threshold 0.9 says nothing"),
    ],
)
def test_what_cannot_be_asked(indexed: Path, run, options: tuple[str, ...], sentence: str) -> None:
    code, out, err = run("duplicates", str(indexed), *options)
    assert (code, out) == (2, "")
    assert sentence in err
