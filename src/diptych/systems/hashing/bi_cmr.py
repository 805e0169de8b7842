r"""Bi-CMR: Bidirectional Reinforcement Guided Hashing for Effective Cross-Modal Retrieval (Li, AAAI 2022).

Paper: AAAI 36(9), pp. 10275-10282
Code: lty4869/Bi-CMR@a92de5e (model/train_test.py, model/models.py, run.py)
Tables: survey Table 1 (it uses no reinforcement learning, as the survey says), none with numbers
Inputs: image features or pixels (the paper: raw pixels through CNN-F), bag-of-words tags, multi-hot labels
Learns from: labels
Structure: apart
Representation: binary
Survey: Table 1: labels do not reliably say what is relevant; called reinforcement learning, which it is
    not, its loss terms strengthen each other. No numbers.

Labels do not say how alike two items are, so a network on label vectors and the two modality networks correct
each other: two items are similar if the cosine of their labels, adjusted by the label network's codes, is
large, and both modalities align with the label codes in both directions.

`bi_cmr:cnn_f` fine-tunes CNN-F on pixels as the paper does; without `image_file` it starts from drawn
weights.

Equations:
- the objective of all three networks: \mathcal{L} = \alpha L_{\mathrm{ssr}} + \beta L_{\mathrm{l2m}}
    + \gamma L_{\mathrm{m2l}} + L_{\mathrm{cor}} + L_{\mathrm{class}}
- self-reconstruction, mean over entries: L_{\mathrm{ssr}} = \sum_{m \in \{v, t\}} \frac{1}{b w_m} \sum_i
    \operatorname{KL}\left( \operatorname{softmax} f^m_i \,\|\, \operatorname{softmax} f'^m_i \right)
- label codes guide modalities: L_{\mathrm{l2m}} = \frac1b \sum_{ij} e^{\cos(l_i, l_j)}
    \left( e^{-\cos(v_i, v_j)} + e^{-\cos(t_i, t_j)} + e^{-\cos(v_i, t_j)} \right)
- modalities guide label codes: L_{\mathrm{m2l}} = \frac1b \sum_{ij} e^{-\cos(l_i, l_j)}
    \left( \eta e^{\cos(v_i, v_j)} + (1 - \eta) e^{\cos(t_i, t_j)} \right)
- likelihood of similarities, for five pairs of codes: L_{\mathrm{cor}} =
    \sum_{(p, q)} \frac{1}{b^2} \sum_{ij} \left( \log(1 + e^{\theta_{ij}}) - S'_{ij} \theta_{ij} \right),
    \quad \theta_{ij} = \frac12 p_i^\top q_j
- adjusted similarity: S'_{ij} = \left[ \cos(y'_i, y'_j) \ge \lambda \right], \quad
    y'_i = (y_i, \epsilon [l_i > 0])
- classification, labels not normalised: L_{\mathrm{class}} = -\frac1b \sum_i \sum_k y_{ik}
    \left( \log p^v_{ik} + \log p^t_{ik} \right)
where $v_i$, $t_i$ and $l_i$ are the codes of image, text and label network (after tanh), $f$ and $f'$
features before and after the reconstruction, $w_m$ their width, $y_i$ labels and $\epsilon$ is `adjustment`.
The pairs of $L_{\mathrm{cor}}$ are $v$ with $l$, $l$ with $v$, $t$ with $l$, $l$ with $t$ and $l$ with $l$,
in which $l$ is constant, except as the second of the last. Before, in each epoch, the label network alone
minimises the likelihood of $l$ with $l$, with the similarity of labels alone, and half of an
$L_{\mathrm{class}}$ of its own.

Differs from the paper: in the other variants supplied features stand for CNN-F; everything after its layer
full7 is unchanged. The relevance matrix that the authors made by hand for evaluation is not published;
sharing a label takes its place. The last epoch counts where the code reports the best one on the test data.
Items whose cosine is exactly the threshold are similar, as the paper's "at least" says; in the code's float32
they fall below (MIRFLICKR's labels at .4: .49 % of all pairs).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.data.base import Split
from diptych.nets.fronts import FromPixels
from diptych.nets.image_towers import PixelTower
from diptych.nets.optimizers import Together
from diptych.training.learner import Learner
from diptych.training.trainer import Trainer

__all__ = ["BiCMR"]

VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "tiny": {
        "image_sizes": (256, 256),
        "text_sizes": (256, 256),
        "label_sizes": (256, 256),
        "middle": 64,
        "bits": 16,
        "batch_size": 64,
        "epochs": 30,
        "lr": 1e-3,
        "halve_every": 0,
        "label_weight": 1e-3,
        "modality_weight": 1e-3,
    },
    "cnn_f": {"image_tower": "cnn_f"},
}
FEATURES: dict[str, str] = {"cnn_f": "image=pixels,text=bow"}
RECIPES: dict[str, dict[str, Any]] = {
    "nus_wide": {"threshold": 0.7},
    "syn": {**VARIANTS["tiny"], "bits": 32},
}


@dataclass(kw_only=True, eq=False)
class BiCMR(FromPixels, Learner):
    """Bidirectional reinforcement guided hashing.

    Args:
        image_dim: Dimensions of the image features.
        text_dim: Words of the bag.
        classes: Label columns.
        bits: Code length c.
        image_sizes: Widths of the image network's layers; the last is the feature f.
        text_sizes: Likewise for the text network.
        label_sizes: Likewise for the label network.
        middle: Width inside the semantic self-reconstruction.
        threshold: lambda, the cosine of labels from which two items are similar.
        adjustment: How much the label network's codes count in that cosine.
        self_weight: alpha of L_ssr.
        label_weight: beta of L_l2m.
        modality_weight: gamma of L_m2l.
        image_share: eta, the image's share in L_m2l.
        label_lr: Learning rate of the label network.
        halve_every: Epochs from one halving of all rates to the next, down to 1e-6; the first is after the
            first epoch. 0 keeps them.
        image_tower, tower_units, image_file: Kind, units and published weights of a network on pixels that
            stands in place of features, see `diptych.nets.fronts`.
    """

    similarity = "hamming"

    image_net: _ModalityNet = field(init=False, repr=False)
    text_net: _ModalityNet = field(init=False, repr=False)

    image_dim: int = 4096
    text_dim: int = 1386
    classes: int = 24
    bits: int = 32
    image_sizes: tuple[int, ...] = (8192,)
    text_sizes: tuple[int, ...] = (1024, 4096)
    label_sizes: tuple[int, ...] = (1024, 4096)
    middle: int = 1024
    threshold: float = 0.4
    adjustment: float = 0.01
    self_weight: float = 0.01
    label_weight: float = 0.01
    modality_weight: float = 0.01
    image_share: float = 0.9
    epochs: int = 120
    batch_size: int = 128
    lr: float = 1e-4
    label_lr: float = 1e-3
    halve_every: int = 20

    def __post_init__(self) -> None:
        tower, width = self.image_front(self.image_dim)
        heads = (self.middle, self.bits, self.classes)
        self.image_net = _ModalityNet(width, self.image_sizes, *heads, tower=tower)
        self.text_net = _ModalityNet(self.text_dim, self.text_sizes, *heads)
        self.label_net = _LabelNet(self.classes, self.label_sizes, self.bits)

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """Each epoch the label network alone (step A), then all three together (step B)."""
        trainer = self.begin(split, trainer)
        nets = (self.image_net, self.text_net, self.label_net)
        betas = (0.5, 0.999)
        modalities = [{"params": self.trainable("image_net", "text_net"), "lr": self.lr}]
        labels = [{"params": self.trainable("label_net"), "lr": self.label_lr}]
        # One state of the label network's, which both steps go on with.
        alone = torch.optim.Adam(labels, betas=betas)
        together = Together(torch.optim.Adam(modalities, betas=betas), alone)
        for epoch in trainer.epochs(self.epochs, keep=(*nets, together)):
            self._set_rates(epoch, together)
            for batch in trainer.batches(split, self.batch_size):
                code, logits = self.label_net(batch.label)
                similar = label_similarity(batch.label, self.threshold)
                trainer.step(
                    alone,
                    {
                        "label_pairs": pairwise(code, code, similar),
                        "label_class": 0.5 * classification(logits, batch.label),
                    },
                )
            for batch in trainer.batches(split, self.batch_size):
                image, text = self.image_net.parts(batch.image), self.text_net.parts(batch.text)
                code, _ = self.label_net(batch.label)
                trainer.step(together, self.terms(image, text, code, batch.label))
        return self

    def terms(self, image: _Parts, text: _Parts, label: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The objective of step B.

        Args:
            image, text: Outputs of the modality networks.
            label: (b, c) codes of the label network.
            labels: (b, C).
        """
        similar = adjusted_similarity(labels, label, self.threshold, self.adjustment)
        return {
            "ssr": self.self_weight
            * (reconstruction(image.feature, image.rebuilt) + reconstruction(text.feature, text.rebuilt)),
            "l2m": self.label_weight * label_to_modality(image.code, text.code, label),
            "m2l": self.modality_weight * modality_to_label(image.code, text.code, label, self.image_share),
            "cor": torch.stack(correlation(image.code, text.code, label, similar)).sum(),
            "class": classification(image.logits, labels) + classification(text.logits, labels),
        }

    def _set_rates(self, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        # After the epochs 0, halve_every, 2 halve_every and so on.
        halvings = ceil(epoch / self.halve_every) if self.halve_every else 0
        for group in optimizer.param_groups:
            start = group.setdefault("initial_lr", group["lr"])
            group["lr"] = max(start / 2**halvings, 1e-6)


@dataclass(frozen=True)
class _Parts:
    """What a modality network makes of a batch.

    Args:
        feature: (b, w) f.
        rebuilt: (b, w) f' after the semantic self-reconstruction.
        code: (b, c) in (-1, 1).
        logits: (b, C).
    """

    feature: Tensor
    rebuilt: Tensor
    code: Tensor
    logits: Tensor


class _ModalityNet(nn.Module):
    """Features (of pixels, through a tower), self-reconstruction (SSR), and two heads."""

    def __init__(
        self,
        inputs: int,
        sizes: tuple[int, ...],
        middle: int,
        bits: int,
        classes: int,
        *,
        tower: PixelTower | None = None,
    ) -> None:
        super().__init__()
        layers = _layers(inputs, sizes)
        self.body = layers if tower is None else nn.Sequential(tower, *layers)
        self.ssr = nn.Sequential(nn.Linear(sizes[-1], middle), nn.Linear(middle, sizes[-1]))
        self.code, self.classifier = nn.Linear(sizes[-1], bits), nn.Linear(sizes[-1], classes)

    def parts(self, rows: Tensor) -> _Parts:
        """All outputs."""
        feature = self.body(rows)
        rebuilt = self.ssr(feature)
        return _Parts(feature, rebuilt, torch.tanh(self.code(rebuilt)), self.classifier(rebuilt))

    def forward(self, rows: Tensor) -> Tensor:
        """The code (b, c)."""
        return self.parts(rows).code


class _LabelNet(nn.Module):
    """Labels to code (b, c) and logits (b, C)."""

    def __init__(self, classes: int, sizes: tuple[int, ...], bits: int) -> None:
        super().__init__()
        self.body = _layers(classes, sizes)
        self.code, self.classifier = nn.Linear(sizes[-1], bits), nn.Linear(sizes[-1], classes)

    def forward(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        feature = self.body(labels)
        return torch.tanh(self.code(feature)), self.classifier(feature)


def label_similarity(labels: Tensor, threshold: float) -> Tensor:
    """Sim (b, b): 1 where the cosine of two items' labels reaches the threshold."""
    # Pairs exactly at the threshold count, which rounding must not decide.
    return (_cosines(labels, labels) >= threshold - 1e-6).to(labels.dtype)


def adjusted_similarity(labels: Tensor, code: Tensor, threshold: float, adjustment: float) -> Tensor:
    """Sim' (b, b): the labels are extended by the positive bits of the label network's codes.

    With the paper's factor of 0.01 a cosine moves by less than 0.005, so only pairs exactly at the threshold
    can change.
    """
    extended = torch.cat([labels, adjustment * (code > 0).to(labels.dtype)], dim=1)
    return label_similarity(extended, threshold)


def pairwise(first: Tensor, second: Tensor, similar: Tensor) -> Tensor:
    """Mean negative log-likelihood of the similarities, theta = first second^T / 2."""
    theta = first @ second.T / 2
    return (functional.softplus(theta) - similar * theta).mean()


def correlation(image: Tensor, text: Tensor, label: Tensor, similar: Tensor) -> tuple[Tensor, ...]:
    """The five likelihoods of L_cor; the label codes are constants wherever a modality learns from them."""
    fixed = label.detach()
    return (
        pairwise(image, fixed, similar),
        pairwise(fixed, image, similar),
        pairwise(text, fixed, similar),
        pairwise(fixed, text, similar),
        pairwise(fixed, label, similar),
    )


def modality_to_label(image: Tensor, text: Tensor, label: Tensor, image_share: float) -> Tensor:
    """L_m2l: label codes differ from each other where the modalities' codes are alike at a cost."""
    own = torch.exp(_cosines(image, image)) * image_share + torch.exp(_cosines(text, text)) * (
        1 - image_share
    )
    return (torch.exp(-_cosines(label, label)) * own).sum(dim=1).mean()


def label_to_modality(image: Tensor, text: Tensor, label: Tensor) -> Tensor:
    """L_l2m: the modalities' codes differ where label codes are alike at a cost."""
    sides = [torch.exp(-_cosines(a, b)) for a, b in ((image, image), (text, text), (image, text))]
    return (torch.exp(_cosines(label, label)) * torch.stack(sides).sum(dim=0)).sum(dim=1).mean()


def reconstruction(feature: Tensor, rebuilt: Tensor) -> Tensor:
    """L_ssr of one modality: KL(softmax f || softmax f'), mean over entries as in the authors' code."""
    return functional.kl_div(
        rebuilt.log_softmax(dim=1), feature.log_softmax(dim=1), reduction="none", log_target=True
    ).mean()


def classification(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy against the labels, which are not normalised: with several of them it never is 0."""
    return -(labels * logits.log_softmax(dim=1)).sum(dim=1).mean()


def _cosines(first: Tensor, second: Tensor) -> Tensor:
    return functional.normalize(first, dim=1) @ functional.normalize(second, dim=1).T


def _layers(inputs: int, sizes: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in zip((inputs, *sizes), sizes, strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers)
