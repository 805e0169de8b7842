r"""CCA-ITQ: Iterative Quantization: A Procrustean Approach to Learning Binary Codes (Gong et al., 2013).

Paper: IEEE TPAMI 35(12), doi 10.1109/TPAMI.2012.193
Code: none
Tables: ours
Inputs: image features, text features
Learns from: pairs
Structure: apart
Representation: binary

Both sides are projected by CCA and rotated by one orthogonal matrix R, found by alternating B = sign(V R) and
the orthogonal Procrustes solution for R, so that the signs lose as little as possible.

Equations:
- the error of the signs (eq. 2): \min_{B, R} \lVert B - V R \rVert_F^2 \quad \text{with} \quad
    B \in \{-1, 1\}^{2n \times c}, \quad R R^\top = I
- the codes, with the rotation fixed: B = \operatorname{sign}(V R)
- the rotation, with the codes fixed: R = P Q^\top \quad \text{where} \quad V^\top B = P \Omega Q^\top
- the rows, images above texts: V = \begin{pmatrix} X W_x \\ Y W_y \end{pmatrix}
where $W_x$ and $W_y$ are the projections of CCA onto $k$ directions, and $P \Omega Q^\top$ is a singular
value decomposition.

Differs from the paper: the second view of its CCA is the other modality instead of the labels. There may be
more bits than directions: the most correlated few, chosen with the ridge on validation data, are better than
as many as bits. R then has orthonormal rows instead of columns, V R keeps its length, and the same two steps
minimise the same error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from diptych.data.base import Split
from diptych.nets.affine import Affine, correlated, paired
from diptych.training.learner import Learner
from diptych.training.trainer import Trainer

__all__ = ["CCAITQ"]

VARIANTS: dict[str, dict[str, Any]] = {"paper": {}, "tiny": {"bits": 16}}
RECIPES: dict[str, dict[str, Any]] = {}


@dataclass(kw_only=True, eq=False)
class CCAITQ(Learner):
    """Iterative quantisation in the space of CCA.

    Args:
        image_dim: Dimensions of the image features.
        text_dim: Dimensions of the text features.
        bits: Code length.
        dim: Directions of CCA that are kept; never more than bits or than there are, see
            `diptych.nets.affine.directions`.
        ridge: See `diptych.nets.affine.correlated`.
        iterations: Alternations; 50 in the paper.
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
    iterations: int = 50

    image_net: Affine = field(init=False, repr=False)
    text_net: Affine = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.image_net, self.text_net = Affine(self.image_dim, self.bits), Affine(self.text_dim, self.bits)

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """CCA, then the rotation."""
        trainer = self.begin(split, trainer)
        for _ in trainer.epochs(1, keep=(self.image_net, self.text_net)):
            nets = (self.image_net, self.text_net)
            first, second = correlated(*nets, split, ridge=self.ridge, dim=min(self.dim, self.bits))
            rows = [
                net.standardise(side) @ weight
                for net, side, weight in zip(nets, paired(split), (first, second), strict=True)
            ]
            rotation = self._rotation(torch.cat(rows), trainer)
            self.image_net.weight.copy_(first @ rotation)
            self.text_net.weight.copy_(second @ rotation)
        return self

    def _rotation(self, rows: Tensor, trainer: Trainer) -> Tensor:
        """Eq. 2 and 3, from a random start."""
        start = torch.randn(self.bits, self.bits, generator=trainer.generator).double()
        rotation: Tensor = torch.linalg.qr(start)[0][: rows.shape[1]]
        for _ in range(self.iterations):
            left, _, right = torch.linalg.svd(rows.T @ torch.sign(rows @ rotation), full_matrices=False)
            rotation = left @ right
        return rotation
