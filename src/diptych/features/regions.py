"""Regions: a picture as a list of parts with their boxes, for systems that look through a detector.

Inputs: pictures
Learns from: nothing

Two providers. ``regions@FILE`` takes what a detector has found before, from an ``.npz`` or ``.h5`` file, by
the picture's file name (`Store`). `regions` needs no detector: it cuts the picture into a grid of 7 x 7 cells
(`regions:3` into 3 x 3) and takes what the built-in image tower sees in each, 1,280 numbers and the cell's
box. Published figures of such systems are of a detector's regions and do not hold for the grid's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats
from diptych.errors import BadData, BadParameter, MissingData, UsageError
from diptych.media.pictures import batches
from diptych.optional import optional
from diptych.towers.onnx import IMAGE_SIZE, WEIGHTS, GridTower, prepare_image

__all__ = ["Regions", "Store"]

_SIDE = 7


class Regions:
    """Rows of regions, as `diptych.nets.regions` reads them.

    Args:
        grid: Cells a side, where there is no file.
        weights: A detector's regions, see `Store`; "" cuts into cells.
        most: Regions of a picture that are kept of a file, the first ones.
        classes: Whether the file's class probabilities are given, too.
        batch_size: Pictures that go through the tower at once.

    Raises:
        BadParameter: a grid that cannot be.
        MissingData, BadData: the file is not there, or holds something else.
    """

    similarity = "cosine"
    side = "image"
    variant = "grid"
    file_optional = True
    image_size = IMAGE_SIZE

    def __init__(
        self,
        *,
        grid: int = _SIDE,
        weights: str = "",
        most: int = 36,
        classes: bool = False,
        batch_size: int = 16,
    ) -> None:
        if not 1 <= grid <= _SIDE or most < 1:
            raise BadParameter(f"regions needs a grid of 1 to {_SIDE} and most >= 1, not {grid} and {most}")
        self.grid, self.most, self.classes, self.batch_size = grid, most, classes, batch_size
        self.weights = str(Path(weights).expanduser().resolve()) if weights else ""
        self.store = Store(self.weights) if weights else None
        if self.store is None:
            # A detector's regions are found by the picture's name, which a prepared one lacks.
            self.prepare_image = prepare_image

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What the constructor was given."""
        keys = ("grid", "weights", "most", "classes", "batch_size")
        return {key: getattr(self, key) for key in keys}

    @cached_property
    def fingerprint(self) -> str:
        """Equal only for the same cells of the same tower, or the same file."""
        file = Path(self.weights) if self.weights else WEIGHTS / "image.onnx"
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()[:24]
        kind = f"file:{self.most}:{int(self.classes)}" if self.weights else f"grid:{self.grid}"
        return f"regions:1:{kind}:{digest}"

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Rows (n, regions * (d + 4)) float32 of pictures; with `classes` of a file, so many more a region.

        Raises:
            UsageError: regions are taken from a file, and a picture comes without its name.
            MissingData: the file has no regions of a picture.
        """
        if self.store is not None:
            return self.store.rows([_name(one) for one in images], self.most, classes=self.classes)
        found = [np.zeros((0, self.grid**2 * (1280 + 4)), np.float32)]
        found += [self._cells(batch) for batch in batches(images, self)]
        return np.concatenate(found)

    @cached_property
    def _tower(self) -> GridTower:
        return GridTower()

    def _cells(self, pictures: NDArray[Any]) -> Floats:
        seen = self._tower(pictures)
        edges = [(at * _SIDE // self.grid, -(-(at + 1) * _SIDE // self.grid)) for at in range(self.grid)]
        cells = [
            np.concatenate(
                [
                    seen[:, :, top:bottom, left:right].mean(axis=(2, 3)),
                    np.tile(np.array([c, r, c + 1, r + 1]) / self.grid, (len(seen), 1)),
                ],
                axis=1,
            )
            for r, (top, bottom) in enumerate(edges)
            for c, (left, right) in enumerate(edges)
        ]
        rows: Floats = np.concatenate(cells, axis=1).astype(np.float32)
        return rows


class Store:
    """Regions that a detector found, in one file.

    An ``.npz`` has `names` (n,) and for all pictures together `features` (total, d), `boxes` (total, 4) in
    pixels as x1, y1, x2, y2, `counts` (n,) regions of each picture, `width` and `height` (n,), and perhaps
    `class_probs` (total, c). An ``.h5`` has one group a picture, by its name, with `features`, `boxes`,
    perhaps `class_probs`, and attributes `width` and `height`. A name is a file name, with or without folders
    and ending.

    Args:
        path: The file.

    Raises:
        MissingData: it is not there.
        BadData: it holds something else.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise MissingData(f"there is no {self.path}; give the .npz or .h5 file with a detector's regions")
        if self.path.suffix == ".npz":
            self._found = self._of_npz()
        elif self.path.suffix in (".h5", ".hdf5"):
            self._found = self._of_h5()
        else:
            raise BadData(f"{self.path} is neither .npz nor .h5, in which regions are kept")
        kinds = {(one[0].shape[1], one[2].shape[1]) for one in self._found.values()}
        if len(kinds) != 1:
            raise BadData(f"{self.path} holds regions of different dimensions {sorted(kinds)}, or none")
        ((self.dim, self.classes),) = kinds

    def rows(self, names: Sequence[str], most: int, *, classes: bool = False) -> Floats:
        """Rows (n, most * (d + 4)) of pictures by their names, with `classes` most * (d + 4 + c).

        Raises:
            MissingData: there are no regions of a picture.
            BadParameter: class probabilities are asked for, and there are none.
        """
        if classes and not self.classes:
            raise BadParameter(f"{self.path} holds no class_probs; leave classes out")
        width = self.dim + 4 + (self.classes if classes else 0)
        found = np.zeros((len(names), most, width), np.float32)
        for row, name in enumerate(names):
            keys = (name, PurePosixPath(name).name, PurePosixPath(name).stem)
            key = next((key for key in keys if key in self._found), None)
            if key is None:
                raise MissingData(f"{self.path} holds no regions of {name}; run the detector on it, too")
            parts = self._found[key] if classes else self._found[key][:2]
            some = np.concatenate(parts, axis=1)[:most]
            found[row, : len(some)] = some
        return found.reshape(len(names), -1)

    def _of_npz(self) -> dict[str, tuple[Floats, Floats, Floats]]:
        try:
            with np.load(self.path, allow_pickle=False) as file:
                names = [str(name) for name in file["names"]]
                ends = np.cumsum(file["counts"])
                probs = file.get("class_probs")
                features, boxes, width, height = (
                    file[key] for key in ("features", "boxes", "width", "height")
                )
            if len(ends) != len(names) or (len(ends) and ends[-1] != len(features)):
                raise ValueError(f"{len(names)} names, {len(ends)} counts, {len(features)} features")
            starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
            return {
                name: _regions(
                    features[a:b], boxes[a:b], width[row], height[row], None if probs is None else probs[a:b]
                )
                for row, (name, a, b) in enumerate(zip(names, starts, ends, strict=True))
            }
        except (OSError, ValueError, KeyError, IndexError, EOFError) as error:
            raise BadData(f"{self.path} holds no regions ({error})") from error

    def _of_h5(self) -> dict[str, tuple[Floats, Floats, Floats]]:
        h5py = optional("h5py", "reading regions from HDF5 files", "data")
        found: dict[str, tuple[Floats, Floats, Floats]] = {}
        try:
            with h5py.File(self.path) as file:
                for name, group in file.items():
                    probs = np.asarray(group["class_probs"]) if "class_probs" in group else None
                    size = group.attrs["width"], group.attrs["height"]
                    found[name] = _regions(
                        np.asarray(group["features"]), np.asarray(group["boxes"]), *size, probs
                    )
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise BadData(f"{self.path} holds no regions ({error})") from error
        return found


