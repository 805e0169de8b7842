r"""CCA: Relations Between Two Sets of Variates (Hotelling, Biometrika 1936).

Paper: doi 10.1093/biomet/28.3-4.321; for retrieval: Rasiwasia et al., ACM MM 2010
Code: none
Tables: ours
Inputs: image features, text features
Learns from: pairs
Structure: apart
Representation: real-valued

Canonical correlation analysis: the directions in both feature spaces along which paired items correlate most.
Items are compared by the cosine of their projections.

Equations:
- what a pair of directions maximises: \max_{w, v} \; w^\top C_{xy} v \quad \text{with} \quad
    w^\top C_{xx} w = v^\top C_{yy} v = 1
- all of them, from one singular value decomposition: C_{xx}^{-1/2} C_{xy} C_{yy}^{-1/2} = U S V^\top
- the projections, of the first k columns: W_x = C_{xx}^{-1/2} U_k, \quad W_y = C_{yy}^{-1/2} V_k
- the covariances: C_{xx} = \frac{1}{n} X^\top X + \rho \bar\sigma^2 I, \quad
    C_{xy} = \frac{1}{n} X^\top Y
- the score: s(x, y) = \cos(W_x^\top x, W_y^\top y)
where the rows of $X$ and $Y$ are the z-scored features of the $n$ pairs, $\bar\sigma^2$ is the mean variance
of a side and $\rho$ is `ridge`; $C_{yy}$ is made like $C_{xx}$.

Differs from the paper: a ridge on both covariances, without which many features and few pairs correlate
perfectly. It and the number of directions are chosen on validation data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from diptych.data.base import Split
from diptych.nets.affine import Affine, correlated, directions
from diptych.training.learner import Learner
from diptych.training.trainer import Trainer

__all__ = ["CCA"]

VARIANTS: dict[str, dict[str, Any]] = {"paper": {}, "tiny": {"dim": 8}}
RECIPES: dict[str, dict[str, Any]] = {}


@dataclass(kw_only=True, eq=False)
class CCA(Learner):
    """Canonical correlation analysis.

    Args:
        image_dim: Dimensions of the image features.
        text_dim: Dimensions of the text features.
        dim: Pairs of directions; never more than there are, see `diptych.nets.affine.directions`.
        ridge: Added to the diagonal of both covariances, in units of the mean variance.
    """

    solved = True
    choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "ridge": (0.01, 0.1, 1.0, 10.0),
        "dim": (4, 8, 16, 32, 64, 128),
    }

    image_dim: int = 128
    text_dim: int = 10
    dim: int = 16
    ridge: float = 1.0

    image_net: Affine = field(init=False, repr=False)
    text_net: Affine = field(init=False, repr=False)

    def __post_init__(self) -> None:
        outputs = min(self.dim, self.image_dim, self.text_dim)
        self.image_net, self.text_net = Affine(self.image_dim, outputs), Affine(self.text_dim, outputs)

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """Two eigenvalue problems and one singular value decomposition."""
        trainer = self.begin(split, trainer)
        if self.dim > directions(split):
            self.dim = directions(split)
            self.__post_init__()
        for _ in trainer.epochs(1, keep=(self.image_net, self.text_net)):
            outputs = self.image_net.weight.shape[1]
            first, second = correlated(self.image_net, self.text_net, split, ridge=self.ridge, dim=outputs)
            self.image_net.weight.copy_(first)
            self.text_net.weight.copy_(second)
        return self
