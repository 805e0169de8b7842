r"""CLIP4CMR: A Comprehensive Empirical Study of Vision-Language Pre-trained Model for Supervised Cross-Modal Retrieval (Zeng, Mao, arXiv 2022).

Paper: arXiv 2201.02772
Code: zhixiongz/CLIP4CMR@d8b3901
Tables: 2
Inputs: frozen CLIP RN50 vectors of pictures and texts (1024 each), not normalised
Learns from: labels
Structure: apart
Representation: real-valued
Survey: Table 1: an MLP for each modality and a prototype contrastive loss. Strengths: robust where
    modalities are unbalanced, compact.

Each side has a small network of its own on frozen CLIP features, trained with one of the losses that the study
compares: pair-wise contrastive (cl), triplet (tl), modality-invariant (ml); class-wise linear regression (lrl),
cross-entropy (cel), prototype contrastive (pcl, the one that it proposes); and the proxy losses that its code
imports, proxy NCA (pnca) and proxy anchor (pa).

Equations:
- prototype contrastive (pcl), of each side: \mathcal{L} = -\frac1n \sum_i \sum_c y_{ic}
    \log \frac{\exp(-\lVert f_i - p_c \rVert^2 / T)}{\sum_k \exp(-\lVert f_i - p_k \rVert^2 / T)}
- linear regression (lrl), of each side: \mathcal{L} = \frac1n \sum_i \lVert W f_i + b - l_i \rVert
- contrastive (cl): \mathcal{L} = \frac1n \sum_{ij} \left( S_{ij} D_{ij}
    + (1 - S_{ij}) \max(0, m - D_{ij}) \right)
- triplet (tl), and the same with both sides exchanged: \mathcal{L} = \frac{1}{|P|} \sum_{(i, j) \in P}
    \sum_{k : S_{ik} = 0} \max(0, D_{ij} - D_{ik} + m)
- modality-invariant (ml): \mathcal{L} = \frac1n \sum_{ij} S_{ij} D_{ij}
where $f_i$ are vectors of one side, at unit length, $p_c$ the prototype of class $c$, $y_{ic}$ labels as
shares and $l_i$ as they are, $D_{ij}$ the squared distance of image $i$ and text $j$, $S_{ij}$ is 1 if they
share a class, $P$ holds such pairs, $n$ counts the items of a side (images, where both meet), and the rows of
$W$ have unit length. Of the others, cel is cross-entropy, and pnca and pa are those of their own papers.

Differs from the paper:
- The epoch is chosen on validation data; the code chooses it on the test set.
- Losses are plain means. Variant `released` is the code: it divides the prototype loss by the batch size a
  second time, whose gradients are then so small that Adam's epsilon slows it down; it rescales the rows of the
  label head in place before each pass and descends the plain gradient, where here the gradient goes through
  the scaling; and its contrastive loss counts a constant of .2 for each pair of one class.
  On the Wikipedia set it costs pcl .03 to .04 of MAP after 30 epochs, and the other losses less than .005.
- Prototypes are fixed random unit vectors, as in the code; `learn_prototypes` trains them, as the name suggests.
- With several labels the target is their mean; `pnca` and `pa` do not run in the code and follow their own
  papers (Movshovitz-Attias et al., ICCV 2017; Kim et al., CVPR 2020).
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.data.base import Split
from diptych.errors import BadParameter
from diptych.nets.classes import class_loss, shares
from diptych.nets.pairwise import share_a_label
from diptych.nets.scaling import Scaling, fit_scaling
from diptych.training.learner import Learner
from diptych.training.trainer import Batch

__all__ = ["CLIP4CMR"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "released": {"released": True},
    "tiny": {
        "image_dim": 32,
        "text_dim": 24,
        "classes": 5,
        "hidden_dim": 64,
        "dim": 32,
        "epochs": 12,
        "batch_size": 32,
        "lr": 3e-3,
        "image_scaling": "standard",
        "text_scaling": "standard",
    },
}

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "wikipedia": {"image_scaling": "standard", "text_scaling": "standard", "epochs": 60},
}


@dataclass(kw_only=True, eq=False)
class CLIP4CMR(Learner):
    """CLIP4CMR.

    Args:
        image_dim, text_dim: Dimensions of the input features.
        classes: Number of classes.
        hidden_dim: Width of each side's hidden layer.
        dim: Dimensions of the common space.
        dropout: Probability of dropping an entry of a vector before it is normalised.
        loss: One of pcl, cl, tl, ml, lrl, cel, pnca, pa.
        temperature: T of pcl and pnca.
        margin: Of cl and tl, in squared distance.
        learn_prototypes: Train the prototypes of pcl, pnca and pa.
        text_share: Share of each batch's texts that are used (the study of modality imbalance uses .3).
        released: Losses and label head as in the released code, see the card.
        image_scaling, text_scaling: "none", "global" or "standard", see `diptych.nets.scaling`.
    """

    image_dim: int = 1024
    text_dim: int = 1024
    classes: int = 10
    hidden_dim: int = 256
    dim: int = 1024
    dropout: float = 0.1
    loss: str = "pcl"
    temperature: float = 1.0
    margin: float = 0.2
    learn_prototypes: bool = False
    text_share: float = 1.0
    released: bool = False
    image_scaling: str = "none"
    text_scaling: str = "none"
    epochs: int = 500
    batch_size: int = 300
    lr: float = 1e-4

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise BadParameter(f"loss of CLIP4CMR must be one of {', '.join(LOSSES)}, not {self.loss!r}")
        if not 0 < self.text_share <= 1:
            raise BadParameter(f"text_share must be above 0 and at most 1, not {self.text_share}")
        self.image_net = self._head(self.image_dim, self.image_scaling)
        self.text_net = self._head(self.text_dim, self.text_scaling)
        if self.loss in ("pcl", "pnca", "pa"):
            self.prototypes = Prototypes(self.classes, self.dim).requires_grad_(self.learn_prototypes)
        if self.loss in ("lrl", "cel"):
            self.label_net = UnitRows(self.dim, self.classes, in_place=self.released)

    def study(self, split: Split) -> None:
        """Take the statistics of the training features."""
        fit_scaling(self.image_net, self.checked_inputs(split.image, "image"))
        fit_scaling(self.text_net, self.checked_inputs(split.text, "text"))

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam with the code's betas."""
        return torch.optim.Adam(self.trainable(), lr=self.lr, betas=(0.5, 0.999))

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """The chosen loss; class-wise ones have a term for each side."""
        if self.released and self.loss in ("lrl", "cel"):
            self.label_net.rescale()
        image = self.image_net(batch.image)
        used = max(1, round(self.text_share * len(batch)))
        text, text_label = self.text_net(batch.text[:used]), batch.label[:used]
        return LOSSES[self.loss](self, image, batch.label, text, text_label)

    def _head(self, dim: int, scaling: str) -> nn.Sequential:
        return nn.Sequential(
            Scaling(dim, scaling),
            nn.Linear(dim, self.hidden_dim),
            nn.GELU(),
            nn.Linear(self.hidden_dim, self.dim),
            nn.Dropout(self.dropout),
            Unit(),
        )


