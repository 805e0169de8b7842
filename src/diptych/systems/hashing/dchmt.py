r"""DCHMT: Differentiable Cross-modal Hashing via Multimodal Transformers (Tu et al., ACM MM 2022).

Paper: doi 10.1145/3503161.3548187
Code: kalenforn/DCHMT@79bd5e6 (model/hash_model.py, train/hash_train.py)
Tables: survey Table 1; no row in Table 3
Inputs: image and text features of a dual tower, multi-hot labels; or, as in the paper, pictures and texts
  themselves, with CLIP ViT-B/32 fine-tuned (dchmt:clip)
Learns from: labels
Structure: apart
Representation: binary
Survey: Table 1: location information, and gradient descent in place of a discrete problem that is NP-hard,
    by a "micro-hashing module". No numbers.

Each bit is a choice between two values of a softmax, so that codes are learned by gradient descent without
relaxing a sign; distances between the choices are drawn to 0 for similar pairs and beyond a margin for
others.

`dchmt:clip` trains both towers of a CLIP checkpoint (`clip=FOLDER`, or a repository of the hub) at a
small rate of their own, from pixels and the first 32 word pieces.

Equations:
- the objective, over three pairs of sides: \mathcal{L} = \sum_{(p, q) \in \{(x, y), (x, x), (y, y)\}}
    \frac{1}{b^2} \sum_{ij} \left( S_{ij} d_{ij}^2 + (1 - S_{ij}) \max(0, m - d_{ij})^2 \right)
- distance of two selections: d_{ij} = \lVert p_i - q_j \rVert_2
- margin: m = \sqrt{2 c \vartheta}
- a selection, of each bit k: (x_{i,2k-1}, x_{i,2k}) = \operatorname{softmax}(z_{i,2k-1}, z_{i,2k})
- the bit: h_{ik} = \begin{cases} 1 & \text{if } x_{i,2k} > x_{i,2k-1} \\ -1 & \text{else} \end{cases}
where $x_i$ and $y_i$ ($2c$ numbers each) are the selections of image and text, $z$ the outputs of the last
layer and $S_{ij}$ is 1 if $i$ and $j$ share a label, else 0.

Differs from the paper:
- In the other variants the towers are frozen: their features are given.
- Both terms are squared, as the authors' erratum says; the published figure prints another form.
- The bits' layers are one layer, whose gradient is clipped as one; the authors' code clips each bit's. That
  takes five times as long and changed MAP on `planted:syn` by .00 to .02 at the rate 1e-3 (16 bits .583/.562
  and .582/.543 for two seeds, clipped bit by bit .591/.569 and .596/.560), by less than .01 at 3e-3.
- Pictures are scaled to cover the square and cut in the middle, for training and search alike; the authors'
  code squashes those that it tests with. Each caption is a text of its own where that code draws one of an
  image's at each access.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core import Floats
from diptych.data.base import Split
from diptych.nets.clip_towers import rates
from diptych.nets.fronts import FromClip
from diptych.nets.optimizers import BertAdam
from diptych.nets.pairwise import share_a_label
from diptych.training.learner import Learner
from diptych.training.trainer import Batch

__all__ = ["DCHMT"]

VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "tiny": {"bits": 16, "epochs": 60, "batch_size": 64, "lr": 3e-2},
    "clip": {"clip": "openai/clip-vit-base-patch32"},
}
FEATURES: dict[str, str] = {"clip": "image=pixels,text=tokens:32@{clip}"}
RECIPES: dict[str, dict[str, Any]] = {"syn": {"epochs": 40, "batch_size": 64, "lr": 1e-2}}


@dataclass(kw_only=True, eq=False)
class DCHMT(FromClip, Learner):
    """Differentiable hashing by selection.

    Args:
        image_dim: Dimensions of the image features.
        text_dim: Dimensions of the text features.
        classes: Label columns.
        bits: Code length c.
        hidden: Units before the selections.
        differing: vartheta, the share of bits in which dissimilar items should differ.
        tower_lr: Learning rate of the towers of `clip`.
        clip: Folder or hub repository of a CLIP checkpoint whose towers are trained, on pixels and word
            pieces; "" reads features.
        clip_config: Its configuration, which fills itself in.
    """

    similarity = "hamming"

    image_dim: int = 512
    text_dim: int = 512
    classes: int = 24
    bits: int = 32
    hidden: int = 128
    differing: float = 0.75
    epochs: int = 100
    batch_size: int = 128
    lr: float = 1e-3
    tower_lr: float = 1e-5

    def __post_init__(self) -> None:
        towers = self.clip_front()
        if towers is not None:
            self.image_dim = self.text_dim = towers.dim
        self.image_net = _Selections(self.image_dim, self.hidden, self.bits)
        self.text_net = _Selections(self.text_dim, self.hidden, self.bits)
        if towers is not None:
            self.image_net = nn.Sequential(towers.image, self.image_net)
            self.text_net = nn.Sequential(towers.text, self.text_net)
        self.total_steps = 1

    def study(self, split: Split) -> None:
        """Count the steps, which the optimiser's schedule needs."""
        self.total_steps = self.epochs * ceil(len(split.pairs) / self.batch_size)

    def optimizer(self) -> torch.optim.Optimizer:
        """BertAdam over both heads, and over the towers at their own rate."""
        groups = rates(self.image_net, self.text_net, tower_lr=self.tower_lr)
        return BertAdam(groups, self.lr, total=self.total_steps)

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """Similar and dissimilar distances, between the modalities and within each."""
        return self.terms(self.image_net(batch.image), self.text_net(batch.text), batch.label)

    def terms(self, image: Tensor, text: Tensor, label: Tensor) -> dict[str, Tensor]:
        """The objective of selections: image and text (b, c, 2), label (b, C)."""
        similar = share_a_label(label, label)
        margin = (2 * self.bits * self.differing) ** 0.5
        terms: dict[str, Tensor] = {}
        for name, first, second in (("cross", image, text), ("image", image, image), ("text", text, text)):
            distance = torch.cdist(first.flatten(1), second.flatten(1))
            terms[f"{name}_similar"] = (similar * distance).square().mean()
            short = margin - ((1 - similar) * distance).clamp(max=margin)
            terms[f"{name}_dissimilar"] = ((1 - similar) * short).square().mean()
        return terms

    def as_vectors(self, outputs: Floats) -> Floats:
        """Codes (n, c) of selections (n, c, 2): +1 where the second value wins."""
        if outputs.ndim == 2:
            return outputs
        return np.where(outputs[..., 1] > outputs[..., 0], np.float32(1), np.float32(-1))


class _Selections(nn.Module):
    """Features (b, d) to two probabilities a bit (b, c, 2)."""

    def __init__(self, inputs: int, hidden: int, bits: int) -> None:
        super().__init__()
        self.hidden, self.choice = nn.Linear(inputs, hidden), nn.Linear(hidden, 2 * bits)
        nn.init.kaiming_uniform_(self.hidden.weight, mode="fan_out", nonlinearity="relu")
        # Each bit is a layer of two outputs of its own, so that the spread does not depend on their number.
        for bit in self.choice.weight.detach().view(bits, 2, hidden):
            nn.init.kaiming_uniform_(bit, mode="fan_out", nonlinearity="relu")
        for layer in (self.hidden, self.choice):
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        choices: Tensor = self.choice(self.hidden(features).relu()).unflatten(1, (-1, 2))
        return choices.softmax(dim=2)
