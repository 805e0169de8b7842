r"""SSAH: Self-Supervised Adversarial Hashing Networks for Cross-Modal Retrieval (Li et al., CVPR 2018).

Paper: arXiv 1804.01223
Code: lelan-li/SSAH@8780b20 (SSAH.py, tnet.py, ops.py, setting.py)
Tables: survey Tables 1 and 3 (its Table 3 row fits no table of the paper; probably a MAP of few ranks)
Inputs: image features or pixels (the paper: raw pixels through CNN-F), bag-of-words tags, multi-hot labels
Learns from: labels
Structure: apart
Representation: binary
Survey: Table 1: a self-supervised semantic network and two adversarial networks, "without extensive
    labelled data"; the network takes the true labels, so all of it is supervised. Its row of Table 3 is not
    the paper's.

A network on label vectors learns codes and semantic features first and supervises an image and a text
network; two discriminators tell their features from the label features, and both networks learn to be
mistaken for them. "Self-supervised" is the label network, which is given the labels.

`ssah:cnn_f` fine-tunes CNN-F on pixels as the paper does; without `image_file` it starts from drawn weights.

Equations:
- the objective of image or text network: \mathcal{L}^* = \alpha \ell(F^*, F^l) + \gamma \ell(H^*, H^l)
    + \frac{\beta}{bc} \lVert B - H^* \rVert_F^2 + \frac{\eta}{bC} \lVert L - \hat L^* \rVert_F^2
    + \delta \mathcal{L}^*_{\mathrm{adv}}
- likelihood of similarities: \ell(X, Z) = \frac{1}{bn} \sum_{ij}
    \left( \log(1 + e^{\theta_{ij}}) - S_{ij} \theta_{ij} \right), \quad \theta_{ij} = \frac12 x_i^\top z_j
- being taken for a label feature: \mathcal{L}^*_{\mathrm{adv}} = -\frac1b \sum_i \log \sigma(D^*(f^*_i))
- the discriminator's objective: \mathcal{L}_{D^*} = -\frac1b \sum_i \left(
    \log \sigma(D^*(f^l_i)) + \log(1 - \sigma(D^*(f^*_i))) \right)
- the codes: B = \operatorname{sign}(H^l)
where $F$ are semantic features, $H$ codes (after tanh) and $\hat L$ guesses of the labels $L$, $b$ rows of a
batch against all $n$ of the label network ($l$), and $S_{ij}$ is 1 if $i$ and $j$ share a label. The label
network minimises the same for itself, without an adversary.

Differs from the paper: in the other variants supplied features stand for CNN-F; everything after its layer
full7 is unchanged.

Differs from the released code (effects: MAP on `planted:syn`, 32 bits, 4 epochs of `tiny` with
`adversarial_weight` 1, .60/.59 as it is):
- The pair losses are likelihoods, and every loss is a mean over its entries; in the code they are squared
  differences of the two parts of a likelihood, and every loss is half a sum, so that there the pair losses
  weigh 2n / c and 2n / C times more against quantisation and labels, and bn / 2 times more against the
  adversary (n pairs, b in a batch). As a mean beside means, an adversary of the weight 1 draws features away
  from their classes where few pairs are similar (`tiny`, ten classes, 160 pairs, 16 bits: MAP .38 to .49 with
  the weight 1, .81 to 1.00 with .03), so that `tiny` has .03. B is the sign of the label network's code, on
  which both modalities are to agree; in the code it is each network's own.
  `released=True` takes the code's losses and B, and leaves out the adversary, as no gradient of it reaches a
  network there (.67/.62).
- One discriminator a modality, whose gradient reaches the networks; the code's is two unrelated copies.
- The learning rate is constant; the code's is nearly nothing after six epochs. The numbers of passes are
  those of the code's rounds, which also end when their loss rises. Passes visit every pair once; the code
  draws each batch from all pairs (.59/.55).
- The scales of the pooled words start at 1; the code draws them around 0 and so silences half of them for
  good (.57/.54). They are stretched with half-pixel centres, the code's without (.62/.59).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.data.base import Split
from diptych.nets.fronts import FromPixels
from diptych.nets.pairwise import likelihood, pair_labels, share_a_label, sign
from diptych.training.learner import Learner
from diptych.training.trainer import Trainer

__all__ = ["SSAH"]

_TINY: dict[str, Any] = {
    "hidden": 256,
    "semantic": 64,
    "image_hidden": 256,
    "epochs": 8,
    "batch_size": 64,
    "label_passes": 8,
    "quantisation_weight": 0.1,
    "image_passes": 6,
    "text_passes": 6,
    "judge_sizes": (64, 32),
    "adversarial_weight": 0.03,
    "lr": 1e-3,
    "spread": 0.0,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "tiny": {**_TINY, "bits": 16},
    "cnn_f": {"image_tower": "cnn_f"},
}
FEATURES: dict[str, str] = {"cnn_f": "image=pixels,text=bow"}
RECIPES: dict[str, dict[str, Any]] = {"syn": _TINY}


@dataclass(kw_only=True, eq=False)
class SSAH(FromPixels, Learner):
    """Self-supervised adversarial hashing.

    Args:
        image_dim: Dimensions of the image features.
        text_dim: Words of the bag.
        classes: Label columns.
        bits: Code length c.
        image_hidden: Units before the image's semantic feature; 0 for none (features of full7 need none).
        hidden: Units before the label's and the text's semantic feature.
        semantic: Units of the semantic feature.
        judge_sizes: Hidden layers of the discriminators.
        widths: Widths of the average pools over neighbouring words of the bag.
        feature_weight: alpha, the likelihood of the semantic features.
        code_weight: gamma, the likelihood of the codes.
        quantisation_weight: beta.
        label_weight: eta.
        adversarial_weight: delta; 0 leaves the discriminators out.
        label_passes, judge_passes, image_passes, text_passes: Passes over the data in each epoch.
        spread: Standard deviation of the first weights and biases, but for the tower's; 0 takes torch's own.
        released: The losses of the released code.
        image_tower, tower_units, image_file: Kind, units and published weights of a network on pixels that
            stands in place of features, see `diptych.nets.fronts`.
    """

    similarity = "hamming"

    image_net: _Branch = field(init=False, repr=False)
    text_net: _Branch = field(init=False, repr=False)

    image_dim: int = 4096
    text_dim: int = 1386
    classes: int = 24
    bits: int = 32
    image_hidden: int = 0
    hidden: int = 4096
    semantic: int = 512
    judge_sizes: tuple[int, ...] = (512, 256)
    widths: tuple[int, ...] = (50, 30, 15, 10, 5)
    feature_weight: float = 1.0
    code_weight: float = 1.0
    quantisation_weight: float = 1.0
    label_weight: float = 1.0
    adversarial_weight: float = 1.0
    label_passes: int = 15
    judge_passes: int = 2
    image_passes: int = 27
    text_passes: int = 27
    spread: float = 0.01
    released: bool = False
    epochs: int = 6
    batch_size: int = 128
    lr: float = 1e-4

    def __post_init__(self) -> None:
        tower, width = self.image_front(self.image_dim)
        image: list[nn.Module] = [] if tower is None else [tower]
        if self.image_hidden:
            image += [nn.Linear(width, self.image_hidden), nn.ReLU()]
            width = self.image_hidden
        scales = _Scales(self.text_dim, self.widths)
        text = [scales, nn.Linear(scales.outputs, self.hidden), nn.ReLU(), _response(self.hidden)]
        label = [nn.Linear(self.classes, self.hidden), nn.ReLU(), _response(self.hidden)]
        heads = (self.semantic, self.bits, self.classes)
        self.image_net = _Branch(nn.Sequential(*image), width, *heads)
        self.text_net = _Branch(nn.Sequential(*text), self.hidden, *heads, response=True)
        self.label_net = _Branch(nn.Sequential(*label), self.hidden, *heads)
        self.image_judge = _judge(self.semantic, self.judge_sizes)
        self.text_judge = _judge(self.semantic, self.judge_sizes)
        if self.spread:
            # Those of the tower are its own: out of its file, or as it draws them.
            kept = set() if tower is None else set(tower.modules())
            for layer in (layer for net in self.networks.values() for layer in net.modules()):
                if isinstance(layer, nn.Linear) and layer not in kept:
                    for parameter in layer.parameters():
                        nn.init.normal_(parameter, std=self.spread)

    def terms(
        self, own: _Outputs, buffers: _Buffers, rows: Tensor, labels: Tensor, codes: Tensor
    ) -> dict[str, Tensor]:
        """The losses that all three networks share, against the label network's outputs for all pairs.

        Args:
            own: Outputs of a batch.
            buffers: The label network's outputs, without gradient, and all labels.
            rows: (b,) of the batch in the buffers.
            labels: (b, C) of the batch.
            codes: (b, c) binary codes B of the batch.
        """
        similar = share_a_label(labels, buffers.labels)
        pairs = released_pairs if self.released else likelihood
        found = {
            "features": self.feature_weight * pairs(own.feature, buffers.feature, similar),
            "codes": self.code_weight * pairs(own.code, buffers.code, similar),
            "quantisation": self.quantisation_weight * (codes - own.code).square(),
            "labels": self.label_weight * (labels - own.label).square(),
        }
        if self.released:
            halves = {"quantisation": 0.5, "labels": 0.5}
            return {name: halves.get(name, 1.0) * term.sum() for name, term in found.items()}
        return {name: term.mean() for name, term in found.items()}

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """Each epoch the label network, the discriminators, the image network and the text network."""
        trainer = self.begin(split, trainer)
        labels = pair_labels(split, trainer.device)
        buffers = _Buffers.zeros(len(labels), self.semantic, self.bits, labels)
        sides = (
            (self.image_net, self.image_judge, self.image_passes),
            (self.text_net, self.text_judge, self.text_passes),
        )
        nets = {name: torch.optim.Adam(self.trainable(name), lr=self.lr) for name in self.networks}
        keep = (*self.networks.values(), *nets.values(), buffers.feature, buffers.code)
        for _ in trainer.epochs(self.epochs, keep=keep):
            for _ in range(self.label_passes):
                for batch in trainer.batches(split, self.batch_size):
                    own = self.label_net.outputs(batch.label)
                    buffers.put(batch.index, own)
                    terms = self.terms(own, buffers, batch.index, batch.label, sign(own.code.detach()))
                    trainer.step(nets["label_net"], {f"label_{key}": value for key, value in terms.items()})
            buffers.fill(self.label_net)
            played = bool(self.adversarial_weight) and not self.released
            for _ in range(self.judge_passes if played else 0):
                for batch in trainer.batches(split, self.batch_size):
                    real = buffers.feature[batch.index]
                    for (net, judge, _), rows, name in zip(
                        sides, (batch.image, batch.text), ("image_judge", "text_judge"), strict=True
                    ):
                        fake = net.outputs(rows).feature.detach()
                        trainer.step(nets[name], {name: judged(judge(real), judge(fake))})
            for side, (net, judge, passes) in enumerate(sides):
                name = ("image", "text")[side]
                for _ in range(passes):
                    for batch in trainer.batches(split, self.batch_size):
                        own = net.outputs((batch.image, batch.text)[side])
                        codes = sign(own.code.detach() if self.released else buffers.code[batch.index])
                        terms = self.terms(own, buffers, batch.index, batch.label, codes)
                        if played:
                            fooled = towards_one(judge(own.feature))
                            terms["adversarial"] = self.adversarial_weight * fooled
                        trainer.step(
                            nets[f"{name}_net"], {f"{name}_{key}": value for key, value in terms.items()}
                        )
        return self


@dataclass(frozen=True)
class _Outputs:
    """What a network makes of a batch: semantic feature (b, s), code (b, c), labels (b, C)."""

    feature: Tensor
    code: Tensor
    label: Tensor


@dataclass(frozen=True)
class _Buffers:
    """The label network's outputs for all pairs."""

    feature: Tensor
    code: Tensor
    labels: Tensor

    @classmethod
    def zeros(cls, count: int, semantic: int, bits: int, labels: Tensor) -> _Buffers:
        return cls(labels.new_zeros(count, semantic), labels.new_zeros(count, bits), labels)

    def put(self, rows: Tensor, own: _Outputs) -> None:
        self.feature[rows], self.code[rows] = own.feature.detach(), own.code.detach()

    def fill(self, net: _Branch) -> None:
        with torch.no_grad():
            self.put(torch.arange(len(self.labels)), net.outputs(self.labels))


