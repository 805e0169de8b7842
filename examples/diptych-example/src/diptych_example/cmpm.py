r"""CMPM: Deep Cross-Modal Projection Learning for Image-Text Matching (Zhang, Lu, ECCV 2018).

Paper: ECCV 2018, pages 686-701
Code: none
Inputs: image features and text features
Learns from: labels
Structure: apart
Representation: real-valued

Both sides are mapped to a common space. Of a batch, the scalar projections of an image on all texts, whose
lengths are one, become probabilities by a softmax; these must fit the shares of the texts that belong to the
image, as the divergence of Kullback and Leibler measures it; and the same for each text over images.

Equations:
- the objective, both directions (eq. 5): L = L_{i2t} + L_{t2i}
- divergence of probabilities from shares (eq. 3): L_{i2t} = \frac1n \sum_{ij} p_{ij}
    \log \frac{p_{ij}}{q_{ij} + \epsilon}
- probabilities, from projections of a batch (eq. 1): p_{ij} =
    \frac{\exp(x_i^\top \bar z_j)}{\sum_k \exp(x_i^\top \bar z_k)}
- shares of what belongs together (eq. 2): q_{ij} = \frac{y_{ij}}{\sum_k y_{ik}}
where $\bar z_j$ is the text $z_j$ at unit length, and $y_{ij}$ is 1 if image i and text j share a label;
$L_{t2i}$ has both sides exchanged.

Differs from the paper:
- The networks on pixels and words are left to the features; one hidden layer on each side remains.
- The classification loss that the paper adds (CMPC) is left out, so that the file shows one idea.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.training.learner import Learner
from diptych.training.trainer import Batch

__all__ = ["CMPM"]

VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "tiny": {"hidden_dim": 32, "dim": 16, "epochs": 40, "lr": 1e-2},
}
RECIPES: dict[str, dict[str, Any]] = {}


@dataclass(kw_only=True, eq=False)
class CMPM(Learner):
    """Cross-modal projection matching.

    Args:
        image_dim: Dimensions of the image features.
        text_dim: Dimensions of the text features.
        hidden_dim: Width of the hidden layers.
        dim: Dimensions of the common space.
    """

    similarity = "cosine"

    epochs: int = 100
    batch_size: int = 64
    lr: float = 2e-4
    image_dim: int = 512
    text_dim: int = 512
    hidden_dim: int = 1024
    dim: int = 512

    image_net: nn.Module = field(init=False, repr=False)
    text_net: nn.Module = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.image_net, self.text_net = (
            nn.Sequential(nn.Linear(dim, self.hidden_dim), nn.ReLU(), nn.Linear(self.hidden_dim, self.dim))
            for dim in (self.image_dim, self.text_dim)
        )

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """L = L_i2t + L_t2i (equation 5)."""
        image, text = self.image_net(batch.image), self.text_net(batch.text)
        same = (batch.label.float() @ batch.label.float().T > 0).float()
        return {"i2t": matching(image, text, same), "t2i": matching(text, image, same)}


def matching(x: Tensor, z: Tensor, same: Tensor, epsilon: float = 1e-8) -> Tensor:
    """Divergence of the projections' probabilities from the shares of what belongs together (eq. 1 to 3).

    Args:
        x, z: (n, d), one side and the other.
        same: (n, n), 1 where row i of `x` belongs to row j of `z`.
        epsilon: Keeps the logarithm finite.

    Returns:
        The mean over `x`, a scalar.
    """
    projections = x @ functional.normalize(z).T
    share = same / same.sum(dim=1, keepdim=True)
    log_p = torch.log_softmax(projections, dim=1)
    return (log_p.exp() * (log_p - (share + epsilon).log())).sum(dim=1).mean()
