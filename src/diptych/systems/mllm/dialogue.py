r"""Dialogue: the encoder of dialogues of Chatting Makes Perfect (Levy et al., NeurIPS 2023).

Paper: arXiv 2305.20062, sections 3 and 4
Code: levymsn/ChatIR@c62600c; the training is that of its re-implementation, Saehyung-Lee/PlugIR@ce79c9f
    (finetune/train.py)
Tables: none of its own; ChatIR searches with it
Inputs: vectors of pictures and of dialogues, of one dual tower or of any two extractors
Learns from: pairs
Structure: apart
Representation: real-valued
Survey: contrastive training, 256 numbers, cosine. The code trains with a surrogate of recall, which is a
    variant here.

Pictures keep the vectors that they have, so that a collection is indexed once; only what reads the dialogue
is trained, so that a description with questions and answers lands nearer to its picture than the description
alone. It learns from dialogues of every length.

Equations:
- the objective, both directions: \mathcal{L} = -\frac{1}{2b} \sum_i \left(
    \log \frac{\exp(s_{ii} / \tau)}{\sum_{j \notin O_i} \exp(s_{ij} / \tau)}
    + \log \frac{\exp(s_{ii} / \tau)}{\sum_{j \notin O_i} \exp(s_{ji} / \tau)} \right)
- cosines of dialogues and pictures: s_{ij} = \cos(A z_i + h(z_i), x_j)
- or, a surrogate of recall (in the code): \mathcal{L} = \frac{1}{5b} \sum_i \sum_{k \in \{1, 2, 4, 8, 16\}}
    \left( 1 - \sigma(k - r_i) \right)
- soft ranks: r_i = 1 + \sum_{j \ne i, \, j \notin O_i} \sigma\left( \frac{s_{ij} - s_{ii}}{\tau} \right)
where $z_i$ is the vector of a dialogue, $h$ has one hidden layer, $x_j$ is a picture's vector, and $O_i$ are
other dialogues about the same picture.

Differs from the paper: BLIP's text encoder is a head over the vectors of a text tower; where both sides
have one width the head begins as the tower itself. Dialogues are drawn by whoever makes the training texts
(`dialogues_of`), with the paper's share of hidden descriptions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.errors import BadParameter
from diptych.training.learner import Learner
from diptych.training.trainer import Batch

__all__ = ["Dialogue"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "recall": {"loss": "recall"},
    "tiny": {"hidden_dim": 64, "batch_size": 80, "epochs": 40, "lr": 3e-3},
}
RECIPES: Mapping[str, Mapping[str, Any]] = {}

_DEPTHS = (1, 2, 4, 8, 16)


@dataclass(kw_only=True, eq=False)
class Dialogue(Learner):
    """A head over vectors of dialogues, beside pictures that stay as they are.

    Args:
        image_dim: Dimensions of the pictures' vectors, and of the common space.
        text_dim: Dimensions of the dialogues' vectors.
        hidden_dim: Width of the head's hidden layer.
        loss: "contrastive" (as the survey and section 3 have it) or "recall" (as the code has it).
        temperature: Of the contrastive loss, and of the soft ranks of the other.

    Raises:
        BadParameter: there is no such loss, or a temperature that is not positive.
    """

    image_dim: int = 256
    text_dim: int = 256
    hidden_dim: int = 512
    loss: str = "contrastive"
    temperature: float = 0.05
    epochs: int = 36
    batch_size: int = 512
    lr: float = 1e-3

    image_net: nn.Module = field(init=False, repr=False)
    text_net: nn.Module = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.loss not in ("contrastive", "recall"):
            raise BadParameter(f"dialogues are trained by contrastive or recall, not by {self.loss!r}")
        if self.temperature <= 0:
            raise BadParameter(f"the temperature must be positive, not {self.temperature}")
        self.image_net = nn.Identity()
        self.text_net = _Head(self.text_dim, self.hidden_dim, self.image_dim)

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW over the head."""
        return torch.optim.AdamW(self.trainable("text_net"), lr=self.lr, weight_decay=0.01)

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of a batch; dialogues about one picture are no negatives of each other."""
        text = functional.normalize(self.text_net(batch.text))
        image = functional.normalize(batch.image)
        cosines = text @ image.T
        same = batch.image_row[:, None] == batch.image_row[None, :]
        left_out = same & ~torch.eye(len(batch), dtype=torch.bool, device=same.device)
        if self.loss == "recall":
            return {"recall": recall_surrogate(cosines, left_out, self.temperature)}
        logits = (cosines / self.temperature).masked_fill(left_out, -torch.inf)
        truth = torch.arange(len(batch), device=same.device)
        there, back = (functional.cross_entropy(one, truth) for one in (logits, logits.T))
        return {"contrastive": (there + back) / 2}


class _Head(nn.Module):
    """(b, text_dim) to (b, image_dim): a hidden layer beside a linear map that begins as the identity."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.straight = nn.Linear(inputs, outputs, bias=False)
        self.bent = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
        if inputs == outputs:
            nn.init.eye_(self.straight.weight)
            last = self.bent[2]
            assert isinstance(last, nn.Linear)
            nn.init.normal_(last.weight, std=1e-3 / math.sqrt(hidden))
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.straight(x) + self.bent(x)
        return found


def recall_surrogate(cosines: Tensor, left_out: Tensor, temperature: float = 0.01) -> Tensor:
    """One minus a smooth recall at 1, 2, 4, 8 and 16, as a mean over depths and queries.

    With ``rank = 1 + sum_j sigma((s_j - s+) / temperature)`` over all other entries j, each depth k adds
    ``1 - sigma(k - rank)`` (Saehyung-Lee/PlugIR@ce79c9f: finetune/train.py).

    Args:
        cosines: (b, b), each query's own entry on the diagonal.
        left_out: (b, b) bool: entries that are not counted.
        temperature: Of the soft comparison.
    """
    own = cosines.diagonal()[:, None]
    ahead = torch.sigmoid((cosines - own) / temperature)
    others = ~left_out & ~torch.eye(len(cosines), dtype=torch.bool, device=cosines.device)
    rank = 1 + (ahead * others).sum(dim=1)
    depths = torch.tensor(_DEPTHS, dtype=cosines.dtype, device=cosines.device)
    return (1 - torch.sigmoid(depths[None, :] - rank[:, None])).mean()


def dialogues_of(
    texts: Sequence[Sequence[str]], each: int, *, hidden: float = 0.2, separator: str = ", ", seed: int = 0
) -> tuple[list[str], list[int]]:
    """Dialogues to learn from, made of several texts a picture.

    Args:
        texts: Of each picture: descriptions, or a description and answered questions.
        each: Dialogues a picture, of random length; the first text leads.
        hidden: Share of those with further texts in which the first is left out.
        separator: Between texts; that of the dialogues which are searched.
        seed: Draws them.

    Returns:
        The dialogues, and which picture each is about.
    """
    random = np.random.default_rng(seed)
    found, rows = [], []
    for row, own in enumerate(texts):
        for _ in range(each):
            order = random.permutation(len(own))
            rounds = int(random.integers(0, len(own)))
            parts = [own[at] for at in order[: rounds + 1]]
            if rounds and random.random() < hidden:
                parts = parts[1:]
            found.append(separator.join(parts))
            rows.append(row)
    return found, rows
