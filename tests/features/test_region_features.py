"""Regions: the grid of the built-in tower, and what a detector has found before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from diptych import catalogue
from diptych.errors import BadData, BadParameter, MissingData, UsageError
from diptych.features.builtin_image import BuiltinImage
from diptych.features.regions import Regions, Store
from diptych.testing.materials import drawn


def test_the_cells_are_what_the_tower_pools() -> None:
    pictures = drawn(3, 2)[0].image
    cells = Regions().encode_image(pictures).reshape(3, 49, 1284)
    assert cells[:, :, :1280].mean(axis=1) == pytest.approx(BuiltinImage().encode_image(pictures), abs=1e-4)
    assert cells[1, 8, 1280:] == pytest.approx([1 / 7, 1 / 7, 2 / 7, 2 / 7])
    coarse = catalogue.load("regions:1").encode_image(pictures)
    assert coarse[:, :1280] == pytest.approx(cells[:, :, :1280].mean(axis=1), abs=1e-4)
    assert coarse[:, 1280:].tolist() == [[0, 0, 1, 1]] * 3


def test_a_coarser_grid_takes_the_cells_that_it_touches() -> None:
    pictures = drawn(1, 2)[0].image
    fine = Regions().encode_image(pictures).reshape(7, 7, 1284)
    coarse = Regions(grid=3).encode_image(pictures).reshape(3, 3, 1284)
    # A third of seven cells is 0..2.33, 2.33..4.67 and 4.67..7.
    expected = fine[2:5, 4:7, :1280].mean(axis=(0, 1))
    assert coarse[1, 2, :1280] == pytest.approx(expected, abs=1e-4)
    assert coarse[1, 2, 1280:] == pytest.approx([2 / 3, 1 / 3, 1, 2 / 3])


def parts() -> dict[str, Any]:
    """Two pictures of 640 x 480 and 100 x 50, with two regions and one."""
    return {
        "names": np.array(["train/a.jpg", "b"]),
        "features": np.arange(12, dtype=np.float32).reshape(3, 4),
        "boxes": np.array([[64, 48, 320, 240], [0, 0, 640, 480], [10, 10, 60, 40]], np.float32),
        "counts": np.array([2, 1]),
        "width": np.array([640, 100]),
        "height": np.array([480, 50]),
        "class_probs": np.array([[0.2, 0.8], [1, 0], [0.5, 0.5]], np.float32),
    }


def as_h5(path: Path, content: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        starts = np.concatenate([[0], np.cumsum(content["counts"])])
        for row, name in enumerate(content["names"]):
            group, at = file.create_group(Path(str(name)).name), slice(starts[row], starts[row + 1])
            for key in ("features", "boxes", "class_probs"):
                group[key] = content[key][at]
            group.attrs["width"], group.attrs["height"] = content["width"][row], content["height"][row]
    return path


@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_what_a_detector_found(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"found.{kind}"
    if kind == "npz":
        np.savez(path, **parts())
    else:
        as_h5(path, parts())
    store = Store(path)
    assert (store.dim, store.classes) == (4, 2)
    name = "train/a.jpg" if kind == "npz" else "a.jpg"
    rows = store.rows([name, "elsewhere/b.png"], 3).reshape(2, 3, 8)
    assert rows[0, 0] == pytest.approx([0, 1, 2, 3, 0.1, 0.1, 0.5, 0.5])
    assert rows[1, 0] == pytest.approx([8, 9, 10, 11, 0.1, 0.2, 0.6, 0.8])
    assert np.abs(rows[1, 1:]).sum() == 0
    more = store.rows([name], 2, classes=True).reshape(2, 10)
    assert more[0, 8:] == pytest.approx([0.2, 0.8])
    assert store.rows([name], 1).shape == (1, 8)

    reader: Any = catalogue.load(f"regions@{path}", most=3)
    Image.new("RGB", (100, 50)).save(tmp_path / "b.png")
    assert not hasattr(reader, "prepare_image")
    assert reader.encode_image([tmp_path / "b.png"]).reshape(3, 8)[0, 0] == 8
    with Image.open(tmp_path / "b.png") as opened:
        assert reader.encode_image([opened]).reshape(3, 8)[0, 0] == 8
    with pytest.raises(UsageError, match="found by the picture's file name"):
        reader.encode_image([Image.new("RGB", (9, 9))])
    with pytest.raises(MissingData, match=r"no regions of c\.jpg; run the detector on it"):
        reader.encode_image(["c.jpg"])
    assert reader.fingerprint != Regions().fingerprint != Regions(grid=3).fingerprint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"counts": np.array([2, 2])}, "2 names, 2 counts, 3 features"),
        ({"boxes": np.full((3, 4), 700.0)}, "boxes reach outside a picture of 640 x 480"),
        ({"boxes": np.zeros((3, 5))}, r"boxes \(2, 5\)"),
        ({"width": np.array([0, 100])}, "size 0 x 480"),
        ({"features": None}, "'features is not a file in the archive'"),
    ],
)
def test_a_file_that_is_not_whole_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    content = {key: value for key, value in {**parts(), **change}.items() if value is not None}
    np.savez(tmp_path / "found.npz", **content)
    with pytest.raises(BadData, match=rf"found\.npz holds no regions .*{said}"):
        Store(tmp_path / "found.npz")


def test_what_is_no_file_of_regions(tmp_path: Path) -> None:
    for name in ("a.npz", "a.h5"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(BadData, match="holds no regions"):
            Store(tmp_path / name)
    (tmp_path / "a.lmdb").write_bytes(b"")
    with pytest.raises(BadData, match=r"neither \.npz nor \.h5"):
        Store(tmp_path / "a.lmdb")
    with pytest.raises(MissingData, match="there is no"):
        Regions(weights=str(tmp_path / "none.npz"))
    with pytest.raises(BadParameter, match="a grid of 1 to 7"):
        Regions(grid=8)
    without = {key: value for key, value in parts().items() if key != "class_probs"}
    np.savez(tmp_path / "plain.npz", **without)
    with pytest.raises(BadParameter, match="holds no class_probs"):
        Store(tmp_path / "plain.npz").rows(["b"], 2, classes=True)