def _regions(
    features: NDArray[Any], boxes: NDArray[Any], width: Any, height: Any, probs: NDArray[Any] | None
) -> tuple[Floats, Floats, Floats]:
    """Features (r, d), boxes (r, 4) as shares of the picture, and probabilities (r, c) of one picture."""
    if features.ndim != 2 or boxes.shape != (len(features), 4) or not (width > 0 and height > 0):
        raise ValueError(f"features {features.shape}, boxes {boxes.shape} and size {width} x {height} of one")
    shares = boxes / np.array([width, height, width, height], np.float64)
    if len(shares) and not (shares.min() >= -0.01 and shares.max() <= 1.01):
        raise ValueError(f"boxes reach outside a picture of {width} x {height}; they must be in its pixels")
    told = np.zeros((len(features), 0)) if probs is None else probs
    if told.shape[0] != len(features):
        raise ValueError(f"{len(told)} class_probs of {len(features)} regions")
    return features.astype(np.float32), shares.astype(np.float32), told.astype(np.float32)


def _name(picture: Any) -> str:
    name = picture if isinstance(picture, str | PathLike) else getattr(picture, "filename", "")
    if not name:
        raise UsageError(
            "regions of a file are found by the picture's file name, and this picture has none; give its path"
        )
    return PurePosixPath(fspath(name).replace("\\", "/")).as_posix()
