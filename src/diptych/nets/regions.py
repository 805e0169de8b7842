"""Regions of a picture as systems with a detector read them: features, boxes, and what they show.

A picture is one row of numbers, region after region: d features, the box (x1, y1, x2, y2 as shares of width
and height), and, where a detector told them, the probabilities of its classes. A region without width is
none. The extractor `regions` makes such rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core import Floats
from diptych.errors import BadParameter, TrainingError

__all__ = ["RegionClasses", "Regions", "geometry", "region_dim", "unpacked"]


@dataclass(frozen=True)
class Regions:
    """Those of b pictures.

    Args:
        features: (b, r, d).
        boxes: (b, r, 4), x1, y1, x2, y2 as shares of the picture.
        shown: (b, r), True where there is a region.
        classes: (b, r, c) probabilities, c = 0 where nobody told them.
    """

    features: Tensor
    boxes: Tensor
    shown: Tensor
    classes: Tensor


def region_dim(image_dim: int, regions: int, classes: int = 0) -> int:
    """Features of one region in rows of `image_dim` numbers.

    Raises:
        BadParameter: the rows cannot hold so many regions.
    """
    each = image_dim // max(regions, 1)
    if regions < 1 or image_dim % regions or each <= 4 + classes:
        raise BadParameter(
            f"rows of {image_dim} numbers cannot hold {regions} regions of features, a box of 4 numbers "
            f"and {classes} classes each; set regions, and classes of a detector, to what is given",
            argument="settings",
        )
    return each - 4 - classes


def unpacked(rows: Tensor, regions: int, classes: int = 0) -> Regions:
    """The regions of rows (b, image_dim).

    Raises:
        BadParameter: see `region_dim`.
    """
    d = region_dim(rows.shape[1], regions, classes)
    each = rows.view(len(rows), regions, -1)
    features, boxes, told = each[..., :d], each[..., d : d + 4], each[..., d + 4 :]
    shown = boxes[..., 2] > boxes[..., 0]
    return Regions(features * shown[..., None], boxes, shown, told)


def geometry(boxes: Tensor, kind: Literal[5, 6, 7]) -> Tensor:
    """Boxes (..., 4) as numbers (..., kind): corners, and area (5), width and height (6), or all three (7).

    They are those of ViLBERT and Unicoder-VL, of VisualBERT's Flickr loader, and of UNITER.
    """
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    more = {5: [width * height], 6: [width, height], 7: [width, height, width * height]}[kind]
    return torch.cat([boxes, torch.stack(more, dim=-1)], dim=-1)


class RegionClasses(nn.Module):
    """What regions show: the classes that a detector told, or else groups of like features (k-means).

    Groups stand in for classes where there is no detector; they are this library's substitution.

    Args:
        dim: Features of a region.
        count: Classes, or groups.
        told: Whether a detector told them.
    """

    centres: Tensor

    def __init__(self, dim: int, count: int, *, told: bool) -> None:
        super().__init__()
        self.count, self.told = count, told
        self.register_buffer("centres", torch.zeros(0 if told else count, dim))

    def study(self, rows: Floats, regions: int, *, most: int = 100_000) -> None:
        """Find the groups, in the regions of some pictures (n, image_dim) that are spread over all.

        Raises:
            TrainingError: there are fewer regions than groups.
        """
        if self.told:
            return
        import faiss

        spread = np.linspace(0, len(rows) - 1, min(len(rows), max(most // regions, 1))).astype(np.int64)
        some = unpacked(torch.from_numpy(np.asarray(rows[np.unique(spread)], np.float32)), regions)
        points = some.features[some.shown].numpy()
        if len(points) < self.count:
            raise TrainingError(
                f"{len(points)} regions cannot be put into {self.count} groups; set region_classes to fewer"
            )
        found = faiss.Kmeans(
            points.shape[1], self.count, niter=20, seed=0, min_points_per_centroid=1, verbose=False
        )
        found.train(np.ascontiguousarray(points))
        self.centres.copy_(torch.from_numpy(found.centroids))

    def shares(self, regions: Regions, at: Tensor) -> Tensor:
        """Distributions (k, count) of the regions at (b, r) bool; of groups, the nearer the likelier."""
        if self.told:
            told = regions.classes[at]
            return told / told.sum(dim=1, keepdim=True).clamp(min=1e-12)
        distance = torch.cdist(regions.features[at], self.centres)
        return functional.softmax(-distance, dim=1)

    def numbers(self, regions: Regions, at: Tensor) -> Tensor:
        """The likeliest class (k,) int64 of the regions at (b, r) bool."""
        return self.shares(regions, at).argmax(dim=1)
