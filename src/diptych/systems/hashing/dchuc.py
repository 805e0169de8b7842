r"""DCHUC: Deep Cross-Modal Hashing with Hashing Functions and Unified Hash Codes Jointly Learning (Tu, 2022).

Paper: arXiv 1907.12490
Code: rongchengtu1/DCHUC@2cf46ed (DCHUC_NUS_WIDE.py, utils/dchuc_loss.py)
Tables: survey Table 3 (its text-to-image row repeats DCMH's and is wrong)
Inputs: image features or pixels (the paper: raw pixels through AlexNet), bag-of-words tags, multi-hot labels
Learns from: labels
Structure: apart
Representation: binary
Survey: only in Table 3, whose row for text queries repeats that of DCMH.

Every training pair gets one unified code V by discrete updates, and two networks learn on random samples to
agree with all of V where labels agree: asymmetric, so that codes of the whole database are learned at the
price of a sample.

`dchuc:alexnet` fine-tunes AlexNet on pixels as the paper does; without `image_file` it starts from drawn
weights.

Equations:
- the image network's objective on a batch: \mathcal{L}_u = \frac{1}{nb} \left(
    \lVert U V^\top - c S \rVert_F^2 + \mu \lVert U G^\top - c S_I \rVert_F^2
    + \alpha \lVert U W - L_I \rVert_F^2 + \gamma \left\lVert V_I - \frac{U + G}{2} \right\rVert_F^2 \right)
- asymmetric similarity: S_{ij} = \begin{cases} 1 & \text{if i and j share a label} \\
    -r & \text{else} \end{cases}
- unified codes, bit k after bit: V_k = -\operatorname{sign}\left( Q_k + 2 V_{-k}
    \left( U_{-k}^\top U_k + G_{-k}^\top G_k + \beta W_{-k} W_k^\top \right) \right)
- what they are drawn to: Q = -2 c S^\top (U + G) - \gamma (\bar U + \bar G) - 2 \beta L W^\top
- the classifier: W = \left( \alpha U^\top U + \alpha G^\top G + \beta V^\top V + \eta I \right)^{-1}
    \left( \alpha (\bar U + \bar G) + \beta V \right)^\top L
where $U$ and $G$ are outputs of image and text network (text learns by the same objective with both
exchanged), $I$ the rows of a batch of $b$, $n$ all pairs and $r$ the number of similar pairs over that of
others. For $V$ and $W$ the outputs are those of the whole sample, $\bar U$ is $U$ with zeros for pairs
outside of it, and $-k$ leaves bit $k$ out.

Differs from the paper: in the other variants supplied features stand for AlexNet's convolutions, and its two
hidden layers are drawn and have no dropout. Pictures are scaled until they cover 224 x 224, where the paper
cuts that out of 256 x 256. A gallery is encoded by the networks, as new items must be; the codes V of the
training pairs, which saw their labels, are kept in `codes` and are not used for it. A zero in V counts as +1.

Differs from the released code, which `released=True` repeats (`planted:syn`, 32 bits, three seeds: MAP
.64/.63, .63/.63, .63/.62; released .55/.56, .55/.56):
- The discrete update is that of the derivation; the code doubles the text's and the classifier's part of it.
- The similarities of a batch are those of its pairs; the code takes positions in the sample for rows.
- The other network's outputs for the sample are at hand before it is trained on; in the code they are zero.
- A sample is shuffled in each pass; in the code its batches stay.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core import Floats
from diptych.data.base import Split
from diptych.nets.fronts import FromPixels
from diptych.nets.pairwise import pair_labels, share_a_label, sign
from diptych.training.learner import Learner
from diptych.training.trainer import Trainer

__all__ = ["DCHUC"]

_TINY: dict[str, Any] = {
    "image_hidden": (256,),
    "text_hidden": (256,),
    "outer": 15,
    "sample": 400,
    "batch_size": 64,
    "adam": True,
    "image_lr": 1e-3,
    "text_lr": 1e-3,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "tiny": {**_TINY, "bits": 16},
    "alexnet": {"image_tower": "alexnet", "image_hidden": ()},
}
FEATURES: dict[str, str] = {"alexnet": "image=pixels,text=bow"}
RECIPES: dict[str, dict[str, Any]] = {"syn": _TINY}


@dataclass(kw_only=True, eq=False)
class DCHUC(FromPixels, Learner):
    """Hashing functions and unified codes, learned jointly.

    Args:
        image_dim: Dimensions of the image features.
        text_dim: Words of the bag.
        classes: Label columns.
        bits: Code length c.
        image_hidden: Layers between image features, or the tower's seventh layer, and code.
        text_hidden: Likewise for text.
        dropout: Before the text's code.
        sample: Pairs Omega that each outer iteration trains the networks on; all, if there are fewer.
        outer: Outer iterations.
        epochs: Passes over the sample in each of them.
        similarity_weight: mu, similarity of the two networks' outputs.
        label_weight: alpha, classification of the outputs by W.
        code_weight: gamma, distance of V to the mean output.
        code_label_weight: beta, classification of V by W.
        ridge: eta, of W.
        image_lr, text_lr: Learning rates; both divided by 1.5 after the iterations, counted from 0, a third
            and two thirds of the way.
        weight_decay: Of both.
        adam: Adam in place of plain gradient descent, for small data.
        released: As the released code does it, slips included.
        image_tower, tower_units, image_file: Kind, units and published weights of a network on pixels that
            stands in place of features, see `diptych.nets.fronts`.
    """

    similarity = "hamming"

    codes: _Codes = field(init=False, repr=False)

    image_dim: int = 9216
    text_dim: int = 1000
    classes: int = 21
    bits: int = 32
    image_hidden: tuple[int, ...] = (4096, 4096)
    text_hidden: tuple[int, ...] = (10240,)
    dropout: float = 0.5
    sample: int = 2000
    outer: int = 30
    similarity_weight: float = 50.0
    label_weight: float = 50.0
    code_weight: float = 200.0
    code_label_weight: float = 1.0
    ridge: float = 50.0
    image_lr: float = 1e-4
    text_lr: float = 4e-3
    weight_decay: float = 5e-4
    adam: bool = False
    released: bool = False
    epochs: int = 3
    batch_size: int = 64

    def __post_init__(self) -> None:
        tower, width = self.image_front(self.image_dim)
        head = _network(width, self.image_hidden, self.bits, 0.0)
        self.image_net = head if tower is None else nn.Sequential(tower, head)
        self.text_net = _network(self.text_dim, self.text_hidden, self.bits, self.dropout)
        _start_bag(self.text_net)
        self.codes = _Codes(self.bits, self.classes)

    def terms(
        self, own: Tensor, other: Tensor, rows: Tensor, columns: Tensor, state: _State, batch: int
    ) -> dict[str, Tensor]:
        """The network step's objective on a batch.

        Args:
            own: (b, c) outputs of the network that learns.
            other: (m, c) outputs of the other network for the sample; those of the batch's pairs count.
            rows: (b,) positions of the batch in the sample.
            columns: (m,) pairs of the sample.
            state: V, W, labels and similarities.
            batch: The scale is 1 / (n * batch).
        """
        scale = 1 / (len(state.codes) * batch)
        against = state.similar[rows]
        pairs, partner = columns[rows], other[rows]
        # The released code takes positions in the sample for rows of the database.
        among = against[:, rows if self.released else pairs]
        return {
            "codes": scale * (own @ state.codes.T - self.bits * against).square().sum(),
            "similarity": scale
            * self.similarity_weight
            * (own @ partner.T - self.bits * among).square().sum(),
            "labels": scale
            * self.label_weight
            * (own @ state.classifier - state.labels[pairs]).square().sum(),
            "mean": scale * self.code_weight * (state.codes[pairs] - (own + partner) / 2).square().sum(),
        }

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """Networks on a sample, then V bit by bit, then W in closed form."""
        trainer = self.begin(split, trainer)
        labels = pair_labels(split, trainer.device)
        count, sample = len(labels), min(self.sample, len(labels))
        self.codes.start(count, trainer)
        codes, classifier = self.codes.unified, self.codes.classifier
        nets = (self.image_net, self.text_net)
        kind = torch.optim.Adam if self.adam else torch.optim.SGD
        rates = (self.image_lr, self.text_lr)
        optimizers = [
            kind(net.parameters(), lr=rate, weight_decay=self.weight_decay)
            for net, rate in zip(nets, rates, strict=True)
        ]
        for iteration in trainer.epochs(self.outer, keep=(*nets, *optimizers, self.codes)):
            for optimizer, rate in zip(optimizers, rates, strict=True):
                optimizer.param_groups[0]["lr"] = rate / 1.5 ** self._falls(iteration)
            columns = torch.randperm(count, generator=trainer.generator)[:sample]
            omega = _pairs_of(split, columns)
            similar = asymmetric(share_a_label(labels[columns], labels))
            columns = columns.to(trainer.device)
            state = _State(codes, classifier, labels, similar)
            outputs = [torch.zeros(sample, self.bits, device=trainer.device) for _ in nets]
            if not self.released:
                # Before the sample is trained on: without gradient and dropout.
                for buffer, net, values in zip(outputs, nets, (omega.image, omega.text), strict=True):
                    buffer.copy_(torch.from_numpy(self.outputs(net, values, size=sample)))
            for _ in range(self.epochs):
                for side in (0, 1):
                    for batch in trainer.batches(omega, self.batch_size, shuffle=not self.released):
                        own = nets[side]((batch.image, batch.text)[side])
                        outputs[side][batch.index] = own.detach()
                        trainer.step(
                            optimizers[side],
                            self.terms(own, outputs[1 - side], batch.index, columns, state, len(batch)),
                        )
            codes.copy_(self.discrete(codes, outputs[0], outputs[1], columns, state))
            classifier.copy_(self.classify(codes, outputs[0], outputs[1], columns, labels))
        return self

    def _falls(self, iteration: int) -> int:
        """How often the rates have fallen: after the iterations a third and two thirds of the way."""
        return sum(iteration > self.outer * part // 3 for part in (1, 2))

    def discrete(self, codes: Tensor, image: Tensor, text: Tensor, columns: Tensor, state: _State) -> Tensor:
        """One pass over the bits of V; it never raises `discrete_objective`.

        V_k = -sign(Q_k + 2 V_{-k} (U_{-k}^T U_k + G_{-k}^T G_k + beta W_{-k} W_k^T)), with
        Q = -2c S^T (U + G) - gamma (Ubar + Gbar) - 2 beta L W^T, where a bar pads with zeros to all pairs.
        """
        codes = codes.clone()
        weight = state.classifier
        q = -2 * self.bits * state.similar.T @ (image + text)
        q[columns] -= self.code_weight * (image + text)
        q -= 2 * self.code_label_weight * state.labels @ weight.T
        inner = image.T @ image + text.T @ text + self.code_label_weight * weight @ weight.T
        if self.released:
            inner = image.T @ image + 2 * (text.T @ text + self.code_label_weight * weight @ weight.T)
        for bit in range(self.bits):
            others = torch.arange(self.bits) != bit
            codes[:, bit] = sign(-(q[:, bit] + 2 * codes[:, others] @ inner[others, bit]))
        return codes

    def discrete_objective(
        self, codes: Tensor, image: Tensor, text: Tensor, columns: Tensor, state: _State
    ) -> Tensor:
        """The terms of the objective that hold V, up to a constant factor."""
        c, target = self.bits, state.similar
        fit = sum((side @ codes.T - c * target).square().sum() for side in (image, text))
        mean = self.code_weight * (codes[columns] - (image + text) / 2).square().sum()
        label = self.code_label_weight * (codes @ state.classifier - state.labels).square().sum()
        return torch.as_tensor(fit + mean + label)

    def classify(self, codes: Tensor, image: Tensor, text: Tensor, columns: Tensor, labels: Tensor) -> Tensor:
        """W (c, C) = (alpha U^T U + alpha G^T G + beta V^T V + eta I)^(-1) (alpha (Ubar + Gbar) + beta V)^T
        L."""
        alpha, beta = self.label_weight, self.code_label_weight
        gram = alpha * (image.T @ image + text.T @ text) + beta * codes.T @ codes
        gram = gram + self.ridge * torch.eye(self.bits, device=gram.device)
        target = alpha * (image + text).T @ labels[columns] + beta * codes.T @ labels
        solved: Tensor = torch.linalg.solve(gram, target)
        return solved

    def encode_pair(self, images: Any, texts: Any) -> Floats:
        """Unified codes (n, bits) of new pairs: the sign of the mean of both outputs."""
        halves = [
            self.outputs(net, self.checked_inputs(value, side))
            for net, value, side in ((self.image_net, images, "image"), (self.text_net, texts, "text"))
        ]
        return self.as_vectors(halves[0] + halves[1])


@dataclass(frozen=True)
class _State:
    """What the networks learn against: V (n, c), W (c, C), labels (n, C), Sasym (m, n)."""

    codes: Tensor
    classifier: Tensor
    labels: Tensor
    similar: Tensor


class _Codes(nn.Module):
    """V of the training pairs and W; saved with the system, so that the learned codes are not lost."""

    unified: Tensor
    classifier: Tensor

    def __init__(self, bits: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("unified", torch.zeros(0, bits))
        self.register_buffer("classifier", 0.01 * torch.randn(bits, classes))

    def start(self, count: int, trainer: Trainer) -> None:
        """V starts at zero, W small."""
        self.unified = torch.zeros(count, self.unified.shape[1], device=trainer.device)
        noise = torch.randn(self.classifier.shape, generator=trainer.generator)
        self.classifier = 0.01 * noise.to(trainer.device)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *arguments: Any) -> None:
        # As many rows as were saved, whatever the split is that is at hand.
        saved = state_dict.get(f"{prefix}unified")
        if saved is not None and saved.shape != self.unified.shape:
            self.unified = torch.zeros_like(saved)
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def asymmetric(similar: Tensor) -> Tensor:
    """Sasym (m, n): 1 for similar pairs, -r for dissimilar ones, r = similar pairs / dissimilar pairs."""
    ratio = similar.sum() / (1 - similar).sum().clamp(min=1)
    return torch.where(similar > 0, 1.0, -ratio)


def _pairs_of(split: Split, columns: Tensor) -> Split:
    """The split with only these pairs, each its own image row and text row."""
    pairs = split.pairs[columns.numpy()]
    image, text = np.asarray(split.image)[pairs[:, 0]], np.asarray(split.text)[pairs[:, 1]]
    assert split.label is not None
    order = np.stack([np.arange(len(pairs))] * 2, axis=1)
    return Split(image=image, text=text, label=split.label[pairs[:, 0]], pairs=order)


def _network(inputs: int, hidden: tuple[int, ...], bits: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in zip((inputs, *hidden), hidden, strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.Dropout(dropout), nn.Linear(hidden[-1] if hidden else inputs, bits), nn.Tanh()
    )


def _start_bag(net: nn.Sequential) -> None:
    """First weights of the network on a bag of words: Xavier's of the authors' convolutions, biases 0.01.

    The first convolution has one channel in and is as wide as the bag: its fan-out counts the width too.
    """
    layers = [layer for layer in net if isinstance(layer, nn.Linear)]
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.constant_(layer.bias, 0.01)
    words, hidden = layers[0].in_features, layers[0].out_features
    bound = (6 / (words * (1 + hidden))) ** 0.5
    nn.init.uniform_(layers[0].weight, -bound, bound)
