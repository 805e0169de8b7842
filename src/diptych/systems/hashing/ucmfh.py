r"""UCMFH: When CLIP meets cross-modal hashing retrieval: A new strong baseline (Xia et al., 2023).

Paper: Information Fusion 100, doi 10.1016/j.inffus.2023.101968
Code: XinyuXia97/UCMFH@116f015 (ICMR.py, model.py, metric.py, evaluate.py)
Tables: survey section 2.4, described without a citation and without numbers
Inputs: image features, text features (the paper: 512-d CLIP vectors of both)
Learns from: pairs
Structure: apart
Representation: binary
Survey: described in section 2.4 without citation; neither in Table 1 nor in Table 3.

A transformer fuses the two vectors of a pair, joined to one token; one contrastive loss aligns the fused
halves, another the codes that two heads make of them. No label is seen.

Equations:
- the objective: \mathcal{L} = \ell(F^v, F^t) + \beta \ell(H^v, H^t)
- contrast of both views together: \ell(X, Y) = -\frac{1}{2b} \sum_{i=1}^{2b}
    \log \frac{\exp(\cos(z_i, z_{p(i)}) / \tau)}{\sum_{k \ne i} \exp(\cos(z_i, z_k) / \tau)}
- one token a pair, fused: (F^v, F^t) = \frac{T(x, y)}{\lVert T(x, y) \rVert}
- how an item is encoded: h(x) = H^v(F^v(x, 0)), \quad h(y) = H^t(F^t(0, y))
where $z$ are the rows of $X$ and then those of $Y$, $p(i)$ is the other view of $i$, $T$ the transformer, $H$
the heads with their codes of unit length, and $\beta$ is `code_weight`.

Differs from the paper: an item is encoded with the other half of its token zero, where the released code
encodes every query together with its own partner and so looks at the answer; `encode_pair` reproduces that.
One token is one sequence in training and in use, where the released evaluation mixes up batch and sequence.
Features of other widths than half a token go through fixed random projections.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core import Floats
from diptych.data.base import Split
from diptych.training.learner import Learner
from diptych.training.trainer import Batch, Trainer

__all__ = ["UCMFH"]

VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "tiny": {"half": 64, "feed_forward": 256, "hidden": 512, "bits": 16, "batch_size": 80, "epochs": 25},
}
RECIPES: dict[str, dict[str, Any]] = {
    "syn": {"half": 64, "feed_forward": 256, "hidden": 512, "batch_size": 80, "epochs": 25},
    "nus_wide": {"epochs": 150},
    "ms_coco": {"epochs": 500, "rate_steps": (200,), "rate_factor": 0.6},
}


@dataclass(kw_only=True, eq=False)
class UCMFH(Learner):
    """Unsupervised contrastive multi-modal fusion hashing.

    Args:
        image_dim: Dimensions of the image features.
        text_dim: Dimensions of the text features.
        bits: Code length c.
        half: Half the width of a token.
        layers: Of the transformer.
        heads: Of its attention.
        feed_forward: Width of its feed-forward blocks.
        hidden: Width of the hash heads.
        temperature: Of both contrastive losses.
        code_weight: Weight of the contrastive loss of the codes.
        fusion_lr: Learning rate of the transformer; `lr` is that of the heads.
        rate_steps: Steps at which the heads' rate is multiplied by `rate_factor`.
        rate_factor: See there.
    """

    similarity = "hamming"

    image_net: _Tower = field(init=False, repr=False)
    text_net: _Tower = field(init=False, repr=False)

    image_dim: int = 512
    text_dim: int = 512
    bits: int = 32
    half: int = 512
    layers: int = 2
    heads: int = 4
    feed_forward: int = 2048
    hidden: int = 4096
    temperature: float = 0.5
    code_weight: float = 0.5
    fusion_lr: float = 1e-4
    rate_steps: tuple[int, ...] = (30, 80)
    rate_factor: float = 1.2
    epochs: int = 100
    batch_size: int = 128
    lr: float = 1e-3

    def __post_init__(self) -> None:
        layer = nn.TransformerEncoderLayer(2 * self.half, self.heads, self.feed_forward, batch_first=True)
        fusion = nn.TransformerEncoder(layer, self.layers, enable_nested_tensor=False)
        self.image_net = _Tower(fusion, self.image_dim, self.half, self.hidden, self.bits, side=0)
        self.text_net = _Tower(fusion, self.text_dim, self.half, self.hidden, self.bits, side=1)

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """Contrast of the fused halves, and of the codes."""
        image, text = self.fused(batch.image, batch.text)
        codes = self.image_net.head(image), self.text_net.head(text)
        return {
            "fusion": contrast(image, text, self.temperature),
            "hash": self.code_weight * contrast(*codes, self.temperature),
        }

    def fused(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """The two halves (b, half) of each pair's token after the transformer, the token of unit length."""
        token = torch.cat([self.image_net.enter(image), self.text_net.enter(text)], dim=1)
        return self.image_net.through(token)

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """Adam on transformer and heads; the rate of the heads changes at given steps, not epochs."""
        trainer = self.begin(split, trainer)
        nets = (self.image_net, self.text_net)
        heads = [parameter for net in nets for parameter in net.head.parameters()]
        groups = [
            {"params": list(self.image_net.fusion.parameters()), "lr": self.fusion_lr},
            {"params": heads, "lr": self.lr},
        ]
        optimizer = torch.optim.Adam(groups, betas=(0.5, 0.999))
        whole = len(split.pairs) >= self.batch_size
        for _ in trainer.epochs(self.epochs, keep=(*nets, optimizer)):
            for batch in trainer.batches(split, self.batch_size, drop_last=whole):
                trainer.step(optimizer, self.objective(batch))
                if trainer.steps in self.rate_steps:
                    optimizer.param_groups[1]["lr"] *= self.rate_factor
        return self

    def encode_pair(self, images: Any, texts: Any) -> tuple[Floats, Floats]:
        """Codes (n, bits) of the image and of the text of each pair, each encoded together with its partner.

        What the released evaluation does with queries, too. Not cross-modal retrieval: a query's code then
        depends on the very item that is to be found.
        """
        rows = [
            torch.from_numpy(np.asarray(self.checked_inputs(value, side))).to(self.device)
            for value, side in ((images, "image"), (texts, "text"))
        ]
        self.image_net.eval()
        self.text_net.eval()
        with torch.no_grad():
            halves = self.fused(rows[0], rows[1])
            found = self.image_net.head(halves[0]), self.text_net.head(halves[1])
        return self.as_vectors(found[0].cpu().numpy()), self.as_vectors(found[1].cpu().numpy())


