"""Joins fixed extractors and a learned head into one encoder of raw pictures and texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diptych.core import Encoder, Floats
from diptych.errors import UsageError

__all__ = ["Chain"]


class Chain:
    """An `Encoder` of raw items: extract features, then let the head encode them.

    Args:
        image: Extractor of pictures; None if the head takes pictures themselves (or has no image side).
        text: Extractor of texts; None likewise.
        head: Encoder of what the extractors give ("DSCMR on CLIP features").

    Example:
        >>> import numpy as np
        >>> class Length:
        ...     similarity = "dot"
        ...     def encode_text(self, texts):
        ...         return np.array([[len(t)] for t in texts], np.float32)
        >>> class Double:
        ...     similarity = "dot"
        ...     def encode_text(self, features):
        ...         return 2 * features
        >>> Chain(text=Length(), head=Double()).encode_text(["four"])
        array([[8.]], dtype=float32)
    """

    def __init__(self, *, head: Any, image: Any = None, text: Any = None) -> None:
        self.head, self.image, self.text = head, image, text
        self.similarity: str = head.similarity

    @property
    def fingerprint(self) -> str:
        """Equal only if every part is the same."""
        return " > ".join(
            f"{side}={getattr(part, 'fingerprint', type(part).__name__)}"
            for side, part in (("image", self.image), ("text", self.text), ("head", self.head))
            if part is not None
        )

    def __getattr__(self, name: str) -> Any:
        # What the decoder asks of an encoder is the image extractor's matter.
        if name in {"image_size", "prepare", "batch_size"}:
            return getattr(self.__dict__["image"] or self.__dict__["head"], name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Vectors (n, d) float32 of pictures.

        Raises:
            UsageError: if no part of the chain encodes pictures.
        """
        return self._encode("encode_image", self.image, images)

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Vectors (n, d) float32 of texts.

        Raises:
            UsageError: if no part of the chain encodes texts.
        """
        return self._encode("encode_text", self.text, texts)

    def _encode(self, method: str, extractor: Encoder | None, content: Sequence[Any]) -> Floats:
        for part in (extractor, self.head):
            if part is None:
                continue
            if not hasattr(part, method):
                raise UsageError(f"{type(part).__name__} has no {method}; this chain encodes one side only")
            content = getattr(part, method)(content)
        return content  # type: ignore[return-value]  # the head's vectors
