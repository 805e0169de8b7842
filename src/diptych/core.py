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

from diptych.errors import UsageError

__all__ = [
    "CAPABILITIES",
    "DECODING",
    "DIRECTIONS",
    "SIDES",
    "Capabilities",
    "Column",
    "Encoder",
    "Floats",
    "Forwards",
    "Hits",
    "Index",
    "Item",
    "Pipeline",
    "Retriever",
    "Rows",
    "Run",
    "Scorer",
    "Searchable",
    "Side",
    "Stage",
    "checked_k",
    "encodes",
    "offered",
    "scores_pairs",
    "space_of",
]

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

Side = Literal["image", "text"]

SIDES: tuple[Side, Side] = ("image", "text")
"""Both sides."""

DIRECTIONS: Mapping[str, str] = {"image to text": "IqT", "text to image": "TqI"}
"""The two directions of retrieval and the survey's names for them."""


@dataclass(frozen=True, slots=True)
class Item:
    """A query or a gallery entry: a picture, a text, both, or a weighted sum of other items.

    Args:
        id: Unique among its siblings; for a file, its path.
        image: A path, the bytes of a file, a PIL picture, an array (h, w, 3), (h, w, 4) or (h, w) of uint8,
            or one that an encoder takes for a picture (features (d,), pixels (3, h, w)); None if there is
            none.
        text: Words, or an array that an encoder takes for them (features (d,), numbers of word pieces
            (length,)); None if there is none.
        meta: Anything else that is known (label, caption source, size in bytes ...).
        terms: Weight and item of each part of a composed query: "like this, not that" is
            ``terms=((1.0, this), (-1.0, that))``. An item with terms has no image or text of its own.
    """

    id: str = ""
    image: Any = None
    text: Any = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    terms: tuple[tuple[float, Item], ...] = ()


class Column(Sequence[Item]):
    """Items that have one side only, over what holds their contents and may read them when looked at.

    Args:
        side: Which side.
        contents: A sequence of n pictures or texts, or an array of n rows of features.
        ids: Names of the items; none, if empty.
        take: Gives the contents in some rows (m,) without looking at them; by default one by one.
    """

    def __init__(
        self,
        side: Side,
        contents: Any,
        ids: Sequence[str] = (),
        *,
        take: Callable[[Rows], Sequence[Any]] | None = None,
    ) -> None:
        self.side, self.contents, self.ids = side, contents, ids
        self.take = take or (lambda rows: [contents[int(row)] for row in rows])

    def __len__(self) -> int:
        return len(self.contents)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[row] for row in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(f"there is no item {place} of {len(self)}")
        name = self.ids[place] if len(self.ids) else ""
        value = self.contents[place]
        return Item(name, image=value) if self.side == "image" else Item(name, text=value)


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
    """What stages map; a stage changes what is its own and hands on the rest.

    Args:
        queries: q of them.
        gallery: The entries they are asked of.
        hits: Those so far; None before a search.
        notes: One mapping a query of what happened on the way: why it was answered by less than was asked
            for, what it cost, a transcript; none at all while nobody has noted anything. See `noted`.
    """

    queries: Sequence[Item]
    gallery: Sequence[Item]
    hits: Hits | None = None
    notes: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        if self.notes and len(self.notes) != len(self.queries):
            raise ValueError(f"{len(self.queries)} queries cannot have {len(self.notes)} notes")

    def with_hits(self, hits: Hits) -> Run:
        """The same run with other hits."""
        return replace(self, hits=hits)

    def with_queries(self, queries: Sequence[Item]) -> Run:
        """The same run with other queries (as many, in the same order)."""
        if len(queries) != len(self.queries):
            raise ValueError(f"{len(self.queries)} queries cannot be replaced by {len(queries)}")
        return replace(self, queries=queries)

    def noted(self, notes: Sequence[Mapping[str, Any]]) -> Run:
        """The same run with more to say of each query; what was noted under the same name is replaced.

        Args:
            notes: One mapping a query, empty where there is nothing to say.
        """
        if len(notes) != len(self.queries):
            raise ValueError(f"{len(self.queries)} queries cannot have {len(notes)} notes")
        before = self.notes or [{}] * len(notes)
        return replace(self, notes=[{**old, **new} for old, new in zip(before, notes, strict=True)])


