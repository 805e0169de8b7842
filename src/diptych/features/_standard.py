"""Features with mean 0 and deviation 1: what many heads need before they learn at all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats
from diptych.data.base import Dataset, Split

__all__ = ["Scale", "Standard", "Standardised"]


class Scale:
    """Mean and deviation of each of d features; constant ones become 0.

    Args:
        mean, deviation: (d,) float64.
    """

    def __init__(self, mean: NDArray[Any], deviation: NDArray[Any]) -> None:
        self.mean, self.deviation = mean, deviation

    @classmethod
    def of(cls, rows: NDArray[Any]) -> Scale:
        """That of rows (n, d)."""
        rows = np.asarray(rows, np.float64)
        deviation = rows.std(axis=0)
        return cls(rows.mean(axis=0), np.where(deviation > 1e-8, deviation, 1))

    def __call__(self, rows: NDArray[Any]) -> Floats:
        """Rows (n, d), float32."""
        found: Floats = ((np.asarray(rows) - self.mean) / self.deviation).astype(np.float32)
        return found


class Standard:
    """An extractor whose features are standardised.

    Args:
        inner: The extractor.
        scale: Of the training items.
    """

    def __init__(self, inner: Any, scale: Scale) -> None:
        self.inner, self.scale = inner, scale

    @property
    def fingerprint(self) -> str:
        """The extractor's own, and that of the scale."""
        digest = hashlib.sha256(self.scale.mean.tobytes() + self.scale.deviation.tobytes())
        return f"standard:{digest.hexdigest()[:16]}:{self.inner.fingerprint}"

    def __getattr__(self, name: str) -> Any:
        # What the decoder and the chain ask of an extractor is the inner one's matter.
        if name in {"image_size", "prepare_image", "batch_size", "side", "similarity"}:
            return getattr(self.__dict__["inner"], name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Features (n, d) float32 of pictures."""
        return self.scale(self.inner.encode_image(images))

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Features (n, d) float32 of texts."""
        return self.scale(self.inner.encode_text(texts))


class Standardised(Dataset):
    """A data set of features, standardised by its training split.

    Args:
        inner: With features on the sides named.
        train: The split that decides.
        sides: Which; other sides stay as they are.
    """

    def __init__(self, inner: Dataset, train: str, sides: Sequence[str] = ("image", "text")) -> None:
        self.inner = inner
        self.name, self.splits, self.class_names = inner.name, inner.splits, inner.class_names
        self.protocols = inner.protocols
        learn = inner.split(train)
        self.scales: Mapping[str, Scale] = {side: Scale.of(getattr(learn, side)) for side in sides}
        self._done: dict[str, Split] = {}

    def split(self, name: str) -> Split:
        """One split."""
        if name not in self._done:
            found = self.inner.split(name)
            sides: dict[str, Any] = {side: scale(getattr(found, side)) for side, scale in self.scales.items()}
            self._done[name] = replace(found, **sides)
        return self._done[name]
