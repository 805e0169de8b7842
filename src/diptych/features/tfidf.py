"""TF-IDF: bag of words, rare words weighing more.

Inputs: texts
Learns from: training texts (the vocabulary and how rare each word is)

Counts times ln((1 + n) / (1 + n_word)) + 1, scaled to length 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from diptych.core import Floats
from diptych.features._words import Bag

__all__ = ["TfIdf"]


class TfIdf(Bag):
    """TF-IDF vectors; arguments as of `diptych.features._words.Bag`."""

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (n, words) float32; zero for a text without known words."""
        return self.weighted(texts)