class Unit(nn.Module):
    """Rows scaled to length one."""

    def forward(self, x: Tensor) -> Tensor:
        """(b, d) to (b, d)."""
        return functional.normalize(x)


class UnitRows(nn.Linear):
    """A linear layer whose rows of weights are scaled to length one.

    Args:
        dim, classes: Of its inputs and outputs.
        in_place: Start as the released code and scale only where `rescale` is called, which no gradient sees;
            else in every pass.
    """

    def __init__(self, dim: int, classes: int, *, in_place: bool = False) -> None:
        super().__init__(dim, classes)
        self.in_place = in_place
        if in_place:
            nn.init.kaiming_normal_(self.weight, mode="fan_out")

    @torch.no_grad()
    def rescale(self) -> None:
        """Scale the weights themselves."""
        self.weight.copy_(functional.normalize(self.weight))

    def forward(self, x: Tensor) -> Tensor:
        """(b, dim) to (b, classes)."""
        weight = self.weight if self.in_place else functional.normalize(self.weight)
        return functional.linear(x, weight, self.bias)


class Prototypes(nn.Module):
    """One unit vector a class; random ones of many dimensions are nearly orthogonal."""

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        drawn = nn.init.kaiming_normal_(torch.empty(dim, classes), mode="fan_out")
        self.weight = nn.Parameter(functional.normalize(drawn, dim=0).T.contiguous())  # (C, dim)

    def forward(self) -> Tensor:
        """(C, dim) unit rows."""
        return functional.normalize(self.weight)


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """(a, b) squared Euclidean distances of unit rows (a, d) and (b, d)."""
    return 2 - 2 * first @ second.T


