"""The space in which pictures and texts meet by concepts, and by trained heads where there are some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats
from diptych.similarity import unit
from diptych.towers.heads import project

__all__ = ["ConceptSpace", "likely_concepts"]

_NAMING, _CLOSE, _CLOSE_WIDTH = 8.0, 0.8, 0.05
"""Weight of the concepts for a text that names one, and the cosine at which it is half way there: captions of
photographs lie at 0.4 to their nearest concept, "a photo of a NAME" above 0.9."""


class ConceptSpace:
    """The space in which both sides meet.

    Args:
        arrays: Concepts, and where there are heads, theirs, in single precision.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.arrays = arrays
        self.members = range(int(arrays["members"])) if "members" in arrays else range(0)
        self._names = unit(
            arrays["concepts"]
        )  # a thousand of them: for each text anew, they cost as much as it

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        heads = sum(self.arrays[f"text{member}.bias"].size for member in self.members)
        return int(self.arrays["concepts"].shape[1] + heads)

    def image(self, features: Floats, logits: Floats) -> Floats:
        """Unit vectors (n, d) of the image tower's features (n, 1280) and logits (n, 1000)."""
        means = likely_concepts(logits, self.arrays["concepts"])
        blocks = [means - self.arrays.get("concepts_image_mean", 0.0)]
        blocks += [project(features, self.arrays, f"image{member}") for member in self.members]
        return _joined(blocks, np.ones(len(features)))

    def text(self, vectors: Floats) -> Floats:
        """Unit vectors (n, d) of the text tower's vectors (n, 384)."""
        blocks = [vectors - self.arrays.get("concepts_text_mean", self.arrays["concepts_origin"])]
        blocks += [project(vectors, self.arrays, f"text{member}") for member in self.members]
        return _joined(blocks, self._concept_weights(vectors))

    def _concept_weights(self, vectors: Floats) -> Floats:
        """How much the concepts count for each text (n,), against 1 for each head.

        The heads know the captions of everyday photographs, the concepts know things by name. So the weight
        of a text rises from the calibrated one to `_NAMING` as the text comes close to the name of a concept.
        """
        if not self.members:
            return np.ones(len(vectors), np.float32)
        closeness = (unit(vectors - self.arrays["concepts_origin"]) @ self._names.T).max(axis=1)
        naming = 1 / (1 + np.exp(-(closeness - _CLOSE) / _CLOSE_WIDTH))
        least = float(self.arrays["concept_weight"])
        return np.asarray(least + (_NAMING - least) * naming, np.float32)


def likely_concepts(logits: Floats, concepts: Floats) -> Floats:
    """ConSE: the mean of the concept vectors (1000, 384), weighted by softmax(logits / 2) (n, 1000)."""
    scaled = logits / 2
    likely = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(likely / likely.sum(axis=1, keepdims=True) @ concepts, np.float32)


def _joined(blocks: Sequence[Floats], first: NDArray[Any]) -> Floats:
    """Unit blocks side by side, the first one weighted (n,), as unit vectors."""
    units = [unit(block) for block in blocks]
    units[0] = units[0] * first[:, None].astype(np.float32)
    return unit(np.concatenate(units, axis=1))
