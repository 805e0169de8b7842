r"""DSCMR: Deep Supervised Cross-Modal Retrieval (Zhen, Hu, Wang, Peng, CVPR 2019).

Paper: CVPR 2019, pages 10394-10403
Code: penghu-cs/DSCMR@0e110b9
Tables: 2
Inputs: image features and text features, such as VGG-19 fc7 (4096) and a sentence CNN (300)
Learns from: labels
Structure: apart
Representation: real-valued
Survey: Table 1: shared weights and a loss that makes modalities alike; weaknesses: may vary across
    modalities, needs many labels. The text says a ranking loss, which it does not have.

Two shallow networks end in one shared layer. They learn to predict labels linearly from the common space
(J1), to make the cosine of two items, across and within the sides, agree with whether they share a class
(J2), and to pull the two sides of a pair together (J3).

Equations:
- the objective (eq. 1): J = J_1 + \lambda J_2 + \eta J_3
- labels, predicted from the common space (eq. 2): J_1 = \frac1n \sum_i \left(
    \lVert W u_i + b - y_i \rVert + \lVert W v_i + b - y_i \rVert \right)
- cosines agree with classes (eq. 3): J_2 = \sum_{(p, q)} \frac{1}{n^2} \sum_{ij} \left(
    \log(1 + e^{\Gamma_{ij}}) - S_{ij} \Gamma_{ij} \right), \quad \Gamma_{ij} = \frac12 \cos(p_i, q_j)
- both sides of a pair: J_3 = \frac1n \sum_i \lVert u_i - v_i \rVert
where $u_i$ and $v_i$ are vectors of image and text, $y_i$ labels, $S_{ij}$ is 1 if $i$ and $j$ share a class,
else 0, and $(p, q)$ is $(u, v)$, $(u, u)$ and $(v, v)$.

Differs from the paper:
- The order of pairs is shuffled; the code keeps it, which leaves its batches in the order of the file.
- The epoch is chosen on validation data; the code chooses it on the test set.
- With several labels, sharing one is enough to be similar; the code's inner product could exceed 1.
- `image_scaling` and `text_scaling` are ours; "none" is the code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core import Floats
from diptych.data.base import Split
from diptych.errors import BadParameter
from diptych.nets.pairwise import share_a_label
from diptych.nets.scaling import Scaling, fit_scaling
from diptych.training.learner import Learner
from diptych.training.trainer import Batch

__all__ = ["DSCMR"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "tiny": {
        "image_dim": 32,
        "text_dim": 24,
        "classes": 5,
        "hidden_dim": 64,
        "dim": 32,
        "epochs": 12,
        "batch_size": 50,
        "lr": 2e-3,
        "image_scaling": "standard",
        "text_scaling": "standard",
    },
}

RECIPES: Mapping[str, Mapping[str, Any]] = {
    # Standardising principal components costs .02 MAP, and after some 60 epochs it over-fits.
    "wikipedia": {"image_scaling": "global", "text_scaling": "standard", "epochs": 100},
}


@dataclass(kw_only=True, eq=False)
class DSCMR(Learner):
    """DSCMR.

    Args:
        image_dim, text_dim: Dimensions of the input features.
        classes: Number of classes.
        hidden_dim: Width of each side's own layer.
        dim: Dimensions of the common space.
        pairwise_weight: lambda, the weight of J2.
        invariance_weight: eta, the weight of J3.
        space: "common" retrieves with the common space, as published; "label" with the label predictions.
        image_scaling, text_scaling: "none", "global" or "standard", see `diptych.nets.scaling`.
    """

    image_dim: int = 4096
    text_dim: int = 300
    classes: int = 20
    hidden_dim: int = 2048
    dim: int = 1024
    pairwise_weight: float = 1e-3
    invariance_weight: float = 1e-1
    space: str = "common"
    image_scaling: str = "none"
    text_scaling: str = "none"
    epochs: int = 500
    batch_size: int = 100
    lr: float = 1e-4

    def __post_init__(self) -> None:
        if self.space not in ("common", "label"):
            raise BadParameter(f"space of DSCMR must be common or label, not {self.space!r}")
        shared = nn.Linear(self.hidden_dim, self.dim)
        self.image_net = nn.Sequential(
            Scaling(self.image_dim, self.image_scaling),
            nn.Linear(self.image_dim, self.hidden_dim),
            nn.ReLU(),
            shared,
        )
        self.text_net = nn.Sequential(
            Scaling(self.text_dim, self.text_scaling),
            nn.Linear(self.text_dim, self.hidden_dim),
            nn.ReLU(),
            shared,
        )
        self.label_net = nn.Linear(self.dim, self.classes)

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """J = J1 + lambda J2 + eta J3 (paper, eq. 1)."""
        u, v = self.image_net(batch.image), self.text_net(batch.text)  # (n, dim)
        predicted = self.label_net(u), self.label_net(v)  # (n, classes)
        return {
            "J1": label_loss(*predicted, batch.label),
            "J2": self.pairwise_weight * pairwise_loss(u, v, batch.label),
            "J3": self.invariance_weight * _lengths(u - v).mean(),
        }

    def study(self, split: Split) -> None:
        """Take the statistics of the training features."""
        fit_scaling(self.image_net, self.checked_inputs(split.image, "image"))
        fit_scaling(self.text_net, self.checked_inputs(split.text, "text"))

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam with the code's betas, over all three networks."""
        return torch.optim.Adam(self.trainable(), lr=self.lr, betas=(0.5, 0.999))

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Vectors (n, dim) of image features (n, image_dim); (n, classes) in the label space."""
        return self.encoded(self._into_space(self.image_net), self.checked_inputs(images, "image"))

    def encode_text(self, texts: Sequence[Any]) -> Floats:
        """Vectors (n, dim) of text features (n, text_dim); (n, classes) in the label space."""
        return self.encoded(self._into_space(self.text_net), self.checked_inputs(texts, "text"))

    def _into_space(self, net: nn.Module) -> nn.Module:
        return net if self.space == "common" else nn.Sequential(net, self.label_net)


def label_loss(image: Tensor, text: Tensor, label: Tensor) -> Tensor:
    """J1: mean distance of the predictions (n, C) of both sides to the labels (n, C).

    The norm of each row, not its square: its gradient keeps length one down to the optimum (paper, eq. 2;
    the Frobenius norm there is a sum of row norms in the code).
    """
    return _lengths(image - label).mean() + _lengths(text - label).mean()


def pairwise_loss(u: Tensor, v: Tensor, label: Tensor) -> Tensor:
    """J2: mean of log(1 + exp(G)) - S G over G = cos / 2 across the sides and within each (paper, eq. 3).

    Args:
        u, v: (n, d), image and text.
        label: (n, C) multi-hot; S is 1 where two items share a label, an item with itself included.
    """
    u, v = functional.normalize(u), functional.normalize(v)
    similar = share_a_label(label, label)
    total = u.new_zeros(())
    for first, second in ((u, v), (u, u), (v, v)):
        agreement = first @ second.T / 2
        total = total + (functional.softplus(agreement) - similar * agreement).mean()
    return total


def _lengths(rows: Tensor) -> Tensor:
    """Euclidean length (n,) of each row (n, d); at a row of zeros its gradient is zero, not undefined."""
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return lengths
