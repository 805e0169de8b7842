"""Joins fixed extractors and a learned head into one encoder, or scorer, of raw pictures and texts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from diptych.core import Encoder, Floats
from diptych.errors import UsageError

__all__ = ["Chain", "ScorerChain", "join"]


def join(head: Any, *, image: Any = None, text: Any = None) -> Chain | ScorerChain:
    """The chain that fits the head: a `ScorerChain` if it has no vectors of one side, else a `Chain`.

    Args:
        head, image, text: As for `Chain`.
    """
    encodes = hasattr(head, "encode_image") or hasattr(head, "encode_text")
    kind = Chain if encodes or not hasattr(head, "score") else ScorerChain
    return kind(head=head, image=image, text=text)


class _Joined:
    """The parts, and what reaches through to them."""

    def __init__(self, *, head: Any, image: Any = None, text: Any = None) -> None:
        self.head, self.image, self.text = head, image, text

    @property
    def fingerprint(self) -> str:
        """Equal only if every part is the same."""
        return " > ".join(
            f"{side}={getattr(part, 'fingerprint', type(part).__name__)}"
            for side, part in (("image", self.image), ("text", self.text), ("head", self.head))
            if part is not None
        )

    def _scored(self, name: str, images: Sequence[Any], texts: Sequence[str], *rest: Any) -> Floats:
        """What the head's method of that name gives for the features of pictures and texts."""
        sides = (("image", self.image, images), ("text", self.text, texts))
        features = [
            content if part is None else getattr(part, f"encode_{side}")(content)
            for side, part, content in sides
        ]
        found: Floats = getattr(self.head, name)(*features, *rest)
        return found


class ScorerChain(_Joined):
    """A `Scorer` of raw items: extract features, then let the head score every pair (IEFT).

    Args:
        head: Scorer of what the extractors give.
        image: Extractor of pictures; None if the head takes pictures themselves.
        text: Extractor of texts; None likewise.
    """

    def score(self, images: Sequence[Any], texts: Sequence[str]) -> Floats:
        """Score of every pair, (n_images, n_texts) float32."""
        return self._scored("score", images, texts)

    def score_pairs(self, images: Sequence[Any], texts: Sequence[str], pairs: Any) -> Floats:
        """Scores (p,) of the pairs (p, 2), image row and text row."""
        return self._scored("score_pairs", images, texts, pairs)


class Chain(_Joined):
    """An `Encoder` of raw items: extract features, then let the head encode them.

    What a head in two stages has beside its vectors (`score`, `score_pairs`, `rerank_depth`, `agree`,
    `agree_depth`), the chain has too.

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
        super().__init__(head=head, image=image, text=text)
        self.similarity: str = head.similarity

    def __getattr__(self, name: str) -> Any:
        # What the decoder asks of an encoder is the image extractor's matter.
        if name in {"image_size", "prepare_image", "batch_size"}:
            return getattr(self.__dict__["image"] or self.__dict__["head"], name)
        if name in {"score", "score_pairs"} and hasattr(self.__dict__["head"], name):
            return partial(self._scored, name)
        if name in {"rerank_depth", "agree", "agree_depth"}:
            return getattr(self.__dict__["head"], name)
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