class _Branch(nn.Module):
    """A body, the semantic feature, a hash head and a label head."""

    def __init__(
        self, body: nn.Module, width: int, semantic: int, bits: int, classes: int, response: bool = False
    ) -> None:
        super().__init__()
        self.body, self.feature = body, nn.Linear(width, semantic)
        self.response = _response(semantic) if response else nn.Identity()
        self.code, self.label = nn.Linear(semantic, bits), nn.Linear(semantic, classes)

    def outputs(self, rows: Tensor) -> _Outputs:
        """All three."""
        feature = functional.relu(self.feature(self.body(rows)))
        last = self.response(feature)
        return _Outputs(feature, torch.tanh(self.code(last)), torch.sigmoid(self.label(last)))

    def forward(self, rows: Tensor) -> Tensor:
        """The code (b, c)."""
        return self.outputs(rows).code


class _Scales(nn.Module):
    """Multi-scale words: averages over neighbouring words of the bag at several widths, beside the bag."""

    def __init__(self, words: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.widths = tuple(width for width in widths if width <= words)
        self.scale = nn.Parameter(torch.ones(len(self.widths)))
        self.outputs = words * (len(self.widths) + 1)

    def forward(self, bag: Tensor) -> Tensor:
        rows, words = bag[:, None], bag.shape[1]
        channels = [bag]
        for at, width in enumerate(self.widths):
            pooled = functional.relu(functional.avg_pool1d(rows, width) * self.scale[at])
            wide = functional.interpolate(pooled, size=words, mode="linear", align_corners=False)
            channels.append(wide[:, 0])
        return torch.cat(channels, dim=1)


class _Response(nn.Module):
    """Local response normalisation over the units of a vector, which stand for channels."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)

    def forward(self, rows: Tensor) -> Tensor:
        normed: Tensor = self.norm(rows[:, :, None])[:, :, 0]
        return normed


def _response(units: int) -> nn.Module:
    return _Response() if units >= 5 else nn.Identity()


def _judge(inputs: int, sizes: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in zip((inputs, *sizes), sizes, strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 1))


def released_pairs(first: Tensor, second: Tensor, similar: Tensor) -> Tensor:
    """What the released code minimises: 0.5 (0.999 S theta - softplus(theta))^2, no likelihood."""
    theta = first @ second.T / 2
    return 0.5 * (0.999 * similar * theta - functional.softplus(theta)).square()


def towards_one(logits: Tensor) -> Tensor:
    """Cross-entropy of being taken for a label feature."""
    return functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))


def judged(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss: label features are 1, those of a modality 0."""
    zeros = torch.zeros_like(fake)
    return towards_one(real) + functional.binary_cross_entropy_with_logits(fake, zeros)
