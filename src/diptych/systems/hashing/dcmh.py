r"""DCMH: Deep Cross-Modal Hashing (Jiang, Li, CVPR 2017).

Paper: arXiv 1602.02255
Code: jiangqy/DCMH-CVPR2017@67d0e84 (DCMH_demo.py, process_DCMH.m, update_net.m)
Tables: survey Tables 1 and 3 (its Table 3 row is a re-run; the paper's own MIRFlickr values are higher)
Inputs: image features or pixels (the paper: raw pixels through CNN-F), bag-of-words tags, multi-hot labels
Learns from: labels
Structure: apart
Representation: binary
Survey: Table 1 calls it the first use of deep hashing networks, and weak for hand-crafted features; it
    learns from pixels, only what it is compared with uses those.

Both networks are trained in turn so that inner products of their outputs explain which items share a label,
while one binary code per pair, in closed form the sign of their sum, pulls both outputs towards the same
corners.

`dcmh:cnn_f` fine-tunes CNN-F on pixels as the paper does; without `image_file` it starts from drawn weights.

Equations:
- the objective (eq. 1): \mathcal{J} = \sum_{ij} \left( \log(1 + e^{\theta_{ij}}) - S_{ij} \theta_{ij} \right)
    + \gamma \left( \lVert B - F \rVert_F^2 + \lVert B - G \rVert_F^2 \right)
    + \eta \left( \lVert F^\top \mathbf{1} \rVert^2 + \lVert G^\top \mathbf{1} \rVert^2 \right)
- agreement of two outputs: \theta_{ij} = \frac12 F_i^\top G_j
- what a batch I of the image network minimises: \mathcal{J}_I = \frac{1}{nb} \left(
    \sum_{i \in I} \sum_j \left( \log(1 + e^{\theta_{ij}}) - S_{ij} \theta_{ij} \right)
    + \gamma \sum_{i \in I} \lVert B_i - F_i \rVert^2 + \eta \lVert F^\top \mathbf{1} \rVert^2 \right)
- the codes, after both networks: B = \operatorname{sign}(\gamma (F + G))
where the rows of $F$ and $G$ are outputs of image and text network for all $n$ pairs, and $S_{ij}$ is 1 if
$i$ and $j$ share a label, else 0. In a batch only its own $b$ rows have gradients.

Differs from the paper: in the other variants supplied features stand for CNN-F; everything after its layer
full7 is unchanged. The order of updates is that of the authors' TensorFlow code (image, text, then B; their
MATLAB code has it the other way round). As in that code each batch is drawn from all pairs, and an epoch has
as many as fill the data once: visited in turn, all outputs that the balance term sums are an epoch old, and
it makes all codes swing to and fro (on `planted:syn` at the rate 5, MAP .34 for .49).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from diptych.data.base import Split
from diptych.nets.fronts import FromPixels
from diptych.nets.pairwise import likelihood, pair_labels, share_a_label, sign
from diptych.training.learner import Learner
from diptych.training.trainer import Trainer

__all__ = ["DCMH"]

# On few pairs. The paper's rate is for networks of 8,192 units and 500 epochs; larger ones of plain gradient
# descent diverge with long codes, as the gradient grows with the code.
_TINY: dict[str, Any] = {
    "image_hidden": 256,
    "text_hidden": 256,
    "epochs": 60,
    "batch_size": 64,
    "balance_weight": 0.01,
    "adam": True,
    "lr": 1e-2,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "tiny": {**_TINY, "bits": 16},
    "cnn_f": {"image_tower": "cnn_f"},
}
FEATURES: dict[str, str] = {"cnn_f": "image=pixels,text=bow"}
RECIPES: dict[str, dict[str, Any]] = {"syn": {**_TINY, "epochs": 100}}


@dataclass(kw_only=True, eq=False)
class DCMH(FromPixels, Learner):
    """Deep cross-modal hashing.

    Args:
        image_dim: Dimensions of the image features.
        text_dim: Words of the bag.
        classes: Label columns.
        bits: Code length c.
        image_hidden: Units between image features and code; 0 for none (features of full7 need none).
        text_hidden: Units of the text network's hidden layer.
        quantisation_weight: gamma in eq. 1.
        balance_weight: eta in eq. 1.
        final_lr: Learning rate of the last epoch; it falls in equal steps from `lr`.
        adam: Adam in place of plain gradient descent, for small data.
        image_tower, tower_units, image_file: Kind, units and published weights of a network on pixels that
            stands in place of features, see `diptych.nets.fronts`.
    """

    similarity = "hamming"

    image_dim: int = 4096
    text_dim: int = 1386
    classes: int = 24
    bits: int = 32
    image_hidden: int = 0
    text_hidden: int = 8192
    quantisation_weight: float = 1.0
    balance_weight: float = 1.0
    epochs: int = 500
    batch_size: int = 128
    lr: float = 10**-1.5
    final_lr: float = 1e-6
    adam: bool = False

    def __post_init__(self) -> None:
        tower, width = self.image_front(self.image_dim)
        head = _network(width, self.image_hidden, self.bits)
        self.image_net = head if tower is None else nn.Sequential(tower, head)
        self.text_net = _network(self.text_dim, self.text_hidden, self.bits)

    def terms(
        self, rows: Tensor, outputs: Tensor, own: Tensor, other: Tensor, codes: Tensor, similar: Tensor
    ) -> dict[str, Tensor]:
        """Eq. 1 on a batch, divided by batch size and number of pairs as in the authors' code.

        Args:
            rows: (b,) of the batch in the buffers.
            outputs: (b, c) F_i (or G_j) of the batch, with gradients.
            own: (n, c) buffer of the same network, which holds `outputs` in its rows already.
            other: (n, c) buffer of the other network.
            codes: (n, c) B.
            similar: (b, n) S of the batch with all pairs.
        """
        scale = 1 / (len(other) * len(rows))
        everything = own.sum(dim=0) - own[rows].sum(dim=0) + outputs.sum(dim=0)
        return {
            "likelihood": scale * likelihood(outputs, other, similar).sum(),
            "quantisation": scale * self.quantisation_weight * (codes[rows] - outputs).square().sum(),
            "balance": scale * self.balance_weight * everything.square().sum(),
        }

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """Algorithm 1: image network, text network, then B, once an epoch."""
        trainer = self.begin(split, trainer)
        labels = pair_labels(split, trainer.device)
        shape = (len(labels), self.bits)
        buffers = [torch.randn(shape, generator=trainer.generator).to(trainer.device) for _ in range(2)]
        codes = sign(buffers[0] + buffers[1])
        nets = (self.image_net, self.text_net)
        kind = torch.optim.Adam if self.adam else torch.optim.SGD
        optimizers = [kind(net.parameters(), lr=self.lr) for net in nets]
        for epoch in trainer.epochs(self.epochs, keep=(*nets, *optimizers, *buffers, codes)):
            for side in (0, 1):
                optimizers[side].param_groups[0]["lr"] = self._rate(epoch)
                for batch in trainer.batches(split, self.batch_size, anew=True):
                    outputs = nets[side]((batch.image, batch.text)[side])
                    buffers[side][batch.index] = outputs.detach()
                    similar = share_a_label(batch.label, labels)
                    terms = self.terms(batch.index, outputs, buffers[side], buffers[1 - side], codes, similar)
                    trainer.step(optimizers[side], terms)
            codes.copy_(sign(self.quantisation_weight * (buffers[0] + buffers[1])))
        return self

    def _rate(self, epoch: int) -> float:
        return self.lr + (self.final_lr - self.lr) * epoch / max(self.epochs - 1, 1)


def _network(inputs: int, hidden: int, bits: int) -> nn.Module:
    """Linear layers with weights and biases from N(0, 0.01^2), and no activation at the end."""
    layers = (
        [nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, bits)]
        if hidden
        else [nn.Linear(inputs, bits)]
    )
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=0.01)
    return nn.Sequential(*layers)