class _Tower(nn.Module):
    """One side: its place in the token, the transformer that both share, and its head."""

    projection: Tensor

    def __init__(
        self, fusion: nn.Module, inputs: int, half: int, hidden: int, bits: int, *, side: int
    ) -> None:
        super().__init__()
        self.fusion, self.side, self.width = fusion, side, half
        self.head = _Head(half, hidden, bits)
        # Columns of about unit length, so that a projection keeps the scale of its features.
        fixed = torch.eye(half) if inputs == half else torch.randn(inputs, half) / half**0.5
        self.register_buffer("projection", fixed)

    def enter(self, rows: Tensor) -> Tensor:
        """(b, inputs) to this side's half of the token."""
        return rows @ self.projection

    def through(self, token: Tensor) -> tuple[Tensor, Tensor]:
        """Each token as a sequence of its own, so that no item sees another."""
        fused = functional.normalize(self.fusion(token[:, None])[:, 0], dim=1)
        return fused[:, : self.width], fused[:, self.width :]

    def forward(self, rows: Tensor) -> Tensor:
        """(b, inputs) to (b, bits), the partner's half being zero."""
        own = self.enter(rows)
        other = torch.zeros_like(own)
        token = torch.cat([other, own] if self.side else [own, other], dim=1)
        code: Tensor = self.head(self.through(token)[self.side])
        return code


class _Head(nn.Module):
    """Half a token to a code of unit length."""

    def __init__(self, inputs: int, hidden: int, bits: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(0.3), nn.Linear(hidden, bits), nn.Tanh()
        )

    def forward(self, rows: Tensor) -> Tensor:
        return functional.normalize(self.layers(functional.normalize(rows, dim=1)), dim=1)


def contrast(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """NT-Xent (Chen et al., ICML 2020, eq. 1) over both views together.

    Args:
        first, second: (b, d); row i of one belongs to row i of the other, and all 2b - 2 others do not.
        temperature: Divides the cosines.
    """
    rows = functional.normalize(torch.cat([first, second]), dim=1)
    logits = (rows @ rows.T / temperature).fill_diagonal_(-torch.inf)
    count = len(first)
    partner = torch.arange(2 * count, device=rows.device).roll(count)
    return functional.cross_entropy(logits, partner)