@runtime_checkable
class Encoder(Protocol):
    """Encodes each side apart, so that what it returns can be indexed.

    `similarity` names the function of `diptych.similarity` that compares its vectors: "cosine", "dot",
    "maxsim" or "hamming" (+1/-1 codes). An encoder of one side has only one of the two methods. What it may
    offer beyond them is `Capabilities`.
    """

    similarity: str

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Vectors (n, d) float32 of pictures, each a path, PIL picture or what `prepare_image` gave.

        With `diptych.media.pictures.batches`, bytes and arrays (h, w, 3) as well.
        """
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
        fingerprint: Equal only if the vectors are the same.
        space: Equal only if the vectors are comparable. Offered by those that give the same vectors of
            pictures as others and read texts differently, as in other languages; else the fingerprint is it.
        image_size: Pixels of the shorter side that are enough; lets the decoder skip detail.
        batch_size: Pictures that are best encoded at a time.
        rerank_depth: First hits that `score_pairs` ranks anew; 0 for none.
        rerank_weights: Of what `score_pairs` says against the search, both standardised for each query, by
            the side that is searched; 1 where nothing is said.
        rerank_lines: `diptych.towers.second_look.SecondLine` by the side that is searched, which tell how
            relevant a hit is that was ranked anew.
        agree_depth: First hits of each list that `agree` looks at; 0 for none.
    """

    name: str
    seed: int
    fingerprint: str
    space: str
    image_size: int
    batch_size: int
    rerank_depth: int
    rerank_weights: Mapping[Side, float]
    rerank_lines: Mapping[Side, Any]
    agree_depth: int

    def prepare_image(self, picture: Any) -> NDArray[Any]:
        """The part of `encode_image` that may run ahead in other threads; `encode_image` takes its result."""
        ...

    def calibrate(self, queries: Floats, scores: Floats, *, to: Side, entries: int) -> Floats:
        """How relevant each hit is, (q, k) in [0, 1], NaN where that is not known.

        It is the share of queries for what nothing shows whose best hit, among so many entries, is less
        relevant. A `diptych.towers.calibration.Relevance` is one, which also tells apart what asks.

        Args:
            queries: (q, d).
            scores: (q, k) of the hits, descending; -inf for none.
            to: Side that was searched.
            entries: How many were searched.
        """
        ...

    def picture_states(self, images: Sequence[Any]) -> Floats:
        """All that a scorer needs of pictures, (n, s) in half precision; it takes rows in their place."""
        ...

    def score(self, images: Sequence[Any], texts: Sequence[Any]) -> Floats:
        """Scores of every pair, (n_images, n_texts), of a `Scorer` that has them for less than one by one."""
        ...

    def agree(self, lists: Rows, others: Rows) -> Rows:
        """The lists (q, depth) of one direction, ordered anew so that they agree with the other's."""
        ...


CAPABILITIES = frozenset(
    {"name", "seed", "fingerprint", "space", "image_size", "batch_size", "rerank_depth", "rerank_weights"}
    | {"rerank_lines", "agree_depth", "prepare_image", "calibrate", "picture_states", "score_pairs"}
    | {"score", "agree"}
)
"""The names of `Capabilities`, and the method of a `Scorer`, which an encoder may be as well."""

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


def space_of(system: Any) -> Any:
    """What is equal only for systems whose vectors compare; None if the system does not tell."""
    return offered(system, "space", offered(system, "fingerprint"))


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

    def score_pairs(self, images: Sequence[Any], texts: Sequence[Any], pairs: Rows) -> Floats:
        """Scores (p,) float32 of the pairs (p, 2), image row and text row; each picture is read once."""
        ...


@runtime_checkable
class Retriever(Protocol):
    """A system that is a pipeline of its own and builds it over a gallery."""

    def over(self, gallery: Sequence[Item], k: int, to: Side) -> Stage:
        """A stage that ranks the side `to` of `gallery` and keeps the k best."""
        ...


def encodes(system: Any, side: Side) -> bool:
    """Whether a system gives vectors of a side; an encoder of one side is still an `Encoder`."""
    return callable(getattr(system, f"encode_{side}", None))


def scores_pairs(system: Any) -> bool:
    """Whether a system is a `Scorer`."""
    return callable(getattr(system, "score_pairs", None))


@runtime_checkable
class Searchable(Protocol):
    """Vectors that can be searched, however they are kept."""

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> Hits:
        """The k best rows of each query (q, d), ties by row; only rows of `within`, if given."""
        ...


@runtime_checkable
class Index(Searchable, Protocol):
    """Vectors under row numbers that can be searched and changed."""

    def add(self, rows: Rows, vectors: NDArray[Any]) -> None:
        """Store vectors (n, d) under rows (n,); a row already there is replaced."""
        ...

    def remove(self, rows: Rows) -> None:
        """Forget rows (n,); rows that are not there are ignored."""
        ...

    def save(self, path: Path) -> None:
        """Write everything to a file or folder at `path`."""
        ...


def checked_k(k: Any) -> int:
    """A number of hits.

    Raises:
        UsageError: it is no whole number of at least 1.
    """
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
        raise UsageError(f"k must be at least 1, not {k}; it is the number of hits that are wanted")
    return int(k)


class Stage:
    """A map from run to run; `a >> b` is a followed by b. Subclasses define `__call__`."""

    symmetric: bool = False
    """Whether a pair has the same score asked from the other side, so that `scores` serve both directions."""

    def __call__(self, run: Run) -> Run:
        """The run after this stage."""
        raise TypeError(f"{type(self).__name__} does not define __call__")

    def scores(self, run: Run, before: Any = None) -> Any:
        """Scores of every query with every entry that rank as the stage does, computed block by block.

        Args:
            run: Before the stage; hits are not needed.
            before: The scores of the stages before it; None if there is none, or if they have none.

        Returns:
            `diptych.metrics.Scores`; None from a stage that can only rank.
        """
        return None

    def __rshift__(self, other: Callable[[Run], Run]) -> Pipeline:
        return Pipeline(self, other)

    def __repr__(self) -> str:
        parts = (f"{name}={_shown(part)}" for name, part in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}({', '.join(parts)})"


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

    def scores(self, run: Run, before: Any = None) -> Any:
        """The last stage's scores on top of those before it; None if one stage has none."""
        for stage in self.stages:
            before = stage.scores(run, before) if isinstance(stage, Stage) else None
            if before is None:
                return None
        return before

    def __repr__(self) -> str:
        return " >> ".join(_shown(stage) for stage in self.stages)


def _shown(part: Any) -> str:
    """A part of a stage in a few letters: numbers and stages as they are, anything else by its name."""
    if part is None or isinstance(part, int | float | str | Stage):
        return repr(part)
    return str(getattr(part, "__name__", type(part).__name__))
