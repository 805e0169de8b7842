r"""InfoNCE: Representation Learning with Contrastive Predictive Coding (van den Oord et al., 2018).

Paper: arXiv 1807.03748, section 2.3; both directions and a learned temperature: Radford et al., ICML 2021
Code: none
Tables: ours
Inputs: image features, text features
Learns from: pairs; the variant supervised from labels, too
Structure: apart
Representation: real-valued

A small head a side, and nothing but the contrastive loss that towers are trained with today: each item must
tell its own partner from the others of the batch. What a dedicated system must exceed on the same features.
Captions of the same image are no negatives of each other. The variant `supervised` takes all items that share
a label as partners (Khosla et al., NeurIPS 2020, arXiv 2004.11362, eq. 2).

Equations:
- the objective, both directions: \mathcal{L} = \frac12 \left( \ell(S) + \ell(S^\top) \right)
- one direction (eq. 4): \ell(S) = -\frac1b \sum_i \frac{1}{|P_i|} \sum_{p \in P_i}
    \log \frac{\exp(s_{ip})}{\sum_{j \notin O_i} \exp(s_{ij})}
- cosines over a learned temperature: s_{ij} = \frac{\cos(f(x_i), g(y_j))}{\tau}, \quad \tau \ge 0.01
where $P_i$ holds the partners of $i$ (its own alone, or with `supervised` all that share a label with it),
and $O_i$ what does not count: other captions of the same image, and other images of the same caption; it is
empty with `supervised`.

Differs from the paper: no predictive coding, the two sides are modalities; cosines over a temperature in
place of the bilinear score, of both directions, as Radford et al. have it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.data.base import Split
from diptych.errors import BadParameter
from diptych.nets.pairwise import share_a_label
from diptych.nets.scaling import Scaling, fit_scaling
from diptych.training.learner import Learner
from diptych.training.trainer import Batch

__all__ = ["InfoNCE"]

VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "supervised": {"supervised": True},
    "tiny": {"hidden_dim": 64, "dim": 32, "batch_size": 80, "epochs": 30, "lr": 3e-3},
}
RECIPES: dict[str, dict[str, Any]] = {}

# Cosines are multiplied by a hundred at most, as in CLIP's released training.
_MOST = math.log(100)


@dataclass(kw_only=True, eq=False)
class InfoNCE(Learner):
    """Contrastive heads.

    Args:
        image_dim: Dimensions of the image features.
        text_dim: Dimensions of the text features.
        hidden_dim: Width of the one hidden layer; 0 makes the heads linear.
        dim: Dimensions of the common space.
        dropout: Behind the hidden layer.
        temperature: What the learned temperature starts from.
        weight_decay: Of AdamW, on all but the temperature.
        supervised: Items that share a label are partners, too.

    Raises:
        BadParameter: a temperature that is not positive.
    """

    image_dim: int = 128
    text_dim: int = 10
    hidden_dim: int = 512
    dim: int = 128
    dropout: float = 0.1
    temperature: float = 0.07
    weight_decay: float = 1e-2
    supervised: bool = False
    epochs: int = 20
    batch_size: int = 256
    lr: float = 1e-3

    image_net: nn.Module = field(init=False, repr=False)
    text_net: nn.Module = field(init=False, repr=False)
    scale: _Scale = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise BadParameter(f"the temperature must be positive, not {self.temperature}")
        self.image_net, self.text_net = self._head(self.image_dim), self._head(self.text_dim)
        self.scale = _Scale(self.temperature)

    def _head(self, inputs: int) -> nn.Module:
        if not self.hidden_dim:
            return nn.Sequential(Scaling(inputs, "standard"), nn.Linear(inputs, self.dim))
        return nn.Sequential(
            Scaling(inputs, "standard"),
            nn.Linear(inputs, self.hidden_dim),
            nn.ReLU(),
            nn.Dropout(self.dropout),
            nn.Linear(self.hidden_dim, self.dim),
        )

    def study(self, split: Split) -> None:
        """Means and deviations of both sides."""
        fit_scaling(self.image_net, np.asarray(split.image))
        fit_scaling(self.text_net, np.asarray(split.text))

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW; a temperature does not decay."""
        heads = self.trainable("image_net", "text_net")
        groups = [
            {"params": heads, "weight_decay": self.weight_decay},
            {"params": self.trainable("scale"), "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.lr)

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """The mean of both directions."""
        u, v = (functional.normalize(net(x)) for net, x in self._sides(batch))
        logits = self.scale() * u @ v.T
        same = matching(batch.image_row) | matching(batch.text_row)
        if self.supervised:
            partner, left_out = same | (share_a_label(batch.label, batch.label) > 0), None
        else:
            partner = torch.eye(len(batch), dtype=torch.bool, device=same.device)
            left_out = same & ~partner
        there, back = (contrast(one, partner, left_out) for one in (logits, logits.T))
        return {"contrast": (there + back) / 2}

    def _sides(self, batch: Batch) -> tuple[tuple[nn.Module, Tensor], tuple[nn.Module, Tensor]]:
        return (self.image_net, batch.image), (self.text_net, batch.text)


class _Scale(nn.Module):
    """What cosines are multiplied by: one over the temperature, learned as its logarithm."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.logarithm = nn.Parameter(torch.tensor(-math.log(temperature)))

    def forward(self) -> Tensor:
        with torch.no_grad():  # in place, as a clamp on the way would stop the gradient for good
            self.logarithm.clamp_(max=_MOST)
        return self.logarithm.exp()


def matching(rows: Tensor) -> Tensor:
    """(b, b) bool: where two pairs of a batch have the same item (b,)."""
    return rows[:, None] == rows[None, :]


def contrast(logits: Tensor, partner: Tensor, left_out: Tensor | None = None) -> Tensor:
    """InfoNCE (eq. 4) of a batch, one number; of several partners the mean (Khosla et al., eq. 2).

    Args:
        logits: (b, b), of each query with each entry.
        partner: (b, b) bool, symmetric: which entries belong to a query; at least one each.
        left_out: (b, b) bool: which are neither partners nor negatives.
    """
    if left_out is not None:
        logits = logits.masked_fill(left_out, -torch.inf)
    log_likelihood = logits.log_softmax(dim=1).masked_fill(~partner, 0.0)
    return -(log_likelihood.sum(dim=1) / partner.sum(dim=1)).mean()
