r"""TEAM: Token Embeddings Alignment for Cross-Modal Retrieval (Xie et al., ACM MM 2022).

Paper: doi 10.1145/3503161.3548107, pages 4555-4563
Code: Eniac-Xie/TEAM@f65bcf7 (models/team.py, configs/pretrain_5m, utils/eval_utils.py)
Tables: 1 (which names masked modelling; the code has none)
Inputs: pictures and texts (variants raw, raw-tiny), or image features and text features
Learns from: pairs
Structure: apart
Representation: real-valued
Survey: Table 1: token embeddings that interact, an alignment block, and masked modelling, which its code
    does not have. Strength: explicit alignment makes similarity finer; weakness: computation.

Two towers give a global vector and tokens each. A stack of blocks rebuilds every word from the image's tokens
and scores a pair by how well the words are rebuilt. The global vectors search everything; the `rerank_depth`
best are ranked anew by the sum of the blocks' scores.

`team:raw` reads pixels in patches with DeiT's transformer and word pieces with BERT's, as the paper does;
`team` and `team:tiny` read features.

Equations:
- the objective: \mathcal{L} = \mathcal{L}_{\mathrm{global}} + \mathcal{L}_{\mathrm{token}}
- global vectors, against others of the batch: \mathcal{L}_{\mathrm{global}} = -\frac{1}{2b} \sum_i \left(
    \log \frac{\exp(e^a t_i^\top v_i)}{\sum_{j \notin O_i} \exp(e^a t_i^\top v_j)}
    + \log \frac{\exp(e^a t_i^\top v_i)}{\sum_{j \notin O_i} \exp(e^a t_j^\top v_i)} \right)
- the true pair against two false ones: \mathcal{L}_{\mathrm{token}} = -\frac1b \sum_l \sum_i \log
    \frac{\exp(e^b s_l(T_i, V_i))}{\sum_{(T, V) \in Q_i} \exp(e^b s_l(T, V))}
- how well the words are rebuilt: s_l(T, V) = \frac{1}{|T|} \sum_w \cos(W_1 r_{lw}, W_2 t_w)
- block l, from words and image: R = R_{l-1} + A(T + \bar{R}_{l-1}, T + \bar{R}_{l-1}, \bar{R}_{l-1}), \quad
    R' = R + A(T + \bar{R}, V, V)
- its perceptron, and the score of the second stage: R_l = R' + F(\bar{R'}), \quad s(T, V) = \sum_l s_l(T, V)
where $t_i$ and $v_i$ are global vectors at unit length, $O_i$ other captions of the same image, $T$ and $V$
the tokens of text and image, $Q_i$ holds the pair, its text with another image and its image with another
text (drawn the likelier the more alike they are), $r_{lw}$ the row of $R_l$ for word $w$ ($R_0 = 0$), $A$ is
attention (queries, keys, values), a bar normalises layers, and biases are left out.

Differs from the paper:
- In the variants that read features, a side's tokens come from its feature vector by a learned linear map,
  and a small transformer stands for BERT and the vision transformer.
- The variants that read pictures start from drawn weights (the code from DeiT's and BERT's), do not augment
  pictures, take pixels from -1 to 1 and learn their word pieces from the training texts unless
  `tokens@FOLDER` brings BERT's.
- Other texts of the same image are removed from the softmax of the global loss; `mask="zero"` sets their
  logits to 0 as the released code does.
- Adam instead of LAMB, as the batches are small, at a constant rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core import Floats, Rows
from diptych.data.base import InputKind, Split
from diptych.errors import BadParameter
from diptych.nets.scaling import fit_scaling
from diptych.nets.tokens import FeatureTokens, Patches, Words
from diptych.nets.transformer import Transformer
from diptych.training.learner import Learner
from diptych.training.trainer import Batch

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
    "raw": {"inputs": "raw"},
    "raw-tiny": {
        "inputs": "raw",
        "image_size": 32,
        "patch": 8,
        "text_length": 24,
        "vocabulary": 512,
        "width": 64,
        "layers": 1,
        "blocks": 2,
        "dim": 32,
        "dropout": 0.0,
        "epochs": 8,
        "batch_size": 32,
        "lr": 1e-3,
    },
}
FEATURES: Mapping[str, str] = {
    "raw": "image=pixels:256,text=tokens:30",
    "raw-tiny": "image=pixels:32,text=tokens:24",
}
RECIPES: Mapping[str, Mapping[str, Any]] = {}

_FLOATS = 2**28  # 1 GiB of image tokens at a time
_PAIRS = 2048  # scored at a time


@dataclass(kw_only=True, eq=False)
class TEAM(Learner):
    """Token embeddings alignment.

    Args:
        inputs: "features", or "raw" for pixels and word pieces.
        image_dim, text_dim: Dimensions of the input features.
        image_size, patch: Width and height of the pictures and of their patches.
        text_length, vocabulary: Word pieces of a text, and how many different ones there are.
        dim: Dimensions of the global vectors, and of the rebuilt words when they are compared.
        tokens: Tokens that features become, besides the global one.
        width: Of a token; a head has 64 of it.
        layers: Of each tower's transformer.
        blocks: Alignment blocks.
        dropout: In the blocks, and in the transformers of words and of features.
        scale: What a and b start from; e^-a is the temperature of the global loss, e^-b of the token loss.
        mask: "remove" or "zero", what becomes of other texts of the same image in the global loss.
        scaling: "none", "global" or "standard", see `diptych.nets.scaling`.
        rerank_depth: How many of the first stage's hits the blocks rank anew.

    Raises:
        BadParameter: another mask, other inputs, or patches that do not fill a picture.
    """

    image_net: _Tower = field(init=False, repr=False)
    text_net: _Tower = field(init=False, repr=False)

    inputs: str = "features"
    image_dim: int = 768
    text_dim: int = 768
    image_size: int = 256
    patch: int = 16
    text_length: int = 30
    vocabulary: int = 30522
    dim: int = 512
    tokens: int = 16
    width: int = 768
    layers: int = 12
    blocks: int = 6
    dropout: float = 0.1
    scale: float = 2.66
    mask: str = "remove"
    scaling: str = "standard"
    rerank_depth: int = 16
    epochs: int = 30
    batch_size: int = 240
    lr: float = 1e-4

    def __post_init__(self) -> None:
        if self.mask not in ("remove", "zero"):
            raise BadParameter(f"mask of TEAM must be remove or zero, not {self.mask!r}")
        if self.inputs not in ("features", "raw"):
            raise BadParameter(f"inputs of TEAM must be features or raw, not {self.inputs!r}")
        if self.inputs == "raw":
            self.image_net, self.text_net = self._picture_tower(), self._word_tower()
        else:
            self.image_net, self.text_net = map(self._feature_tower, (self.image_dim, self.text_dim))
        self.alignment = _Alignment(self.width, self.dim, self.blocks, self.dropout)
        self.scales = _Scales(self.scale)

    @property
    def reads(self) -> dict[str, InputKind]:
        """Pixels and tokens, or features."""
        if self.inputs == "raw":
            return {"image": "pixels", "text": "tokens"}
        return {"image": "features", "text": "features"}

    def _picture_tower(self) -> _Tower:
        patches = Patches(self.image_size, self.patch, self.width)
        heads = max(self.width // 64, 1)
        encoder = Transformer(self.width, self.layers, heads, norm_first=True)
        return _Tower(patches, encoder, self.width, self.dim)

    def _word_tower(self) -> _Tower:
        words = Words(self.vocabulary, self.text_length, self.width, self.dropout)
        heads = max(self.width // 64, 1)
        encoder = Transformer(self.width, self.layers, heads, norm_first=False, dropout=self.dropout)
        return _Tower(words, encoder, self.width, self.dim)

    def _feature_tower(self, inputs: int) -> _Tower:
        tokens = _LedTokens(inputs, self.tokens, self.width, self.scaling)
        heads = max(self.width // 64, 1)
        layer = nn.TransformerEncoderLayer(
            self.width, heads, 2 * self.width, self.dropout, activation="gelu", batch_first=True
        )
        norm = nn.LayerNorm(self.width)
        encoder = nn.TransformerEncoder(layer, self.layers, norm, enable_nested_tensor=False)
        return _Tower(tokens, encoder, self.width, self.dim)

    def study(self, split: Split) -> None:
        """Take the statistics of the training features."""
        if self.inputs == "features":
            fit_scaling(self.image_net, self.checked_inputs(split.image, "image"))
            fit_scaling(self.text_net, self.checked_inputs(split.text, "text"))

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
            padding = self.text_net.padding(batch.text)
            other = None if padding is None else padding[texts]
            scores = torch.stack(
                [
                    self.alignment(text, image, padding),
                    self.alignment(text, image[images], padding),
                    self.alignment(text[texts], image, other),
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

    def score_pairs(self, images: Sequence[Any], texts: Sequence[Any], pairs: Any) -> Floats:
        """Sum of the blocks' scores (p,) of the pairs (p, 2), image row and text row."""
        pairs = np.asarray(pairs, np.int64)
        pictures, texts = self.checked_inputs(images, "image"), self.checked_inputs(texts, "text")
        words = self.outputs(_States(self.text_net), texts)
        padding = self.text_net.padding(torch.from_numpy(texts))
        found = np.zeros(len(pairs), np.float32)
        # All image tokens of a large gallery together would fill the memory.
        step = max(1, _FLOATS // (self.image_net.count * self.width))
        for start in range(0, len(pictures), step):
            rows = np.flatnonzero(pairs[:, 0] // step == start // step)
            if len(rows):
                states = self.outputs(_States(self.image_net), pictures[start : start + step])
                near = pairs[rows] - (start, 0)
                found[rows] = self._aligned(states, words, padding, near)
        return found

    def _aligned(self, images: Floats, texts: Floats, padding: Tensor | None, pairs: Rows) -> Floats:
        """Scores (p,) of pairs (p, 2) of image tokens (n, m, width) and text tokens (k, l, width)."""
        mode = self.alignment.training
        self.alignment.eval()
        found = []
        with torch.no_grad():
            for part in np.array_split(pairs, max(1, -(-len(pairs) // _PAIRS))):
                image, text = (
                    torch.from_numpy(side[part[:, at]]).to(self.device)
                    for at, side in enumerate((images, texts))
                )
                empty = None if padding is None else padding[part[:, 1]].to(self.device)
                found.append(self.alignment(text, image, empty).sum(dim=0).float().cpu().numpy())
        self.alignment.train(mode)
        return np.concatenate(found)


class _Tower(nn.Module):
    """Tokens, a transformer over them, and a global vector from the first.

    Args:
        tokens: Turns the input into tokens, the global one first.
        encoder: The transformer.
        width, dim: Of a token, and of the global vector.
    """

    def __init__(
        self, tokens: _LedTokens | Patches | Words, encoder: nn.Module, width: int, dim: int
    ) -> None:
        super().__init__()
        self.tokens, self.encoder = tokens, encoder
        self.project = nn.Linear(width, dim, bias=False)

    @property
    def count(self) -> int:
        """Tokens of an input, the global one included."""
        return self.tokens.count if isinstance(self.tokens, Words) else 1 + self.tokens.count

    def padding(self, rows: Tensor) -> Tensor | None:
        """(b, l), True where there is no token; None if there always is one."""
        return self.tokens.padding(rows)

    def states(self, rows: Tensor) -> Tensor:
        """(b, ...) to (b, count, width), the global one first."""
        states: Tensor = self.encoder(self.tokens(rows), src_key_padding_mask=self.padding(rows))
        return states

    def vector(self, states: Tensor) -> Tensor:
        """The global vector (b, dim), of unit length."""
        return functional.normalize(self.project(states[:, 0]), dim=1)

    def forward(self, rows: Tensor) -> Tensor:
        return self.vector(self.states(rows))


class _LedTokens(FeatureTokens):
    """A feature vector as tokens behind one that is the same for all."""

    def __init__(self, inputs: int, tokens: int, width: int, scaling: str) -> None:
        super().__init__(inputs, tokens, width, scaling)
        self.first = nn.Parameter(0.02 * torch.randn(1, 1, width))

    def forward(self, rows: Tensor) -> Tensor:
        """(b, inputs) to (b, 1 + tokens, width)."""
        return torch.cat([self.first.expand(len(rows), 1, -1), super().forward(rows)], dim=1)


class _States(nn.Module):
    """A tower that gives its tokens."""

    def __init__(self, tower: _Tower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, rows: Tensor) -> Tensor:
        return self.tower.states(rows)


class _Scales(nn.Module):
    """The learnable scales e^a and e^b, at most 100; both start from e^start."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.full((2,), start))

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
    """Rebuilds the words R a little further: from each other, from the image, by themselves.

    As in the released code attention weights are not dropped, and what the perceptron says is dropped twice.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        heads = max(width // 64, 1)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own = nn.MultiheadAttention(width, heads, batch_first=True)
        self.across = nn.MultiheadAttention(width, heads, batch_first=True)
        self.forward_net = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
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
