r"""LSH: Similarity Estimation Techniques from Rounding Algorithms (Charikar, STOC 2002).

Paper: doi 10.1145/509907.509965, section 3 (random hyperplanes)
Code: none
Tables: ours
Inputs: image features, text features
Learns from: pairs
Structure: apart
Representation: binary

Random hyperplanes. As image and text features have no space in common, both sides are first projected onto it
by CCA; the bits are the sides of random hyperplanes through the mean of each modality on which a projection
lies.

Equations:
- the bits: h_k(x) = \operatorname{sign}\left( r_k^\top W_x^\top x \right), \quad r_k \sim N(0, I)
- how often two items agree in a bit: P(h_k(x) = h_k(y)) =
    1 - \frac{1}{\pi} \arccos \cos(W_x^\top x, W_y^\top y)
where $W_x$ and $W_y$ are the projections of CCA, and $x$ and $y$ are z-scored features.

Differs from the paper: the projection in front, without which no two modalities can be compared. Its ridge
and directions are chosen on validation data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch

from diptych.data.base import Split
from diptych.nets.affine import Affine, correlated
from diptych.training.learner import Learner
from diptych.training.trainer import Trainer

__all__ = ["LSH"]

VARIANTS: dict[str, dict[str, Any]] = {"paper": {}, "tiny": {"bits": 16}}
RECIPES: dict[str, dict[str, Any]] = {}


@dataclass(kw_only=True, eq=False)
class LSH(Learner):
    """Random hyperplanes in the space of CCA.

    Args:
        image_dim: Dimensions of the image features.
        text_dim: Dimensions of the text features.
        bits: Code length.
        dim: Directions of CCA that are kept, the most correlated first; never more than there are,
            see `diptych.nets.affine.directions`.
        ridge: See `diptych.nets.affine.correlated`.
    """

    similarity = "hamming"
    solved = True
    choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "ridge": (0.01, 0.1, 1.0, 10.0),
        "dim": (4, 8, 16, 32, 64, 128),
    }

    image_dim: int = 128
    text_dim: int = 10
    bits: int = 32
    dim: int = 16
    ridge: float = 1.0

    image_net: Affine = field(init=False, repr=False)
    text_net: Affine = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.image_net, self.text_net = Affine(self.image_dim, self.bits), Affine(self.text_dim, self.bits)

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """CCA, then random directions."""
        trainer = self.begin(split, trainer)
        for _ in trainer.epochs(1, keep=(self.image_net, self.text_net)):
            first, second = correlated(self.image_net, self.text_net, split, ridge=self.ridge, dim=self.dim)
            planes = torch.randn(first.shape[1], self.bits, generator=trainer.generator).double()
            self.image_net.weight.copy_(first @ planes)
            self.text_net.weight.copy_(second @ planes)
        return self
