"""The nouns of retrieval and what flows between its parts; numpy only.

Everything at query time is a map from `Run` to `Run` (a `Stage`), and stages are joined by `>>`. Shapes: q
queries, n gallery entries, d dimensions, k hits. Scores: larger is better, and may be negative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CAPABILITIES",
    "DECODING",
    "DIRECTIONS",
    "Capabilities",
    "Encoder",
    "Floats",
    "Forwards",
    "Hits",
    "Index",
    "Item",
    "LanguageModel",
    "Pipeline",
    "Retriever",
    "Rows",
    "Run",
    "Scorer",
    "Side",
    "Stage",
    "offered",
]

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

Side = Literal["image", "text"]

DIRECTIONS: Mapping[str, str] = {"image to text": "IqT", "text to image": "TqI"}
"""The two directions of retrieval and the survey's names for them."""


@dataclass(frozen=True, slots=True)
class Item:
    """A query or a gallery entry: a picture, a text, both, or a weighted sum of other items.

    Args:
        id: Unique among its siblings; for a file, its path.
        image: A path, a PIL picture, or an array of ready features (d,); None if there is none.
        text: None if there is none.
        meta: Anything else that is known (label, caption source, size in bytes ...).
        terms: Weight and item of each part of a composed query: "like this, not that" is
            ``terms=((1.0, this), (-1.0, that))``. An item with terms has no image or text of its own.
    """

    id: str = ""
    image: Any = None
    text: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    terms: tuple[tuple[float, Item], ...] = ()


@dataclass(frozen=True, slots=True)
class Hits:
    """The k best gallery rows of each query, best first.

    Args:
        rows: (q, k) int64 positions in the gallery; -1 where fewer than k exist.
        scores: (q, k) float32, larger is better; -inf where the row is -1.
    """

    rows: Rows
    scores: Floats

    def __post_init__(self) -> None:
        if self.rows.shape != self.scores.shape or self.rows.ndim != 2:
            raise ValueError(f"rows {self.rows.shape} and scores {self.scores.shape} must both be (q, k)")

    def top(self, k: int) -> Hits:
        """The first k columns."""
        return Hits(self.rows[:, :k], self.scores[:, :k])


@dataclass(frozen=True, slots=True)
class Run:
    """What stages map: queries, the gallery they are asked of, and the hits so far (None before a search)."""

    queries: Sequence[Item]
    gallery: Sequence[Item]
    hits: Hits | None = None

    def with_hits(self, hits: Hits) -> Run:
        """The same run with other hits."""
        return replace(self, hits=hits)

    def with_queries(self, queries: Sequence[Item]) -> Run:
        """The same run with other queries (as many, in the same order)."""
        if len(queries) != len(self.queries):
            raise ValueError(f"{len(self.queries)} queries cannot be replaced by {len(queries)}")
        return replace(self, queries=queries)


@runtime_checkable
class Encoder(Protocol):
    """Encodes each side apart, so that what it returns can be indexed.

    `similarity` names the function of `diptych.similarity` that compares its vectors: "cosine", "dot",
    "maxsim" or "hamming" (+1/-1 codes). An encoder of one side has only one of the two methods. What it may
    offer beyond them is `Capabilities`.
    """

    similarity: str

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Vectors (n, d) float32 of pictures, each a path, PIL picture or what `prepare_image` gave."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Vectors (n, d) float32 of texts."""
        ...


