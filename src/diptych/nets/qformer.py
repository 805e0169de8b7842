"""The Q-Former of BLIP-2 (Li et al., ICML 2023, section 3.1): queries that read a picture, beside a text.

Queries and words share the self-attention of each layer but have a perceptron each; every second layer lets
the queries look at the picture. Who sees whom is the matter of a mask.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.errors import BadParameter
from diptych.nets.masking import there

__all__ = ["Mask", "QFormer"]

Mask = Literal["apart", "together", "causal"]
"""Contrast: queries and words do not see each other. Matching: all see all. Captioning: queries see queries,
words see queries and the words before them."""


class QFormer(nn.Module):
    """Learned queries over a picture, and words.

    Args:
        seen: Numbers of a token of the picture.
        pieces: Word pieces, that which begins a caption included.
        queries: How many.
        width, layers, heads: Of the transformer.
        every: In each so-manieth layer, from the first, the queries look at the picture.
        length: Word pieces of a text, at most.
        dropout: In every layer, and of what comes in.

    Raises:
        BadParameter: heads that do not divide the width.
    """

    def __init__(
        self,
        *,
        seen: int,
        pieces: int,
        queries: int = 32,
        width: int = 768,
        layers: int = 12,
        heads: int = 12,
        every: int = 2,
        length: int = 32,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if width % heads:
            raise BadParameter(f"{heads} heads do not divide a width of {width}", argument="settings")
        self.queries = nn.Parameter(0.02 * torch.randn(queries, width))
        self.words, self.place = nn.Embedding(pieces, width), nn.Embedding(length, width)
        for table in (self.words, self.place):
            nn.init.normal_(table.weight, std=0.02)
        self.query_norm, self.word_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            _Layer(width, heads, seen if at % every == 0 else 0, dropout) for at in range(layers)
        )

    def forward(
        self, picture: Tensor | None, text: Tensor | None, mask: Mask = "apart"
    ) -> tuple[Tensor | None, Tensor | None]:
        """States of the queries (b, queries, width), and of the words (b, length, width); None for none.

        Args:
            picture: (b, tokens, seen).
            text: (b, length) numbers of word pieces, 0 behind.
            mask: Who sees whom.
        """
        parts, keys = [], []
        if picture is not None:
            asked = self.drop(self.query_norm(self.queries)).expand(len(picture), -1, -1)
            parts.append(asked)
            keys.append(torch.ones(asked.shape[:2], dtype=torch.bool, device=asked.device))
        count = parts[0].shape[1] if parts else 0
        if text is not None:
            placed = self.words(text) + self.place.weight[: text.shape[1]]
            parts.append(self.drop(self.word_norm(placed)))
            keys.append(there(text))
        x, known = torch.cat(parts, dim=1), torch.cat(keys, dim=1)
        sees = known[:, None, :] & _sees(count, x.shape[1] - count, mask, x.device)
        for layer in self.layers:
            x = layer(x, sees[:, None], picture, count)
        return (x[:, :count] if count else None), (x[:, count:] if text is not None else None)


def _sees(queries: int, words: int, mask: Mask, device: torch.device) -> Tensor:
    """(n, n), True where the token of a line sees that of a column."""
    total = queries + words
    sees = torch.ones(total, total, dtype=torch.bool, device=device)
    if mask != "together":
        sees[:queries, queries:] = False
    if mask == "apart":
        sees[queries:, :queries] = False
    if mask == "causal":
        sees[queries:, queries:] = torch.ones(words, words, dtype=torch.bool, device=device).tril()
    return sees


class _Layer(nn.Module):
    """BERT's layer with a perceptron for each kind of token, and a look at the picture for the queries.

    Args:
        width, heads: Of the layer.
        seen: Numbers of a token of the picture; 0 for a layer that does not look.
        dropout: Of each part.
    """

    def __init__(self, width: int, heads: int, seen: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.own, self.own_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.own_norm = nn.LayerNorm(width)
        self.looks = seen > 0
        if self.looks:
            self.ask, self.told = nn.Linear(width, width), nn.Linear(seen, 2 * width)
            self.look_out, self.look_norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.of_queries, self.of_words = _Perceptron(width, dropout), _Perceptron(width, dropout)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, sees: Tensor, picture: Tensor | None, count: int) -> Tensor:
        """(b, n, width) to the same; the first `count` are queries."""
        query, key, value = (self._parted(part) for part in self.own(x).chunk(3, dim=2))
        told = functional.scaled_dot_product_attention(query, key, value, attn_mask=sees)
        x = self.own_norm(x + self.drop(self.own_out(told.transpose(1, 2).flatten(2))))
        asked, words = x[:, :count], x[:, count:]
        if self.looks and picture is not None:
            keys, values = (self._parted(part) for part in self.told(picture).chunk(2, dim=2))
            seen = functional.scaled_dot_product_attention(self._parted(self.ask(asked)), keys, values)
            asked = self.look_norm(asked + self.drop(self.look_out(seen.transpose(1, 2).flatten(2))))
        parts = [self.of_queries(asked)] if count else []
        return torch.cat([*parts, self.of_words(words)] if words.shape[1] else parts, dim=1)

    def _parted(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)


class _Perceptron(nn.Module):
    """BERT's two layers with GELU, added and normalised."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm, self.drop = nn.LayerNorm(width), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, width) to the same."""
        found: Tensor = self.norm(x + self.drop(self.outer(functional.gelu(self.inner(x)))))
        return found
