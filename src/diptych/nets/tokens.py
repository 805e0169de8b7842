"""What transformers read: a picture as patches, a text as words, or a feature vector as pieces.

Each front end turns a side's input into tokens (b, n, width) and knows which of them are padding.
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
    """A picture cut into square patches, row by row from above, each mapped linearly (ViT).

    Args:
        size: Width and height of the picture.
        patch: Of a patch.
        width: Of a token.

    Raises:
        BadParameter: the patches do not fill the picture.
    """

    def __init__(self, size: int, patch: int, width: int) -> None:
        super().__init__()
        if patch < 1 or size % patch:
            raise BadParameter(
                f"pictures of {size} x {size} pixels cannot be cut into patches of {patch}; "
                "choose a divisor with --set patch=..., or another size with --features image=pixels:SIZE"
            )
        self.size, self.patch, self.count = size, patch, (size // patch) ** 2
        self.embed = nn.Linear(3 * patch * patch, width)

    def pieces(self, pixels: Tensor) -> Tensor:
        """(b, 3, size, size) uint8 to (b, count, 3 * patch * patch) in -1..1."""
        if pixels.shape[-1] != self.size or pixels.shape[-2] != self.size:
            raise BadParameter(f"this network sees {self.size} x {self.size} pixels, not {pixels.shape[-2:]}")
        cut = pixels.unfold(2, self.patch, self.patch).unfold(3, self.patch, self.patch)
        return cut.permute(0, 2, 3, 1, 4, 5).reshape(len(pixels), self.count, -1).float() / 127.5 - 1

    def forward(self, pixels: Tensor) -> Tensor:
        """(b, 3, size, size) uint8 to (b, count, width)."""
        tokens: Tensor = self.embed(self.pieces(pixels))
        return tokens

    def padding(self, pixels: Tensor) -> Tensor | None:
        """None: every patch means something."""
        return None


class Words(nn.Module):
    """The embeddings of word pieces; the number 0 is padding.

    Args:
        vocabulary: How many different numbers there are.
        length: Pieces of a text.
        width: Of a token.
    """

    def __init__(self, vocabulary: int, length: int, width: int) -> None:
        super().__init__()
        self.vocabulary, self.count = vocabulary, length
        self.embed = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embed.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, length) int64 to (b, length, width)."""
        embedded: Tensor = self.embed(tokens)
        return embedded

    def padding(self, tokens: Tensor) -> Tensor | None:
        """(b, length), True where there is no word; the first place of a text never counts as empty."""
        empty = tokens == 0
        return torch.cat([torch.zeros_like(empty[:, :1]), empty[:, 1:]], dim=1)
