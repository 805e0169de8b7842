r"""AGCN: Adversarial Graph Convolutional Network for Cross-Modal Retrieval (Dong, Liu, Zhu, Nie, Zhang, IEEE TCSVT 2022).

Paper: IEEE TCSVT 32(3), pages 1634-1645; only its abstract could be read
Code: none was published
Tables: 2
Inputs: image features and text features, such as VGG-19 fc7 (4096) and a sentence CNN (300)
Learns from: labels
Structure: apart
Representation: real-valued
Survey: only in Table 2, neither described nor in Table 1.

An item and its nearest neighbours in the training set form a star-shaped graph; a graph convolution over it and
a linear layer make the item's common vector. A discriminator tells the sides apart, the generators prevent it.

Equations:
- what generators and label head minimise: \mathcal{L}_G = \mathcal{L}_{\mathrm{cls}}
    + \lambda_1 \mathcal{L}_{\mathrm{dist}}
    - \frac{\lambda_2}{n} \sum_i \left( \log(1 - D(u_i)) + \log D(v_i) \right)
- what the discriminator minimises: \mathcal{L}_D = -\frac1n \sum_i \left(
    \log D(u_i) + \log(1 - D(v_i)) \right)
- distances across the sides: \mathcal{L}_{\mathrm{dist}} = \frac{1}{|P|} \sum_{(i, j) \in P} d_{ij}
    + \frac{1}{|N|} \sum_{(i, j) \in N} \max(0, 1 - d_{ij}), \quad d_{ij} = \lVert u_i - v_j \rVert
- labels, predicted from both: \mathcal{L}_{\mathrm{cls}} = -\frac1n \sum_i \sum_c y_{ic} \left(
    \log p_c(u_i) + \log p_c(v_i) \right)
- an item among its neighbours: u = \tanh(h W_3), \quad
    h = \max\left( 0, \tilde{a} \max(0, \tilde{A} X W_1) W_2 \right)
- the star of an item and k others: \tilde{A} = D^{-1/2} (A + I) D^{-1/2}
where $u_i$ and $v_i$ are vectors of images and texts, $P$ holds pairs that share a class and $N$ the others,
$y_{ic}$ are labels as shares, the rows of $X$ are an item and its neighbours, $\tilde{a}$ is the item's own
row of $\tilde{A}$, biases are left out, $\lambda_1$ is `distance_weight` and $\lambda_2$
`adversarial_weight`. All of it is our reading.

Differs from the paper:
- Beyond the abstract (local graph, graph convolution, generator against discriminator) every choice is ours:
  the star with its self-loops, five neighbours by cosine of the inputs, sizes, losses, weights and recipe.
- On the features we could try, the graph brings nothing over the same network without it (`neighbours=0`).
- The published results are not reproduced, and we know no way to them.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core import Floats
from diptych.data.base import Split
from diptych.errors import BadParameter, TrainingError, UsageError
from diptych.nets.adversary import call_fake, call_real
from diptych.nets.classes import class_loss
from diptych.nets.pairwise import share_a_label
from diptych.nets.scaling import Scaling, fit_scaling
from diptych.training.learner import Learner
from diptych.training.trainer import Batch, Trainer

__all__ = ["AGCN"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "tiny": {
        "image_dim": 32,
        "text_dim": 24,
        "classes": 5,
        "hidden_dim": 32,
        "dim": 16,
        "judge_dim": 16,
        "neighbours": 3,
        "epochs": 12,
        "batch_size": 40,
        "lr": 3e-3,
        "image_scaling": "standard",
        "text_scaling": "standard",
    },
}

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "wikipedia": {"image_scaling": "standard", "text_scaling": "standard"},
}


@dataclass(kw_only=True, eq=False)
class AGCN(Learner):
    """AGCN.

    Args:
        image_dim, text_dim: Dimensions of the input features.
        classes: Number of classes.
        hidden_dim: Width of both graph convolutions.
        dim: Dimensions of the common space.
        judge_dim: Hidden width of the discriminator.
        neighbours: k, training items around each item; 0 leaves a plain network.
        distance_weight: Weight of the distances across the sides.
        adversarial_weight: Weight of the generators' term against the discriminator.
        image_scaling, text_scaling: "none", "global" or "standard", see `diptych.nets.scaling`.
    """

    image_dim: int = 4096
    text_dim: int = 300
    classes: int = 20
    hidden_dim: int = 512
    dim: int = 200
    judge_dim: int = 50
    neighbours: int = 5
    distance_weight: float = 0.1
    adversarial_weight: float = 0.1
    image_scaling: str = "none"
    text_scaling: str = "none"
    epochs: int = 20
    batch_size: int = 100
    lr: float = 1e-4

    def __post_init__(self) -> None:
        if self.neighbours < 0:
            raise BadParameter(f"neighbours of AGCN must not be negative, but is {self.neighbours}")
        self.image_net = self._generator(self.image_dim, self.image_scaling)
        self.text_net = self._generator(self.text_dim, self.text_scaling)
        self.label_net = nn.Linear(self.dim, self.classes)
        self.judge = nn.Sequential(
            nn.Linear(self.dim, self.judge_dim), nn.ReLU(), nn.Linear(self.judge_dim, 1)
        )
        self._around: dict[str, Tensor] = {}

    def study(self, split: Split) -> None:
        """Take the statistics of the training features, and the training items as everyone's neighbours."""
        for side in ("image", "text"):
            net, features = getattr(self, f"{side}_net"), self.checked_inputs(getattr(split, side), side)
            if len(features) <= self.neighbours:
                raise TrainingError(
                    f"AGCN wants {self.neighbours} neighbours of each {side}, "
                    f"but there are {len(features)}; set neighbours lower"
                )
            fit_scaling(net, features)
            self._around[side] = net.remember(torch.from_numpy(features))

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """One step of the discriminator and one of the generators on every batch."""
        trainer = self.begin(split, trainer)
        self.study(split)
        judge = torch.optim.Adam(self.trainable("judge"), lr=self.lr, betas=(0.5, 0.999))
        generators = torch.optim.Adam(
            self.trainable("image_net", "text_net", "label_net"), lr=self.lr, betas=(0.5, 0.999)
        )
        for _ in trainer.epochs(self.epochs, keep=(*self.networks.values(), judge, generators)):
            for batch in trainer.batches(split, self.batch_size):
                trainer.step(judge, self.judge_objective(batch))
                trainer.step(generators, self.objective(batch))
        return self

    def judge_objective(self, batch: Batch) -> dict[str, Tensor]:
        """What the discriminator descends: images are real, texts fake."""
        with torch.no_grad():
            z_image, z_text = self._generated(batch)
        return {"D": call_real(self.judge(z_image)) + call_fake(self.judge(z_text))}

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """What the generators and the label head descend."""
        z_image, z_text = self._generated(batch)
        fooled = call_fake(self.judge(z_image)) + call_real(self.judge(z_text))
        return {
            "class": class_loss(self.label_net(z_image), batch.label)
            + class_loss(self.label_net(z_text), batch.label),
            "distance": self.distance_weight * distance_loss(z_image, z_text, batch.label),
            "G": self.adversarial_weight * fooled,
        }

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Vectors (n, dim) of image features (n, image_dim), with neighbours among the training images."""
        return self._encoded("image", images)

    def encode_text(self, texts: Sequence[Any]) -> Floats:
        """Vectors (n, dim) of text features (n, text_dim), with neighbours among the training texts."""
        return self._encoded("text", texts)

    def _encoded(self, side: str, values: Any) -> Floats:
        net, features = getattr(self, f"{side}_net"), self.checked_inputs(values, side)
        if self.neighbours and not len(net.pool):
            # Before training nobody has neighbours: an item then stands among copies of itself.
            around = np.repeat(features[:, None], self.neighbours, axis=1)
        else:
            around = net.pool[net.nearest(torch.from_numpy(features).to(net.pool.device))].cpu().numpy()
        return self.encoded(net, np.concatenate([features[:, None], around], axis=1))

    def _generated(self, batch: Batch) -> tuple[Tensor, Tensor]:
        made = []
        for side, inputs, rows in (
            ("image", batch.image, batch.image_row),
            ("text", batch.text, batch.text_row),
        ):
            if side not in self._around:
                raise UsageError("AGCN has no neighbours yet: call study(split) first, as fit does")
            net = getattr(self, f"{side}_net")
            around = net.pool[self._around[side].to(rows.device)[rows]]  # (b, k, d)
            made.append(net(torch.cat([inputs[:, None], around], dim=1)))
        return made[0], made[1]

    def _generator(self, dim: int, scaling: str) -> GraphGenerator:
        return GraphGenerator(dim, self.hidden_dim, self.dim, self.neighbours, scaling)


class GraphGenerator(nn.Module):
    """Two graph convolutions over an item and its neighbours, and a linear layer on the item's own row.

    Args:
        dim, hidden_dim, out_dim: Dimensions of inputs, of both convolutions, of the result.
        neighbours: k.
        scaling: See `diptych.nets.scaling`.
    """

    star: Tensor
    pool: Tensor

    def __init__(self, dim: int, hidden_dim: int, out_dim: int, neighbours: int, scaling: str) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.scaling = Scaling(dim, scaling)
        self.first, self.second = nn.Linear(dim, hidden_dim), nn.Linear(hidden_dim, hidden_dim)
        self.last = nn.Linear(hidden_dim, out_dim)
        self.register_buffer("star", star(neighbours), persistent=False)
        self.register_buffer("pool", torch.zeros(0, dim))

    def remember(self, features: Tensor) -> Tensor:
        """Keep the training features (n, dim); returns each one's neighbours (n, k), not itself."""
        self.pool = features.clone().to(self.last.weight.device)
        return self.nearest(self.pool, among_themselves=True)

    def nearest(self, features: Tensor, *, among_themselves: bool = False) -> Tensor:
        """Rows (n, k) of the pool with the largest cosine with each of the features (n, dim)."""
        pool = functional.normalize(self.scaling(self.pool))
        found = []
        for start in range(0, len(features), 1024):
            part = features[start : start + 1024]
            cosine = functional.normalize(self.scaling(part)) @ pool.T
            if among_themselves:
                own = torch.arange(start, start + len(part))
                cosine[own - start, own] = -torch.inf
            # A stable order, so that equal neighbours do not depend on how many are asked about.
            found.append(cosine.sort(dim=1, descending=True, stable=True).indices[:, : self.neighbours])
        return torch.cat(found) if found else torch.zeros(0, self.neighbours, dtype=torch.int64)

    def forward(self, x: Tensor) -> Tensor:
        """(b, 1 + k, dim), the item first, to (b, out_dim) in (-1, 1)."""
        hidden = functional.relu(self.star @ self.first(self.scaling(x)))  # (b, 1 + k, hidden)
        hidden = functional.relu(self.star[0] @ self.second(hidden))  # (b, hidden): the item's own row
        return torch.tanh(self.last(hidden))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        # The pool is as long as the training data, which a new network does not know.
        key = f"{prefix}pool"
        if key in state_dict:
            self.pool = self.pool.new_zeros(state_dict[key].shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def star(neighbours: int) -> Tensor:
    """D^-1/2 (A + I) D^-1/2 of an item (row 0) joined to k others: (1 + k, 1 + k)."""
    joined = torch.eye(1 + neighbours)
    joined[0, :] = joined[:, 0] = 1
    scale = joined.sum(dim=1).rsqrt()
    return scale[:, None] * joined * scale[None, :]


def distance_loss(first: Tensor, second: Tensor, label: Tensor) -> Tensor:
    """Mean distance across the sides within a class, plus mean of [1 - distance]_+ between classes."""
    same = share_a_label(label, label)
    distance: Tensor = torch.linalg.vector_norm(first[:, None] - second[None], dim=2)
    near = (same * distance).sum() / same.sum().clamp(min=1)
    apart = ((1 - same) * (1 - distance).clamp(min=0)).sum() / (1 - same).sum().clamp(min=1)
    return near + apart
