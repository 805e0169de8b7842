"""Signs of a real-valued system's vectors, each modality around its own mean: the simplest codes there
are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from diptych.core import Floats
from diptych.training.run import Trained

__all__ = ["Signs", "signs_of"]


class Signs:
    """An encoder with codes in place of vectors.

    Args:
        encoder: The real-valued one.
        image_mean, text_mean: (d,) means of the training vectors, which become the origin.
    """

    similarity = "hamming"

    def __init__(self, encoder: Any, image_mean: Floats, text_mean: Floats) -> None:
        self.encoder, self.image_mean, self.text_mean = encoder, image_mean, text_mean

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Codes (n, d), +1 and -1."""
        return _signs(self.encoder.encode_image(images) - self.image_mean)

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Codes (n, d), +1 and -1."""
        return _signs(self.encoder.encode_text(texts) - self.text_mean)


def signs_of(done: Trained, protocol: str) -> Signs:
    """The encoder of signs of a finished training."""
    train = done.dataset.split(done.dataset.protocol(protocol).train)
    means = [
        np.asarray(getattr(done.learner, f"encode_{side}")(getattr(train, side)).mean(axis=0), np.float32)
        for side in ("image", "text")
    ]
    return Signs(done.learner, *means)


def _signs(vectors: Floats) -> Floats:
    return np.where(vectors > 0, np.float32(1), np.float32(-1))
