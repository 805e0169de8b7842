"""IEFT: Interacting-Enhancing Feature Transformer for Cross-Modal Retrieval (Tang et al., IEEE TGRS 2023).

Paper: "... for Cross-Modal Remote-Sensing Image and Text Retrieval", IEEE TGRS 2023
Code: TangXu-Group/Cross-modal-remote-sensing-image-and-text-retrieval-models@8475de0 (folder IEFT)
Tables: 1 (which describes two streams; the code is a single one)
Inputs: image features and text features
Learns from: pairs

One transformer reads words and patches together and scores the pair; there is no vector of either side, so it
can only rank what something else has found. Before three of its blocks the patches are enhanced: attention
between their channels, then a gated depth-wise convolution over their grid.

Differs from the paper:
- Patches and words come from feature vectors by learned linear maps, instead of pixels and word pieces, so
  that the patches have the places of a grid but not its meaning.
- Only the blocks that are used exist (the code builds twelve and runs six), and patches keep their order (the
  code shuffles them at every call).
- False captions are the other captions of a batch; those of the same image are no false ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core import Floats
from diptych.data.base import Split
from diptych.errors import BadParameter
from diptych.learner import Learner
from diptych.nets.scaling import Scaling, fit_scaling
from diptych.trainer import Batch

__all__ = ["IEFT"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "tiny": {
        "image_dim": 32,
        "text_dim": 24,
        "grid": 3,
        "words": 4,
        "width": 48,
        "heads": 3,
        "channel_heads": 3,
        "blocks": 3,
        "enhanced": 1,
        "false_texts": 7,
        "epochs": 15,
        "batch_size": 40,
        "lr": 2e-3,
    },
}
RECIPES: Mapping[str, Mapping[str, Any]] = {}

_PAIRS = 1024  # scored at a time


@dataclass(kw_only=True, eq=False)
class IEFT(Learner):
    """Interacting-enhancing feature transformer, a scorer of pairs.

    Args:
        image_dim, text_dim: Dimensions of the input features.
        grid: Side of the square of patches.
        words: Words a text becomes.
        width: Of a token.
        heads: Of the blocks' attention.
        channel_heads: Of the attention between channels; divides grid squared.
        blocks: Transformer blocks.
        enhanced: Blocks 1 to this many get enhanced patches.
        expansion: Width of the gated convolution, in widths of a token.
        false_texts: Random captions that each image must tell its own from.
        dropout: Everywhere.
        scaling: "none", "global" or "standard", see `diptych.nets.scaling`.

    Raises:
        BadParameter: heads that do not divide what they share, or more enhanced blocks than there are.
    """

    image_dim: int = 768
    text_dim: int = 768
    grid: int = 12
    words: int = 40
    width: int = 768
    heads: int = 12
    channel_heads: int = 12
    blocks: int = 6
    enhanced: int = 3
    expansion: float = 2.66
    false_texts: int = 15
    dropout: float = 0.1
    scaling: str = "standard"
    epochs: int = 50
    batch_size: int = 256
    lr: float = 1e-4

    def __post_init__(self) -> None:
        patches = self.grid**2
        if self.width % self.heads or patches % self.channel_heads or self.enhanced >= self.blocks:
            raise BadParameter(
                f"IEFT needs heads that divide width, channel_heads that divide grid squared ({patches}) and "
                f"enhanced below blocks, not {self.heads}, {self.channel_heads} and {self.enhanced}"
            )
        self.image_net = _Tokens(self.image_dim, patches, self.width, self.scaling)
        self.text_net = _Tokens(self.text_dim, self.words, self.width, self.scaling)
        self.joint = _Joint(self)

    def prepare(self, split: Split) -> None:
        """Take the statistics of the training features."""
        fit_scaling(self.image_net, self.features(split.image, "image"))
        fit_scaling(self.text_net, self.features(split.text, "text"))

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW, without decay of biases and normalisation."""
        decayed = [p for p in self.trainable() if p.ndim > 1]
        plain = [p for p in self.trainable() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=self.lr, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01)

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of each image's own caption against random others."""
        same = batch.image_row[:, None] == batch.image_row[None]
        others = torch.where(same, -1.0, torch.rand(same.shape, device=same.device))
        count = min(self.false_texts, int((~same).sum(dim=1).min()))
        texts = torch.cat([torch.arange(len(same))[:, None].to(same.device), others.topk(count, dim=1)[1]], 1)
        images = torch.arange(len(same), device=same.device)[:, None].expand_as(texts)
        patches, words = self.image_net(batch.image), self.text_net(batch.text)
        scores = self.joint(patches[images.reshape(-1)], words[texts.reshape(-1)]).view(texts.shape)
        return {"rank": rank_loss(scores)}

    @property
    def encode_image(self) -> NoReturn:
        """There is none: both sides are read together."""
        raise AttributeError("IEFT has no vector of one side; use score")

    @property
    def encode_text(self) -> NoReturn:
        """There is none: both sides are read together."""
        raise AttributeError("IEFT has no vector of one side; use score")

    def score(self, images: Sequence[Any], texts: Sequence[Any]) -> Floats:
        """Score of every pair, (n_images, n_texts) float32."""
        rows, columns = np.divmod(np.arange(len(images) * len(texts)), max(len(texts), 1))
        scored = self.score_pairs(images, texts, np.stack([rows, columns], axis=1))
        return scored.reshape(len(images), len(texts))

    def score_pairs(self, images: Sequence[Any], texts: Sequence[Any], pairs: Any) -> Floats:
        """Scores (p,) of the pairs (p, 2), image row and text row."""
        patches, words = (
            self.outputs(net, self.features(value, side))
            for net, value, side in ((self.image_net, images, "image"), (self.text_net, texts, "text"))
        )
        mode = self.joint.training
        self.joint.eval()
        found = [np.zeros(0, np.float32)]
        with torch.no_grad():
            for part in np.array_split(np.asarray(pairs), max(1, -(-len(pairs) // _PAIRS))):
                both = (torch.from_numpy(side[part[:, at]]) for at, side in enumerate((patches, words)))
                scores = self.joint(*(side.to(self.device) for side in both))
                found.append(scores.float().cpu().numpy())
        self.joint.train(mode)
        return np.concatenate(found)


class _Tokens(nn.Module):
    """A feature vector as tokens."""

    def __init__(self, inputs: int, tokens: int, width: int, scaling: str) -> None:
        super().__init__()
        self.scaling, self.tokens, self.width = Scaling(inputs, scaling), tokens, width
        self.split = nn.Linear(inputs, tokens * width)

    def forward(self, rows: Tensor) -> Tensor:
        """(b, inputs) to (b, tokens, width)."""
        tokens: Tensor = self.split(self.scaling(rows))
        return tokens.view(len(rows), self.tokens, self.width)


class _Joint(nn.Module):
    """Words and patches through one transformer, and the score of the first word."""

    def __init__(self, system: IEFT) -> None:
        super().__init__()
        width, patches = system.width, system.grid**2
        self.words, self.enhanced = system.words, system.enhanced
        self.place = nn.Parameter(0.02 * torch.randn(1, system.words + 1 + patches, width))
        self.kind = nn.Parameter(0.02 * torch.randn(2, width))
        self.first = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.blocks = nn.ModuleList(block(width, system.heads, system.dropout) for _ in range(system.blocks))
        self.enhance = nn.ModuleList(Enhance(system) for _ in range(system.enhanced))
        self.norm = nn.LayerNorm(width)
        self.pool = nn.Linear(width, width)
        self.rank = nn.Linear(width, 1)

    def forward(self, patches: Tensor, words: Tensor) -> Tensor:
        """Scores (b,) of patches (b, grid^2, width) with words (b, words, width)."""
        image = torch.cat([self.first.expand(len(patches), 1, -1), patches], dim=1) + self.kind[1]
        x = torch.cat([words + self.kind[0], image], dim=1) + self.place
        start = self.words + 1
        for number, layer in enumerate(self.blocks):
            if 1 <= number <= self.enhanced:
                x = torch.cat([x[:, :start], self.enhance[number - 1](x[:, start:])], dim=1)
            x = layer(x)
        pooled = torch.tanh(self.pool(self.norm(x[:, 0])))
        score: Tensor = self.rank(pooled)[:, 0]
        return score


class Enhance(nn.Module):
    """Attention between channels, then a gated depth-wise convolution over the grid, both residual."""

    def __init__(self, system: IEFT) -> None:
        super().__init__()
        self.grid = system.grid
        self.channels = block(system.grid**2, system.channel_heads, system.dropout)
        self.norm = nn.LayerNorm(system.width)
        self.gate = GatedConvolution(system.width, system.expansion)

    def forward(self, patches: Tensor) -> Tensor:
        """(b, grid^2, width) to the same."""
        patches = self.channels(patches.transpose(1, 2)).transpose(1, 2)
        square = self.norm(patches).transpose(1, 2).unflatten(2, (self.grid, self.grid))
        enhanced: Tensor = patches + self.gate(square).flatten(2).transpose(1, 2)
        return enhanced


class GatedConvolution(nn.Module):
    """GDFN of Restormer: expand, convolve each channel, let one half gate the other, project back."""

    def __init__(self, width: int, expansion: float) -> None:
        super().__init__()
        hidden = int(width * expansion)
        self.expand = nn.Conv2d(width, 2 * hidden, 1, bias=False)
        self.depthwise = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project = nn.Conv2d(hidden, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(b, width, h, w) to the same."""
        first, second = self.depthwise(self.expand(x)).chunk(2, dim=1)
        projected: Tensor = self.project(functional.gelu(first) * second)
        return projected


def block(width: int, heads: int, dropout: float) -> nn.Module:
    """A transformer block of a vision transformer: normalisation first, GELU, four times as wide inside."""
    return nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
    )


def rank_loss(scores: Tensor) -> Tensor:
    """Cross-entropy of the first of each row's scores (b, 1 + false captions)."""
    return functional.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long, device=scores.device))
