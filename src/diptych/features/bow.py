"""BoW: bag of words.

Inputs: texts
Learns from: training texts (the vocabulary)

How often each word of a vocabulary occurs in a text; what DCMH and its successors take of tags and captions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from diptych.core import Floats
from diptych.features._words import Bag

__all__ = ["BoW"]


class BoW(Bag):
    """Counts of words.

    Args:
        size, min_texts, max_share: See `diptych.features._words.Bag`.
        binary: 1 for every word that occurs, as tag vectors are, and not how often.
    """

    def __init__(
        self, *, size: int = 5000, min_texts: int = 1, max_share: float = 1.0, binary: bool = False
    ) -> None:
        super().__init__(size=size, min_texts=min_texts, max_share=max_share)
        self.binary = binary

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What the constructor was given."""
        return {**super().hyperparameters, "binary": self.binary}

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Counts (n, words) float32."""
        found = self.counts(texts)
        return np.minimum(found, 1) if self.binary else found
