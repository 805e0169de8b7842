r"""Ridge: Ridge Regression: Biased Estimation for Nonorthogonal Problems (Hoerl, Kennard, 1970).

Paper: Technometrics 12(1), doi 10.1080/00401706.1970.10488634
Code: none
Tables: ours
Inputs: image features, text features, labels
Learns from: labels
Structure: apart
Representation: real-valued

Each side is regressed on the centred labels, and items are compared by the cosine of their scores. It takes
seconds and is hard to beat on small data.

Equations:
- the objective of a side: \min_W \lVert A W - (Y - \bar Y) \rVert_F^2 + \lambda n \lVert W \rVert_F^2
- its solution: W = (A^\top A + \lambda n I)^{-1} A^\top (Y - \bar Y)
- the score: s(x, y) = \cos(W_x^\top x, W_y^\top y)
where the rows of $A$ are the z-scored features of the $n$ pairs, those of $Y$ their labels and those of
$\bar Y$ the mean of these.

Differs from the paper: nothing; its use as a common space is semantic matching with another classifier.
Lambda is chosen on validation data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch

from diptych.data.base import Split
from diptych.nets.affine import Affine, paired
from diptych.nets.pairwise import pair_labels
from diptych.training.learner import Learner
from diptych.training.trainer import Trainer

__all__ = ["Ridge"]

VARIANTS: dict[str, dict[str, Any]] = {"paper": {}, "tiny": {}}
RECIPES: dict[str, dict[str, Any]] = {}


@dataclass(kw_only=True, eq=False)
class Ridge(Learner):
    """Ridge regression to labels.

    Args:
        image_dim: Dimensions of the image features.
        text_dim: Dimensions of the text features.
        classes: Label columns, which are the dimensions of the common space.
        penalty: lambda.
    """

    solved = True
    choices: ClassVar[Mapping[str, Sequence[Any]]] = {"penalty": (0.01, 0.1, 1.0, 10.0)}

    image_dim: int = 128
    text_dim: int = 10
    classes: int = 10
    penalty: float = 0.1

    image_net: Affine = field(init=False, repr=False)
    text_net: Affine = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.image_net = Affine(self.image_dim, self.classes)
        self.text_net = Affine(self.text_dim, self.classes)

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """One linear system a side."""
        trainer = self.begin(split, trainer)
        for _ in trainer.epochs(1, keep=(self.image_net, self.text_net)):
            labels = pair_labels(split, torch.device("cpu")).double()
            target = labels - labels.mean(dim=0)
            for net, rows in zip((self.image_net, self.text_net), paired(split), strict=True):
                a = net.standardise(rows)
                gram = a.T @ a + self.penalty * len(a) * torch.eye(a.shape[1]).double()
                net.weight.copy_(torch.linalg.solve(gram, a.T @ target))
        return self
