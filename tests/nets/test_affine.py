"""The statistics that closed forms are computed from."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from diptych.data.base import Split
from diptych.nets.affine import paired


def test_pairs_of_features_that_are_mapped_from_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.arange(6, dtype=np.float32).reshape(3, 2))
    image = np.load(tmp_path / "image.npy", mmap_mode="r")
    text = np.arange(8, dtype=np.float32).reshape(4, 2)
    split = Split(image, text, None, np.array([[2, 0], [0, 3]]))
    assert not np.asarray(split.image).flags.writeable
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = paired(split)
    assert [side.tolist() for side in found] == [[[4, 5], [0, 1]], [[0, 1], [6, 7]]]
