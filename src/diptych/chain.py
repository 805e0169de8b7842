"""Combines systems: a standardised extractor, and an extractor and a learned head as one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import (
    DECODING,
    Column,
    Encoder,
    Floats,
    Forwards,
    Item,
    Rows,
    Run,
    Side,
    Stage,
    encodes,
    offered,
    scores_pairs,
)
from diptych.errors import UsageError

__all__ = ["Chain", "RetrieverChain", "Scale", "ScorerChain", "Standard", "join"]


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


class Standard(Forwards):
    """An extractor whose features get mean 0 and deviation 1: what many heads need before they learn at all.

    Args:
        inner: The extractor.
        scale: Of the training items.
    """

    def __init__(self, inner: Any, scale: Scale) -> None:
        self.inner, self.scale = inner, scale
        self.similarity: str = inner.similarity

    @property
    def fingerprint(self) -> str:
        """The extractor's own, and that of the scale."""
        digest = hashlib.sha256(self.scale.mean.tobytes() + self.scale.deviation.tobytes())
        return f"standard:{digest.hexdigest()[:16]}:{self.inner.fingerprint}"

    def offering(self, capability: str) -> Any:
        """The extractor reads the pictures; what it says of its scores does not hold for scaled features."""
        return self.inner if capability in DECODING else None

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Features (n, d) float32 of pictures."""
        return self.scale(self.inner.encode_image(images))

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Features (n, d) float32 of texts."""
        return self.scale(self.inner.encode_text(texts))


def join(head: Any, *, image: Any = None, text: Any = None) -> Chain | ScorerChain | RetrieverChain:
    """The chain that fits the head: a `RetrieverChain` if it ranks a gallery by a stage of its own, a
    `ScorerChain` if it has no vectors of one side, else a `Chain`.

    Args:
        head, image, text: As for `Chain`.
    """
    if callable(getattr(head, "over", None)):
        return RetrieverChain(head=head, image=image, text=text)
    vectors = encodes(head, "image") or encodes(head, "text")
    kind = ScorerChain if scores_pairs(head) and not vectors else Chain
    return kind(head=head, image=image, text=text)


class _Joined(Forwards):
    """The parts, and what reaches through to them."""

    def __init__(self, *, head: Any, image: Any = None, text: Any = None) -> None:
        self.head, self.image, self.text = head, image, text

    @property
    def fingerprint(self) -> str:
        """Equal only if every part is the same."""
        return " > ".join(
            f"{side}={offered(part, 'fingerprint', type(part).__name__)}"
            for side, part in (("image", self.image), ("text", self.text), ("head", self.head))
            if part is not None
        )

    def offering(self, capability: str) -> Any:
        """What reads pictures is the image extractor's matter; the vectors and their scores are the head's.

        So a head that was trained on top of a calibrated tower is not calibrated itself. Its space is not the
        chain's, as the features differ: the chain's fingerprint says what its vectors compare with.
        """
        if capability == "space":
            return None
        return (self.image or self.head) if capability in DECODING else self.head

    def __getattr__(self, name: str) -> Any:
        # The head scores features, so pictures and texts are encoded on the way.
        if name in {"score", "score_pairs"} and offered(self.head, name) is not None:
            return partial(self._scored, name)
        return super().__getattr__(name)

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

    def score_pairs(self, images: Sequence[Any], texts: Sequence[str], pairs: Rows) -> Floats:
        """Scores (p,) of the pairs (p, 2), image row and text row."""
        return self._scored("score_pairs", images, texts, pairs)


class RetrieverChain(_Joined):
    """A `Retriever` of raw items: extract features of gallery and queries, then let the head rank them.

    Args:
        head: Ranks what the extractors give.
        image: Extractor of pictures; None if the head takes pictures themselves.
        text: Extractor of texts; None likewise.
    """

    def over(self, gallery: Sequence[Item], k: int, to: Side = "image") -> Stage:
        """A stage that ranks the side `to` of a gallery and keeps the k best."""
        seen = self.seen(gallery, to)
        return _Through(self, self.head.over(seen, k, to), seen, "text" if to == "image" else "image")

    def seen(self, items: Sequence[Item], side: Side) -> Column:
        """Items as the head takes them.

        Raises:
            UsageError: one holds nothing on that side.
        """
        held = items.contents if isinstance(items, Column) and items.side == side else None
        if held is None:
            held = [getattr(item, side) for item in items]
            lost = next((item.id for item, value in zip(items, held, strict=True) if value is None), None)
            if lost is not None:
                raise UsageError(f"item {lost!r} has no {side} to rank by")
        extractor = getattr(self, side)
        return Column(side, held if extractor is None else getattr(extractor, f"encode_{side}")(held))


class _Through(Stage):
    """Shows a head's stage what it understands, and hands on what it finds.

    Args:
        chain: Extracts.
        inner: The head's stage.
        gallery: As the head takes it.
        asked: The side that queries ask with.
    """

    def __init__(self, chain: RetrieverChain, inner: Stage, gallery: Column, asked: Side) -> None:
        self.chain, self.inner, self.gallery, self.asked = chain, inner, gallery, asked

    def _seen(self, run: Run) -> Run:
        return replace(run, queries=self.chain.seen(run.queries, self.asked), gallery=self.gallery)

    def __call__(self, run: Run) -> Run:
        """The run with the head's hits and notes."""
        done = self.inner(self._seen(run))
        return replace(run, hits=done.hits, notes=done.notes)

    def scores(self, run: Run, before: Any = None) -> Any:
        """The head's own, if it has any."""
        return self.inner.scores(self._seen(run), before)


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

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Vectors (n, d) float32 of pictures.

        Raises:
            UsageError: if no part of the chain encodes pictures.
        """
        return self._encode("image", self.image, images)

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Vectors (n, d) float32 of texts.

        Raises:
            UsageError: if no part of the chain encodes texts.
        """
        return self._encode("text", self.text, texts)

    def _encode(self, side: Side, extractor: Encoder | None, content: Sequence[Any]) -> Floats:
        for part in (extractor, self.head):
            if part is None:
                continue
            if not encodes(part, side):
                raise UsageError(f"{type(part).__name__} encodes no {side}s; this chain has one side only")
            content = getattr(part, f"encode_{side}")(content)
        return content  # type: ignore[return-value]  # the head's vectors
