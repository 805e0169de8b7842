"""TEAM: Token Embeddings Alignment for Cross-Modal Retrieval (Xie et al., ACM MM 2022).

Paper: doi 10.1145/3503161.3548107, pages 4555-4563
Code: Eniac-Xie/TEAM@f65bcf7 (models/team.py, configs/pretrain_5m, utils/eval_utils.py)
Tables: 1 (which names masked modelling; the code has none)
Inputs: image features and text features
Learns from: pairs

Two towers give a global vector and tokens each. A stack of blocks rebuilds every word from the image's tokens
and scores a pair by how well the words are rebuilt. The global vectors search everything; the `rerank_depth`
best are ranked anew by the sum of the blocks' scores.

Differs from the paper:
- A side's tokens come from its feature vector by a learned linear map, instead of patches and words; a small
  transformer stands for BERT and the vision transformer.
- Other texts of the same image are removed from the softmax of the global loss; `mask="zero"` sets their
  logits to 0 as the released code does.
- Adam instead of LAMB, as the batches are small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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

__all__ = ["TEAM"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "tiny": {
        "image_dim": 32,
        "text_dim": 24,
        "tokens": 4,
        "width": 64,
        "layers": 1,
        "blocks": 2,
        "dim": 32,
        "epochs": 12,
        "batch_size": 50,
        "lr": 1e-3,
    },
}
RECIPES: Mapping[str, Mapping[str, Any]] = {}


@dataclass(kw_only=True, eq=False)
class TEAM(Learner):
    """Token embeddings alignment.

    Args:
        image_dim, text_dim: Dimensions of the input features.
        dim: Dimensions of the global vectors, and of the rebuilt words when they are compared.
        tokens: Tokens a side, besides the global one.
        width: Of a token; a head has 64 of it.
        layers: Of each tower's transformer.
        blocks: Alignment blocks.
        dropout: In the blocks.
        mask: "remove" or "zero", what becomes of other texts of the same image in the global loss.
        scaling: "none", "global" or "standard", see `diptych.nets.scaling`.
        rerank_depth: How many of the first stage's hits the blocks rank anew.
    """

    image_net: _Tower = field(init=False, repr=False)
    text_net: _Tower = field(init=False, repr=False)

    image_dim: int = 768
    text_dim: int = 768
    dim: int = 512
    tokens: int = 16
    width: int = 768
    layers: int = 12
    blocks: int = 6
    dropout: float = 0.1
    mask: str = "remove"
    scaling: str = "standard"
    rerank_depth: int = 16
    epochs: int = 30
    batch_size: int = 240
    lr: float = 1e-4

    def __post_init__(self) -> None:
        if self.mask not in ("remove", "zero"):
            raise BadParameter(f"mask of TEAM must be remove or zero, not {self.mask!r}")
        self.image_net = _Tower(self.image_dim, self.dim, self.tokens, self.width, self.layers, self.scaling)
        self.text_net = _Tower(self.text_dim, self.dim, self.tokens, self.width, self.layers, self.scaling)
        self.alignment = _Alignment(self.width, self.dim, self.blocks, self.dropout)
        self.scales = _Scales()

    def prepare(self, split: Split) -> None:
        """Take the statistics of the training features."""
        fit_scaling(self.image_net, self.features(split.image, "image"))
        fit_scaling(self.text_net, self.features(split.text, "text"))

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """L_global and L_token."""
        image, text = self.image_net.states(batch.image), self.text_net.states(batch.text)
        v, t = self.image_net.vector(image), self.text_net.vector(text)
        logits = t @ v.T * self.scales.of(0)
        same = batch.image_row[:, None] == batch.image_row[None]
        terms = {"global": global_loss(logits, same, self.mask)}
        found = self._negatives(logits, same)
        if found is not None:
            images, texts = found
            scores = torch.stack(
                [
                    self.alignment(text, image),
                    self.alignment(text, image[images]),
                    self.alignment(text[texts], image),
                ],
                dim=-1,
            )
            terms["token"] = token_loss(scores, self.scales.of(1))
        return terms

    def _negatives(self, logits: Tensor, same: Tensor) -> tuple[Tensor, Tensor] | None:
        """For each text another image, for each image another text, the more alike the likelier.

        None if the batch holds one image only.
        """
        if bool(same.all(dim=1).any()):
            return None
        with torch.no_grad():
            closed = logits.masked_fill(same, -torch.inf)
            drawn = [torch.multinomial(part.softmax(dim=1), 1)[:, 0] for part in (closed, closed.T)]
        return drawn[0], drawn[1]

    def score(self, images: Sequence[Any], texts: Sequence[Any]) -> Floats:
        """Sum of the blocks' scores of every pair, (n_images, n_texts)."""
        rows, columns = np.divmod(np.arange(len(images) * len(texts)), max(len(texts), 1))
        pairs = np.stack([rows, columns], axis=1)
        return self.score_pairs(images, texts, pairs).reshape(len(images), len(texts))

    def score_pairs(self, images: Sequence[Any], texts: Sequence[Any], pairs: Any) -> Floats:
        """Sum of the blocks' scores (p,) of the pairs (p, 2), image row and text row."""
        states = [
            self.outputs(_States(net), self.features(value, side))
            for net, value, side in ((self.image_net, images, "image"), (self.text_net, texts, "text"))
        ]
        modes = self.alignment.training
        self.alignment.eval()
        found = [np.zeros(0, np.float32)]
        with torch.no_grad():
            for part in np.array_split(pairs, max(1, -(-len(pairs) // 2048))):
                image, text = (torch.from_numpy(side[part[:, at]]) for at, side in enumerate(states))
                sums = self.alignment(text.to(self.device), image.to(self.device)).sum(dim=0)
                found.append(sums.float().cpu().numpy())
        self.alignment.train(modes)
        return np.concatenate(found)


class _Tower(nn.Module):
    """A feature vector as tokens, a transformer over them, and a global vector from the first."""

    def __init__(self, inputs: int, dim: int, tokens: int, width: int, layers: int, scaling: str) -> None:
        super().__init__()
        self.tokens, self.width = tokens, width
        self.scaling = Scaling(inputs, scaling)
        self.split = nn.Linear(inputs, tokens * width)
        self.first = nn.Parameter(0.02 * torch.randn(1, 1, width))
        layer = nn.TransformerEncoderLayer(
            width, max(width // 64, 1), 2 * width, dropout=0.0, activation="gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.project = nn.Linear(width, dim, bias=False)

    def states(self, rows: Tensor) -> Tensor:
        """(b, inputs) to (b, 1 + tokens, width), the global one first."""
        tokens = self.split(self.scaling(rows)).view(len(rows), self.tokens, self.width)
        states: Tensor = self.encoder(torch.cat([self.first.expand(len(rows), 1, -1), tokens], dim=1))
        return states

    def vector(self, states: Tensor) -> Tensor:
        """The global vector (b, dim), of unit length."""
        return functional.normalize(self.project(states[:, 0]), dim=1)

    def forward(self, rows: Tensor) -> Tensor:
        return self.vector(self.states(rows))


class _States(nn.Module):
    """A tower that gives its tokens."""

    def __init__(self, tower: _Tower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, rows: Tensor) -> Tensor:
        return self.tower.states(rows)


class _Scales(nn.Module):
    """The learnable scales e^a and e^b, at most 100."""

    def __init__(self) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.full((2,), 2.66))

    def of(self, which: int) -> Tensor:
        """e^a (0) or e^b (1)."""
        return self.log[which].exp().clamp(max=100)


class _Alignment(nn.Module):
    """The stack of blocks; all compare words through the same two projections."""

    def __init__(self, width: int, dim: int, blocks: int, dropout: float) -> None:
        super().__init__()
        made = [_Block(width, dropout) for _ in range(blocks)]
        # The first block normalises the state 0, of which no weight makes anything.
        made[0].starts_from_nothing()
        self.blocks = nn.ModuleList(made)
        self.rebuilt, self.word = nn.Linear(width, dim), nn.Linear(width, dim)

    def forward(self, text: Tensor, image: Tensor, padding: Tensor | None = None) -> Tensor:
        """Scores (blocks, b) of pairs.

        Args:
            text: (b, l, width) tokens T.
            image: (b, m, width) tokens V.
            padding: (b, l), True where there is no word.
        """
        state, scores, words = torch.zeros_like(text), [], self.word(text)
        for block in self.blocks:
            state = block(state, text, image, padding)
            scores.append(word_score(self.rebuilt(state), words, padding))
        return torch.stack(scores)


class _Block(nn.Module):
    """Rebuilds the words R a little further: from each other, from the image, by themselves."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        heads = max(width // 64, 1)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.across = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.forward_net = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )
        self.drop = nn.Dropout(dropout)

    def starts_from_nothing(self) -> None:
        """Fix the weight that scales a normalised state of zeros."""
        next(self.norms[0].parameters()).requires_grad_(False)

    def forward(self, state: Tensor, text: Tensor, image: Tensor, padding: Tensor | None) -> Tensor:
        normed = self.norms[0](state)
        query = text + normed
        attended = self.own(query, query, normed, key_padding_mask=padding, need_weights=False)[0]
        state = state + self.drop(attended)
        seen = self.across(text + self.norms[1](state), image, image, need_weights=False)[0]
        state = state + self.drop(seen)
        added: Tensor = state + self.drop(self.forward_net(self.norms[2](state)))
        return added


def word_score(rebuilt: Tensor, words: Tensor, padding: Tensor | None = None) -> Tensor:
    """s (b,): mean cosine of rebuilt and real words (b, l, d), without padding (b, l)."""
    cosine = functional.cosine_similarity(rebuilt, words, dim=-1)
    if padding is None:
        return cosine.mean(dim=1)
    real = (~padding).to(cosine)
    return (cosine * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)


def global_loss(logits: Tensor, same: Tensor, mask: str) -> Tensor:
    """Mean of both directions' cross-entropy.

    Args:
        logits: (b, b), texts by images.
        same: (b, b), True where two pairs have one image; those beside the diagonal are no negatives.
        mask: "remove" takes them out, "zero" makes their logits 0.
    """
    others = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    logits = logits.masked_fill(others, -torch.inf if mask == "remove" else 0.0)
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def token_loss(scores: Tensor, scale: Tensor | float) -> Tensor:
    """Summed over blocks: the true pair against one with another image and one with another text.

    Args:
        scores: (blocks, b, 3), the true pair first.
        scale: e^b.
    """
    return -(scores * scale).log_softmax(dim=-1)[..., 0].mean(dim=1).sum()
