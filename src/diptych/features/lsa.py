"""LSA: latent semantic analysis, dense vectors of texts (Deerwester et al., JASIS 1990).

Inputs: texts
Learns from: training texts

The leading right singular vectors of the TF-IDF matrix of the training texts. It stands where papers use
doc2vec: dense, a few hundred dimensions; but it is exact, takes seconds and gives the same result every time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats
from diptych.errors import BadParameter
from diptych.features._words import Bag, chunks, unit

__all__ = ["Lsa"]


class Lsa(Bag):
    """Projections of TF-IDF vectors.

    Args:
        dim: Dimensions; fewer where the texts have no more.
        size, min_texts, max_share: See `diptych.features._words.Bag`. The decomposition holds size squared
            numbers in memory.
    """

    def __init__(
        self, *, dim: int = 300, size: int = 3000, min_texts: int = 2, max_share: float = 1.0
    ) -> None:
        super().__init__(size=size, min_texts=min_texts, max_share=max_share)
        if dim < 1:
            raise BadParameter(f"dim must be at least 1, not {dim}")
        self.dim = dim
        self._axes = np.zeros((0, 0), np.float32)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What the constructor was given."""
        return {**super().hyperparameters, "dim": self.dim}

    def fit(self, texts: Sequence[str]) -> None:
        """Choose the vocabulary and the axes."""
        super().fit(texts)
        words = len(self.vocabulary)
        together = np.zeros((words, words))
        for chunk in chunks(texts):
            rows = self.weighted(chunk).astype(np.float64)
            together += rows.T @ rows
        value, vector = np.linalg.eigh(together)  # of X'X: the right singular vectors of X
        kept = [column for column in np.argsort(-value)[: self.dim] if value[column] > 1e-9 * value[-1]]
        axes = vector[:, kept]
        # A singular vector's sign is arbitrary: its largest entry is made positive.
        axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
        self._axes = axes.astype(np.float32)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """What `fit` learned."""
        return {**super().arrays(), "axes": self._axes}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `arrays` gave."""
        super().restore(arrays)
        self._axes = arrays["axes"]

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (n, dim) float32; zero for a text without known words."""
        parts = [self.weighted(chunk) @ self._axes for chunk in chunks(texts)]
        return unit(np.concatenate([np.zeros((0, self._axes.shape[1]), np.float32), *parts]))
