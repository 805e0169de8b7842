r"""SM: A New Approach to Cross-Modal Multimedia Retrieval (Rasiwasia et al., ACM MM 2010).

Paper: doi 10.1145/1873951.1873987, section 4.2 (semantic matching)
Code: none
Tables: ours
Inputs: image features, text features, labels
Learns from: labels
Structure: apart
Representation: real-valued

A multinomial logistic regression a side; items are compared by the normalised correlation of their class
probabilities, which is the cosine after 1 / C is subtracted.

Equations:
- the objective of a side: \min_{W, b} \frac12 \lVert W \rVert_F^2 - C \sum_i \sum_k t_{ik} \log p_k(x_i)
- probabilities of classes: p(x) = \operatorname{softmax}(W^\top x + b)
- the target: t_{ik} = \frac{y_{ik}}{\sum_l y_{il}}
- the score: s(x, y) = \cos\left( p(x) - \frac1K, \; q(y) - \frac1K \right)
where $x$ is z-scored, $y_{ik}$ is 1 if item $i$ has the label $k$ of $K$, $C$ is `inverse_penalty`, and $q$
is the classifier of the other side.

Differs from the paper: several labels of one item share its probability evenly. C is chosen on validation
data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from diptych.data.base import Split
from diptych.nets.affine import Affine, paired
from diptych.nets.pairwise import pair_labels
from diptych.training.learner import Learner
from diptych.training.trainer import Trainer

__all__ = ["SM"]

VARIANTS: dict[str, dict[str, Any]] = {"paper": {}, "tiny": {}}
RECIPES: dict[str, dict[str, Any]] = {}


@dataclass(kw_only=True, eq=False)
class SM(Learner):
    """Semantic matching.

    Args:
        image_dim: Dimensions of the image features.
        text_dim: Dimensions of the text features.
        classes: Label columns, which are the dimensions of the common space.
        inverse_penalty: C of ``C * sum of losses + |W|^2 / 2``.
        centred: False compares by the plain cosine.
        iterations: Of L-BFGS, at most.
    """

    solved = True
    choices: ClassVar[Mapping[str, Sequence[Any]]] = {"inverse_penalty": (0.01, 0.1, 1.0)}

    image_dim: int = 128
    text_dim: int = 10
    classes: int = 10
    inverse_penalty: float = 0.01
    centred: bool = True
    iterations: int = 100

    image_net: _Classifier = field(init=False, repr=False)
    text_net: _Classifier = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.image_net = _Classifier(self.image_dim, self.classes, 1 / self.classes if self.centred else 0.0)
        self.text_net = _Classifier(self.text_dim, self.classes, 1 / self.classes if self.centred else 0.0)

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """One convex problem a side."""
        trainer = self.begin(split, trainer)
        for _ in trainer.epochs(1, keep=(self.image_net, self.text_net)):
            labels = pair_labels(split, torch.device("cpu")).double()
            target = labels / labels.sum(dim=1, keepdim=True).clamp(min=1)
            for net, rows in zip((self.image_net, self.text_net), paired(split), strict=True):
                weight, bias = self._solved(net.linear.standardise(rows), target)
                net.linear.weight.copy_(weight)
                net.bias.copy_(bias)
        return self

    def _solved(self, rows: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        weight = torch.zeros(rows.shape[1], target.shape[1], dtype=torch.float64, requires_grad=True)
        bias = torch.zeros(target.shape[1], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [weight, bias], max_iter=self.iterations, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            optimizer.zero_grad()
            log_likelihood = (target * (rows @ weight + bias).log_softmax(dim=1)).sum()
            value = 0.5 * weight.square().sum() - self.inverse_penalty * log_likelihood
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        return weight.detach(), bias.detach()


class _Classifier(nn.Module):
    """Probabilities of classes (b, C), less a constant."""

    bias: Tensor

    def __init__(self, inputs: int, classes: int, centre: float) -> None:
        super().__init__()
        self.linear, self.centre = Affine(inputs, classes), centre
        self.register_buffer("bias", torch.zeros(classes))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x) + self.bias
        return logits.softmax(dim=1) - self.centre