class Capabilities(Protocol):
    """What a system may offer beyond the methods of its kind, each part by itself.

    Ask with `offered`. Whatever wraps a system (a chain, a standardised extractor) hands these on through
    `Forwards`, so that nothing is lost on the way.

    Attributes:
        name: The system's name.
        seed: What its first weights were drawn with.
        fingerprint: Equal only if the vectors are comparable.
        image_size: Pixels of the shorter side that are enough; lets the decoder skip detail.
        batch_size: Pictures that are best encoded at a time.
        rerank_depth: First hits that `score_pairs` ranks anew; 0 for none.
        agree_depth: First hits of each list that `agree` looks at; 0 for none.
    """

    name: str
    seed: int
    fingerprint: str
    image_size: int
    batch_size: int
    rerank_depth: int
    agree_depth: int

    def prepare_image(self, picture: Any) -> NDArray[Any]:
        """The part of `encode_image` that may run ahead in other threads; `encode_image` takes its result."""
        ...

    def calibrate(self, queries: Floats, scores: Floats, *, to: Side, entries: int) -> Floats:
        """How likely each hit is a match, (q, k) in [0, 1].

        Args:
            queries: (q, d).
            scores: (q, k) of the hits; -inf counts as impossible.
            to: Side that was searched.
            entries: How many were searched.
        """
        ...

    def score_pairs(self, images: Sequence[Any], texts: Sequence[str], pairs: Rows) -> Floats:
        """Scores (p,) of the pairs (p, 2), image row and text row."""
        ...

    def agree(self, lists: Rows, others: Rows) -> Rows:
        """The lists (q, depth) of one direction, ordered anew so that they agree with the other's."""
        ...


CAPABILITIES = frozenset(
    {"name", "seed", "fingerprint", "image_size", "batch_size", "rerank_depth", "agree_depth"}
    | {"prepare_image", "calibrate", "score_pairs", "agree"}
)
"""The names of `Capabilities`."""

DECODING = frozenset({"prepare_image", "image_size", "batch_size"})
"""Those that whoever reads pictures asks for: the matter of what encodes them first."""


def offered(system: Any, capability: str, default: Any = None) -> Any:
    """What a system offers of `Capabilities`; the default if it does not.

    Example:
        >>> offered(object(), "batch_size", 16)
        16
    """
    assert capability in CAPABILITIES, capability
    return getattr(system, capability, default)


class Forwards:
    """Hands on what a wrapped system offers; the one place where capabilities pass through.

    Subclasses define `offering`.
    """

    def offering(self, capability: str) -> Any:
        """The part whose matter a capability is; None if the whole does not offer it."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        if name in CAPABILITIES:
            part = self.offering(name)
            if part is not None:
                return getattr(part, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")


@runtime_checkable
class Scorer(Protocol):
    """Looks at image and text together; cannot be indexed, can re-rank."""

    def score(self, images: Sequence[Any], texts: Sequence[str]) -> Floats:
        """Score of every pair, (n_images, n_texts) float32."""
        ...


@runtime_checkable
class Retriever(Protocol):
    """A system that is a pipeline of its own and builds it over a gallery."""

    def over(self, gallery: Sequence[Item], k: int) -> Stage:
        """A stage that ranks `gallery` and keeps the k best."""
        ...


@runtime_checkable
class LanguageModel(Protocol):
    """Anything that continues a prompt; a captioner is a prompt, a chat a transcript."""

    def generate(self, prompt: str, images: Sequence[Any] = ()) -> str:
        """The continuation, without the prompt."""
        ...


@runtime_checkable
class Index(Protocol):
    """Vectors under row numbers that can be searched."""

    def add(self, rows: Rows, vectors: NDArray[Any]) -> None:
        """Store vectors (n, d) under rows (n,); a row already there is replaced."""
        ...

    def remove(self, rows: Rows) -> None:
        """Forget rows (n,); rows that are not there are ignored."""
        ...

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> Hits:
        """The k best rows of each query (q, d), ties by row number; only rows of `within`, if given."""
        ...

    def save(self, path: Path) -> None:
        """Write everything to a file or folder at `path`."""
        ...


class Stage:
    """A map from run to run; `a >> b` is a followed by b. Subclasses define `__call__`."""

    def __call__(self, run: Run) -> Run:
        """The run after this stage."""
        raise TypeError(f"{type(self).__name__} does not define __call__")

    def __rshift__(self, other: Callable[[Run], Run]) -> Pipeline:
        return Pipeline(self, other)


class Pipeline(Stage):
    """Stages one after another."""

    def __init__(self, *stages: Callable[[Run], Run]) -> None:
        self.stages: tuple[Callable[[Run], Run], ...] = ()
        for stage in stages:
            self.stages += stage.stages if isinstance(stage, Pipeline) else (stage,)

    def __call__(self, run: Run) -> Run:
        """The run after all stages."""
        for stage in self.stages:
            run = stage(run)
        return run

    def __repr__(self) -> str:
        return " >> ".join(repr(stage) for stage in self.stages)