def prototype_contrastive(
    vectors: Tensor, label: Tensor, prototypes: Tensor, temperature: float, *, released: bool = False
) -> Tensor:
    """pcl: cross-entropy of softmax over classes of -||f - p_c||^2 / T, as released over the items again."""
    loss = class_loss(-squared_distances(vectors, prototypes) / temperature, label)
    return loss / len(vectors) if released else loss


def proxy_nca(vectors: Tensor, label: Tensor, prototypes: Tensor, temperature: float) -> Tensor:
    """pnca: like pcl, but an item's own classes are left out of the sum below the fraction."""
    logits = -squared_distances(vectors, prototypes) / temperature
    others = logits.masked_fill(label > 0, -torch.inf).logsumexp(dim=1)
    return (others - (shares(label) * logits).sum(dim=1)).mean()


def proxy_anchor(
    vectors: Tensor, label: Tensor, prototypes: Tensor, *, margin: float = 0.1, alpha: float = 1.0
) -> Tensor:
    """pa: each prototype pulls its items, the farthest most, and pushes the others, the nearest most."""
    cosine = vectors @ prototypes.T  # (n, C)
    pull = ((-alpha * (cosine - margin)).exp() * label).sum(dim=0).log1p()
    push = ((alpha * (cosine + margin)).exp() * (1 - label)).sum(dim=0).log1p()
    present = (label.sum(dim=0) > 0).sum().clamp(min=1)
    return pull.sum() / present + push.mean()


def contrastive(distance: Tensor, same: Tensor, margin: float, *, released: bool = False) -> Tensor:
    """cl: (sum of D over pairs of one class + sum of [margin - D]_+ over the others) / images.

    The released code has D = 0 for the pairs of one class in the second sum, and so a constant.
    """
    apart = (margin - (1 - same) * distance).clamp(min=0)
    return (same * distance + (apart if released else (1 - same) * apart)).sum() / len(distance)


def triplet(distance: Tensor, same: Tensor, margin: float) -> Tensor:
    """tl: sum over k of another class of [D_ij - D_ik + margin]_+, mean over pairs (i, j) of one class."""
    total = distance.new_zeros(())
    for row, row_same in zip(distance, same, strict=True):
        positive, negative = row[row_same > 0], row[row_same == 0]
        total = total + (positive[:, None] - negative[None] + margin).clamp(min=0).sum()
    return total / same.sum().clamp(min=1)


def modality_invariant(distance: Tensor, same: Tensor) -> Tensor:
    """ml: sum of D over the pairs of one class / images."""
    return (same * distance).sum() / len(distance)


def _class_wise(loss: Callable[[CLIP4CMR, Tensor, Tensor], Tensor]) -> _Loss:
    def both(system: CLIP4CMR, image: Tensor, y_image: Tensor, text: Tensor, y_text: Tensor) -> _Terms:
        return {"image": loss(system, image, y_image), "text": loss(system, text, y_text)}

    return both


def _pair_wise(loss: Callable[[CLIP4CMR, Tensor, Tensor], Tensor]) -> _Loss:
    def across(system: CLIP4CMR, image: Tensor, y_image: Tensor, text: Tensor, y_text: Tensor) -> _Terms:
        return {"pairs": loss(system, squared_distances(image, text), share_a_label(y_image, y_text))}

    return across


_Terms = dict[str, Tensor]
_Loss = Callable[["CLIP4CMR", Tensor, Tensor, Tensor, Tensor], _Terms]

LOSSES: Mapping[str, _Loss] = {
    "pcl": _class_wise(
        lambda s, f, y: prototype_contrastive(f, y, s.prototypes(), s.temperature, released=s.released)
    ),
    "cl": _pair_wise(lambda s, d, same: contrastive(d, same, s.margin, released=s.released)),
    "tl": _pair_wise(lambda s, d, same: triplet(d, same, s.margin) + triplet(d.T, same.T, s.margin)),
    "ml": _pair_wise(lambda s, d, same: modality_invariant(d, same)),
    "lrl": _class_wise(lambda s, f, y: torch.linalg.vector_norm(s.label_net(f) - y, dim=1).mean()),
    "cel": _class_wise(lambda s, f, y: class_loss(s.label_net(f), y)),
    "pnca": _class_wise(lambda s, f, y: proxy_nca(f, y, s.prototypes(), s.temperature)),
    "pa": _class_wise(lambda s, f, y: proxy_anchor(f, y, s.prototypes())),
}
"""The losses of the study, by their names there."""
