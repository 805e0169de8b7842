"""Several data sets as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.data import open_data
from diptych.data.base import Loaded, Protocol, captioned
from diptych.data.joined import Joined
from diptych.errors import BadData, MissingData, UnknownName


def _set(name: str, *splits: str, classes: bool = False) -> Loaded:
    parts = {
        one: captioned(
            [Image.new("RGB", (4, 4))] * 2,
            [[f"{name} {one} 0", f"{name} {one} 1"], [f"{name} {one} 2"]],
            labels=[["a"], ["b"]] if classes else None,
            class_names=("a", "b") if classes else (),
        )
        for one in splits
    }
    protocols = {"pair": Protocol("dev", "dev", "pair")}
    return Loaded(name, parts, protocols=protocols, class_names=("a", "b") if classes else ())


def test_splits_that_all_have_are_one_below_the_other() -> None:
    both = Joined([_set("one", "train", "dev", "test"), _set("two", "train", "dev", classes=True)])
    assert (both.name, both.splits, both.class_names) == ("one+two", ("train", "dev"), ())
    dev = both.split("dev")
    assert dev.text == ["one dev 0", "one dev 1", "one dev 2", "two dev 0", "two dev 1", "two dev 2"]
    assert dev.label is None
    assert dev.image_id == ("one/0", "one/1", "two/0", "two/1")
    assert np.array_equal(dev.pairs, [[0, 0], [0, 1], [1, 2], [2, 3], [2, 4], [3, 5]])
    assert [len(query) for query, _ in both.cases()] == [4]
    with pytest.raises(UnknownName, match="split 'test'"):
        both.split("test")


def test_sets_with_no_split_in_common_are_refused() -> None:
    with pytest.raises(BadData, match="one\\+two cannot be one data set"):
        Joined([_set("one", "train", "dev"), _set("two", "test")])


def test_names_are_joined_by_a_plus(tmp_path: Path) -> None:
    for name, colour in (("reds", "red"), ("blues", "blue")):
        for split in ("train", "test"):
            folder = tmp_path / name / split
            folder.mkdir(parents=True)
            Image.new("RGB", (8, 8), colour).save(folder / "a.png")
            (folder / "a.txt").write_text(f"a {colour} thing\n")
    one = open_data(f"{tmp_path / 'reds'}+{tmp_path / 'blues'}")
    assert sorted(one.split("train").text) == ["a blue thing", "a red thing"]
    with pytest.raises(MissingData, match="greens"):
        open_data(f"{tmp_path / 'reds'}+{tmp_path / 'greens'}")


def test_a_path_with_a_plus_is_one_path(tmp_path: Path) -> None:
    folder = tmp_path / "a+b"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    (folder / "a.txt").write_text("one thing\n")
    assert open_data(str(folder)).name == "a+b"
