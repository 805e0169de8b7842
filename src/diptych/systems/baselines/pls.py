r"""PLS: A Survey of Partial Least Squares Methods, with Emphasis on the Two-Block Case (Wegelin, 2000).

Paper: University of Washington technical report 371; for retrieval: Sharma, Jacobs, CVPR 2011
Code: none
Tables: ours
Inputs: image features, text features
Learns from: pairs
Structure: apart
Representation: real-valued

Partial least squares: the directions along which paired items covary most, which unlike CCA prefers
directions of much variance. Items are compared by the cosine of their projections.

Equations:
- what a pair of directions maximises: \max_{w, v} \; w^\top C_{xy} v \quad \text{with} \quad
    \lVert w \rVert = \lVert v \rVert = 1
- all of them, from one singular value decomposition: C_{xy} = \frac1n X^\top Y = U S V^\top
- the score, by the first k columns: s(x, y) = \cos(U_k^\top x, V_k^\top y)
where the rows of $X$ and $Y$ are the z-scored features of the $n$ pairs.

Differs from the paper: all directions at once from one singular value decomposition (PLS-SVD), without the
deflation of the iterative form. Their number is chosen on validation data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch

from diptych.data.base import Split
from diptych.nets.affine import Affine, directions, paired
from diptych.training.learner import Learner
from diptych.training.trainer import Trainer

__all__ = ["PLS"]

VARIANTS: dict[str, dict[str, Any]] = {"paper": {}, "tiny": {"dim": 8}}
RECIPES: dict[str, dict[str, Any]] = {}


@dataclass(kw_only=True, eq=False)
class PLS(Learner):
    """Partial least squares by singular value decomposition.

    Args:
        image_dim: Dimensions of the image features.
        text_dim: Dimensions of the text features.
        dim: Pairs of directions; never more than there are, see `diptych.nets.affine.directions`.
    """

    solved = True
    choices: ClassVar[Mapping[str, Sequence[Any]]] = {"dim": (4, 8, 16, 32, 64, 128, 256)}

    image_dim: int = 128
    text_dim: int = 10
    dim: int = 64

    image_net: Affine = field(init=False, repr=False)
    text_net: Affine = field(init=False, repr=False)

    def __post_init__(self) -> None:
        outputs = min(self.dim, self.image_dim, self.text_dim)
        self.image_net, self.text_net = Affine(self.image_dim, outputs), Affine(self.text_dim, outputs)

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """One singular value decomposition."""
        trainer = self.begin(split, trainer)
        if self.dim > directions(split):
            self.dim = directions(split)
            self.__post_init__()
        for _ in trainer.epochs(1, keep=(self.image_net, self.text_net)):
            image, text = paired(split)
            x, y = self.image_net.standardise(image), self.text_net.standardise(text)
            left, _, right = torch.linalg.svd(x.T @ y / len(x), full_matrices=False)
            outputs = self.image_net.weight.shape[1]
            self.image_net.weight.copy_(left[:, :outputs])
            self.text_net.weight.copy_(right.T[:, :outputs])
        return self
