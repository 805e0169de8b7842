"""Guessing what was hidden: word pieces and regions, as BERT and its kin with pictures learn.

Texts are numbers of word pieces (b, length), the first of them [CLS], the last [SEP], 0 behind.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.errors import BadParameter

__all__ = ["WordGuess", "guess_loss", "hide_regions", "hide_words", "inside", "there"]


def there(numbers: Tensor) -> Tensor:
    """(b, length), True where a text has a piece; the first place always counts."""
    found = numbers != 0
    found[:, 0] = True
    return found


def inside(numbers: Tensor) -> Tensor:
    """(b, length), True between the first and the last piece of each text."""
    found = torch.zeros_like(numbers, dtype=torch.bool)
    found[:, 1:-1] = numbers[:, 2:] != 0
    return found


def hide_words(numbers: Tensor, *, share: float, mask: int, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Texts with some pieces hidden (BERT, arXiv 1810.04805, section 3.1), and which are to be guessed.

    Of those to be guessed 80 % become the mask, 10 % any piece, and 10 % stay.

    Args:
        numbers: (b, length) int64.
        share: Of the pieces between the first and the last.
        mask: Number of the piece that hides.
        vocabulary: Numbers that a piece drawn at random may have.

    Returns:
        (b, length) int64, and (b, length) bool.

    Raises:
        BadParameter: a number outside the vocabulary.
    """
    if numbers.numel() and int(numbers.max()) >= vocabulary:
        raise BadParameter(
            f"this network knows {vocabulary} word pieces, but a text has number {int(numbers.max())}; "
            "set vocabulary to that of the tokens, or use the tokens that it was trained with"
        )
    draw, way = torch.rand(2, *numbers.shape, device=numbers.device)
    hidden = inside(numbers) & (draw < share)
    seen = torch.where(hidden & (way < 0.8), mask, numbers)
    other = torch.randint(vocabulary, numbers.shape, device=numbers.device)
    return torch.where(hidden & (way >= 0.9), other, seen), hidden


def hide_regions(features: Tensor, shown: Tensor, *, share: float) -> tuple[Tensor, Tensor]:
    """Features of regions, some of them hidden, and which are to be guessed.

    Of those to be guessed 90 % become zero and 10 % stay; their boxes are not the matter of this.

    Args:
        features: (b, r, d).
        shown: (b, r), True where there is a region.
        share: Of the regions.

    Returns:
        (b, r, d), and (b, r) bool.
    """
    draw, way = torch.rand(2, *shown.shape, device=features.device)
    hidden = shown & (draw < share)
    return features.masked_fill((hidden & (way < 0.9))[..., None], 0.0), hidden


def guess_loss(guesses: Tensor, truth: Tensor) -> Tensor:
    """Mean cross-entropy of guesses (k, classes) against numbers (k,) or distributions (k, classes).

    It is 0, and not undefined, where nothing was hidden.
    """
    return functional.cross_entropy(guesses, truth, reduction="sum") / max(len(guesses), 1)


class WordGuess(nn.Module):
    """BERT's head for hidden words: a layer with GELU and normalisation, then a score for every piece.

    Args:
        width: Of a token.
        vocabulary: How many pieces.
        tied: The embedding whose weights are the scores' as well (and stay its own); None has weights apart.
        eps: Of the normalisation.
    """

    def __init__(
        self, width: int, vocabulary: int, *, tied: nn.Embedding | None = None, eps: float = 1e-12
    ) -> None:
        super().__init__()
        self.transform = nn.ModuleDict(
            {"dense": nn.Linear(width, width), "LayerNorm": nn.LayerNorm(width, eps=eps)}
        )
        self.decoder = nn.Linear(width, vocabulary, bias=False)
        if tied is not None:
            self.decoder.weight = tied.weight
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, states: Tensor) -> Tensor:
        """(k, width) to (k, vocabulary)."""
        changed = self.transform["LayerNorm"](functional.gelu(self.transform["dense"](states)))
        scores: Tensor = self.decoder(changed) + self.bias
        return scores
