"""Random: fixed random projections of both sides, which know nothing of each other.

Paper: none; this is chance
Code: none
Tables: ours
Inputs: image features, text features
Learns from: nothing
Structure: apart
Representation: real-valued

What any system must exceed. Each side is projected by its own random matrix, so which pictures a text finds
depends on the features of both and on no relation between them.

Differs from the paper: there is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from diptych.data.base import Split
from diptych.nets.affine import Affine, paired
from diptych.training.learner import Learner
from diptych.training.trainer import Trainer

__all__ = ["Random"]

VARIANTS: dict[str, dict[str, Any]] = {"paper": {}, "tiny": {"dim": 8}}
RECIPES: dict[str, dict[str, Any]] = {}


@dataclass(kw_only=True, eq=False)
class Random(Learner):
    """Chance.

    Args:
        image_dim: Dimensions of the image features.
        text_dim: Dimensions of the text features.
        dim: Dimensions of the common space.
    """

    solved = True

    image_dim: int = 128
    text_dim: int = 10
    dim: int = 64

    image_net: Affine = field(init=False, repr=False)
    text_net: Affine = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.image_net = Affine(self.image_dim, self.dim)
        self.text_net = Affine(self.text_dim, self.dim)

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """Only means and deviations are taken from the data."""
        trainer = self.begin(split, trainer)
        for _ in trainer.epochs(1, keep=(self.image_net, self.text_net)):
            for net, rows in zip((self.image_net, self.text_net), paired(split), strict=True):
                net.standardise(rows)
        return self
