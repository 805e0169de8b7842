"""What transformers read: a picture as patches, a text as words, or a feature vector as pieces.

Each front end turns a side's input into tokens (b, n, width) and knows which of them are padding. `Patches`
and `Words` do it in two steps, so that a system can hide tokens in between: `tokens` embeds, `placed` says
where each is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diptych.errors import BadParameter
from diptych.nets.scaling import Scaling

__all__ = ["FeatureTokens", "Patches", "Words"]


class FeatureTokens(nn.Module):
    """A feature vector as tokens, by one learned linear map.

    Args:
        inputs: Features.
        tokens: How many tokens they become.
        width: Of a token.
        scaling: See `diptych.nets.scaling`.
    """

    def __init__(self, inputs: int, tokens: int, width: int, scaling: str = "none") -> None:
        super().__init__()
        self.scaling, self.count, self.width = Scaling(inputs, scaling), tokens, width
        self.split = nn.Linear(inputs, tokens * width)

    def forward(self, rows: Tensor) -> Tensor:
        """(b, inputs) to (b, tokens, width)."""
        tokens: Tensor = self.split(self.scaling(rows))
        return tokens.view(len(rows), self.count, self.width)

    def padding(self, rows: Tensor) -> Tensor | None:
        """None: every token means something."""
        return None


class Patches(nn.Module):
    """A picture cut into square patches, row by row from above, behind a token for all of it (ViT).

    Args:
        size: Width and height of the picture.
        patch: Of a patch.
        width: Of a token.
        dropout: Of the tokens.

    Raises:
        BadParameter: the patches do not fill the picture.
    """

    def __init__(self, size: int, patch: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        if patch < 1 or size < 1 or size % patch:
            raise BadParameter(
                f"pictures of {size} x {size} pixels cannot be cut into patches of {patch}; "
                "choose a patch that divides it, or read pictures of another size (extractor pixels:SIZE)",
                argument="settings",
            )
        self.size, self.patch, self.count = size, patch, (size // patch) ** 2
        self.embed = nn.Linear(3 * patch * patch, width)
        # The first place is the token for the whole picture: that token and its place are one vector.
        self.place = nn.Parameter(0.02 * torch.randn(1 + self.count, width))
        self.drop = nn.Dropout(dropout)

    def pieces(self, pixels: Tensor) -> Tensor:
        """(b, 3, size, size) uint8 to (b, count, 3 * patch * patch) in -1..1.

        Raises:
            BadParameter: pictures of another size.
        """
        if tuple(pixels.shape[1:]) != (3, self.size, self.size):
            raise BadParameter(
                f"this network sees 3 x {self.size} x {self.size} pixels, not {tuple(pixels.shape[1:])}"
            )
        cut = pixels.unfold(2, self.patch, self.patch).unfold(3, self.patch, self.patch)
        ordered = cut.permute(0, 2, 3, 1, 4, 5)  # (b, rows, columns, 3, patch, patch)
        return ordered.reshape(len(pixels), self.count, self.embed.in_features).float() / 127.5 - 1

    def tokens(self, pixels: Tensor) -> Tensor:
        """(b, 3, size, size) uint8 to (b, count, width), without places."""
        tokens: Tensor = self.embed(self.pieces(pixels))
        return tokens

    def placed(self, tokens: Tensor) -> Tensor:
        """(b, count, width) to (b, 1 + count, width), the whole picture's first."""
        whole = torch.zeros_like(tokens[:, :1])
        placed: Tensor = self.drop(torch.cat([whole, tokens], dim=1) + self.place)
        return placed

    def forward(self, pixels: Tensor) -> Tensor:
        """(b, 3, size, size) uint8 to (b, 1 + count, width), the whole picture's first."""
        return self.placed(self.tokens(pixels))

    def padding(self, pixels: Tensor) -> Tensor | None:
        """None: every patch means something."""
        return None


class Words(nn.Module):
    """The embeddings of word pieces and their places, normalised (BERT); the number 0 is padding.

    The first piece of a text, [CLS], stands for all of it. BERT's embedding of the segment is left out: where
    there is only one, it is a part of the places.

    Args:
        vocabulary: How many different numbers there are.
        length: Pieces of a text.
        width: Of a token.
        dropout: Of the tokens.

    Raises:
        BadParameter: no vocabulary, or no length.
    """

    def __init__(self, vocabulary: int, length: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        if vocabulary < 1 or length < 1:
            raise BadParameter(
                f"vocabulary and text_length must be at least 1, not {vocabulary} and {length}"
            )
        self.vocabulary, self.count = vocabulary, length
        self.embed = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.place = nn.Parameter(0.02 * torch.randn(length, width))
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)

    def pieces(self, numbers: Tensor) -> Tensor:
        """(b, length), the numbers themselves: they are pieces already."""
        return numbers

    def tokens(self, numbers: Tensor) -> Tensor:
        """(b, length) int64 to (b, length, width), without places.

        Raises:
            BadParameter: texts of another length, or of another vocabulary.
        """
        if numbers.shape[1] != self.count:
            raise BadParameter(f"this network reads {self.count} word pieces a text, not {numbers.shape[1]}")
        largest = int(numbers.max()) if len(numbers) else 0
        if largest >= self.vocabulary:
            raise BadParameter(
                f"this network knows {self.vocabulary} word pieces, but a text has number {largest}; "
                "set vocabulary to that of the tokens, or use the tokens that it was trained with"
            )
        embedded: Tensor = self.embed(numbers)
        return embedded

    def placed(self, tokens: Tensor) -> Tensor:
        """(b, length, width) to the same, with places."""
        placed: Tensor = self.drop(self.norm(tokens + self.place))
        return placed

    def forward(self, numbers: Tensor) -> Tensor:
        """(b, length) int64 to (b, length, width)."""
        return self.placed(self.tokens(numbers))

    def padding(self, numbers: Tensor) -> Tensor | None:
        """(b, length), True where there is no word; the first place of a text never counts as empty."""
        empty = numbers == 0
        return torch.cat([torch.zeros_like(empty[:, :1]), empty[:, 1:]], dim=1)

    def inner(self, numbers: Tensor) -> Tensor:
        """(b, length), True between the first and the last piece of each text, which are [CLS] and [SEP]."""
        found = torch.zeros_like(numbers, dtype=torch.bool)
        found[:, 1:-1] = numbers[:, 2:] != 0
        return found
