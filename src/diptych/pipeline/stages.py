"""The stages of a search and how a system becomes one. What is measured here is what is served.

A stage maps a `Run` to a `Run`; `a >> b` joins them. As sentences: a hybrid is
``over(dcmh, gallery, 100) >> Rerank(vilt)``; rewriting is ``Rewrite(ask) >> search``. `to` names the side of
the gallery that is searched: "image" (text query, image results: TqI) or "text" (IqT).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from diptych import similarity
from diptych.core import Encoder, Floats, Hits, Index, Item, Retriever, Rows, Run, Scorer, Side, Stage
from diptych.errors import UsageError

__all__ = [
    "Exhaustive",
    "Fuse",
    "PairScores",
    "Repeat",
    "Rerank",
    "Rewrite",
    "Search",
    "Select",
    "encode",
    "over",
]


@runtime_checkable
class Indexed(Protocol):
    """A gallery that has an index of its own, such as a collection."""

    def search_index(self, to: Side) -> Index:
        """The index of that side."""
        ...


def encode(encoder: Any, items: Sequence[Item], *, side: Side | None = None) -> Floats:
    """Vectors (n, d) of items.

    Args:
        encoder: An `Encoder`, of one side if the items need no more.
        items: Each a picture, a text, both (the sum of the two unit vectors) or a weighted sum of terms.
        side: Take only this side of every item; None takes whatever each has.

    Raises:
        UsageError: an item has nothing on that side, or the encoder does not encode it.
    """
    weights: list[float] = []
    owners: list[int] = []
    content: list[tuple[Side, Any]] = []

    def gather(item: Item, owner: int, weight: float) -> None:
        before = len(content)
        for term_weight, term in item.terms:
            gather(term, owner, weight * term_weight)
        for kind in ("image", "text"):
            value = getattr(item, kind)
            if value is not None and side in (None, kind):
                content.append((kind, value))
                owners.append(owner)
                weights.append(weight)
        if len(content) == before:
            raise UsageError(f"item {item.id!r} has no {side or 'image, text or terms'} to encode")

    for owner, item in enumerate(items):
        gather(item, owner, 1.0)

    parts: Floats | None = None
    for kind in ("image", "text"):
        at = [row for row, (found, _) in enumerate(content) if found == kind]
        if not at:
            continue
        method = getattr(encoder, f"encode_{kind}", None)
        if method is None:
            raise UsageError(f"{type(encoder).__name__} does not encode {kind}s")
        vectors = np.asarray(method([content[row][1] for row in at]), dtype=np.float32)
        if parts is None:
            parts = np.zeros((len(content), *vectors.shape[1:]), dtype=np.float32)
        parts[at] = vectors
    if parts is None:
        return np.zeros((0, 0), dtype=np.float32)
    if len(content) == len(items) and all(weight == 1 for weight in weights):
        return parts
    return _weighted_sums(encoder.similarity, parts, np.asarray(weights, np.float32), owners, len(items))


def _weighted_sums(kind: str, parts: Floats, weights: Floats, owners: Sequence[int], n: int) -> Floats:
    if parts.ndim != 2:
        raise UsageError("queries of several parts need one vector a part; this system gives one a token")
    if kind == "cosine":
        parts = similarity.unit(parts)
    sums = np.zeros((n, parts.shape[1]), dtype=np.float32)
    np.add.at(sums, np.asarray(owners), parts * weights[:, None])
    if kind == "cosine":
        return similarity.unit(sums)
    return np.where(sums > 0, np.float32(1), np.float32(-1)) if kind == "hamming" else sums


def over(system: Any, gallery: Sequence[Item], k: int, *, to: Side = "image") -> Stage:
    """The stage that ranks a gallery with a system; the only dispatch on what a system is.

    Args:
        system: An `Encoder` (searched through an index), a `Scorer` (every pair is scored) or a `Retriever`
            (brings its own stage).
        gallery: Entries to rank; one with a method `search_index(to)`, such as a
            collection, is searched through that.
        k: Hits to keep for each query.
        to: The side of the gallery that is searched.

    Raises:
        UsageError: `k` is not positive, or the system is none of the three.
    """
    if k < 1:
        raise UsageError(f"k must be at least 1, not {k}")
    if isinstance(system, Retriever):
        return system.over(gallery, k)
    if hasattr(system, "encode_image") or hasattr(system, "encode_text"):
        if isinstance(gallery, Indexed):
            return _searched(system, gallery.search_index(to), k, to)
        from diptych.index.flat import Flat

        vectors = encode(system, gallery, side=to)
        index = Flat(vectors.shape[-1] if len(gallery) else 1, similarity=system.similarity)
        if len(gallery):
            index.add(np.arange(len(gallery), dtype=np.int64), vectors)
        return _searched(system, index, k, to)
    if isinstance(system, Scorer):
        return Exhaustive(system, k, to=to)
    raise UsageError(f"{type(system).__name__} is no encoder, scorer or retriever, so it cannot search")


def _searched(system: Any, index: Index, k: int, to: Side) -> Stage:
    """A search, and the re-ranking of its first hits that a system in two stages brings."""
    depth = int(getattr(system, "rerank_depth", 0))
    if not depth or not isinstance(system, Scorer):
        return Search(system, index, k)
    return Search(system, index, max(k, depth)) >> RerankFirst(system, depth, k, to=to)


class Search(Stage):
    """Encode the queries and ask an index.

    Args:
        encoder: Encodes the queries.
        index: Holds the gallery's vectors; its rows are positions in the gallery.
        k: Hits to keep for each query.
        within: Only these rows (n,), for example those that passed a filter.
    """

    def __init__(self, encoder: Any, index: Index, k: int, *, within: Rows | None = None) -> None:
        self.encoder, self.index, self.k, self.within = encoder, index, k, within

    def __call__(self, run: Run) -> Run:
        """The run with the index's hits."""
        return run.with_hits(self.rank(self.encode(run.queries)))

    def encode(self, queries: Sequence[Item]) -> Floats:
        """The first half: vectors (q, d) of the queries."""
        return encode(self.encoder, queries)

    def rank(self, vectors: Floats) -> Hits:
        """The second half: the index's hits for vectors (q, d)."""
        return self.index.search(vectors, self.k, self.within)


class PairScores:
    """An encoder as a `Scorer`: every pair's similarity."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def score(self, images: Sequence[Any], texts: Sequence[str]) -> Floats:
        """Similarity of every pair, (n_images, n_texts)."""
        compare = similarity.named(self.encoder.similarity)
        return compare(self.encoder.encode_image(images), self.encoder.encode_text(texts))


class Exhaustive(Stage):
    """Score every query with every gallery entry."""

    def __init__(self, scorer: Scorer, k: int, *, to: Side = "image") -> None:
        self.scorer, self.k, self.to = scorer, k, to

    def __call__(self, run: Run) -> Run:
        """The run with the k best entries of each query."""
        entries = np.arange(len(run.gallery))
        return run.with_hits(
            _stack(
                [_best(self.scorer, query, run.gallery, entries, self.to) for query in run.queries], self.k
            )
        )


class Rerank(Stage):
    """Score the first `depth` hits anew and keep those, in the new order."""

    def __init__(self, scorer: Scorer, depth: int, *, to: Side = "image") -> None:
        self.scorer, self.depth, self.to = scorer, depth, to

    def __call__(self, run: Run) -> Run:
        """The run with the re-ranked hits."""
        ranked = []
        for query, rows in zip(run.queries, _hits(run).rows[:, : self.depth], strict=True):
            ranked.append(_best(self.scorer, query, run.gallery, rows[rows >= 0], self.to))
        return run.with_hits(_stack(ranked, self.depth))


class RerankFirst(Stage):
    """Score the first `depth` hits anew and leave the others, in their order, behind them.

    Args:
        scorer: Looks at query and hit together.
        depth: Hits that are scored anew.
        k: Hits to keep.
        to: The side of the gallery.
    """

    def __init__(self, scorer: Scorer, depth: int, k: int, *, to: Side = "image") -> None:
        self.first, self.k = Rerank(scorer, depth, to=to), k

    def __call__(self, run: Run) -> Run:
        """The run with the new order; the scores of the others are lowered below those of the first."""
        before, new = _hits(run), _hits(self.first(run))
        ranked = []
        for rows, scores, top, better in zip(before.rows, before.scores, new.rows, new.scores, strict=True):
            real = top >= 0
            rest = (rows >= 0) & ~np.isin(rows, top[real])
            worst = better[real].min() if real.any() else np.float32(0)
            behind = (
                scores[rest] - (scores[rest].max(initial=-np.inf) - worst) - 1 if rest.any() else scores[:0]
            )
            ranked.append((np.concatenate([top[real], rows[rest]]), np.concatenate([better[real], behind])))
        return run.with_hits(_stack(ranked, self.k))


class Select(Stage):
    """Let a function choose among the hits of each query.

    Args:
        choose: Query and candidate entries in, chosen positions among the candidates out, best first.
        depth: How many hits it sees.
    """

    def __init__(self, choose: Callable[[Item, Sequence[Item]], Sequence[int]], depth: int) -> None:
        self.choose, self.depth = choose, depth

    def __call__(self, run: Run) -> Run:
        """The run with the chosen hits, which keep their scores."""
        hits = _hits(run).top(self.depth)
        chosen = []
        for query, rows, scores in zip(run.queries, hits.rows, hits.scores, strict=True):
            real = rows >= 0
            order = list(self.choose(query, [run.gallery[row] for row in rows[real]]))
            chosen.append((rows[real][order], scores[real][order]))
        return run.with_hits(_stack(chosen, self.depth))


class Rewrite(Stage):
    """Replace the queries; the function sees the whole run, so it may read the hits so far."""

    def __init__(self, rewrite: Callable[[Run], Sequence[Item]]) -> None:
        self.rewrite = rewrite

    def __call__(self, run: Run) -> Run:
        """The run with the new queries."""
        return run.with_queries(self.rewrite(run))


class Repeat(Stage):
    """The same stage several times, as a dialogue does."""

    def __init__(self, stage: Callable[[Run], Run], times: int) -> None:
        self.stage, self.times = stage, times

    def __call__(self, run: Run) -> Run:
        """The run after `times` passes."""
        for _ in range(self.times):
            run = self.stage(run)
        return run


class Fuse(Stage):
    """Reciprocal rank fusion of several stages (Cormack, Clarke, Buettcher, SIGIR 2009, eq. 1).

    Args:
        stages: Each stage with its weight.
        k: Hits to keep.
        smoothing: Added to every rank; 60 in the paper.
    """

    def __init__(self, stages: Mapping[Callable[[Run], Run], float], k: int, *, smoothing: int = 60) -> None:
        self.stages, self.k, self.smoothing = stages, k, smoothing

    def __call__(self, run: Run) -> Run:
        """The run with the fused hits; a score is the sum of weight / (smoothing + rank)."""
        totals: list[dict[int, float]] = [{} for _ in run.queries]
        for stage, weight in self.stages.items():
            for total, rows in zip(totals, _hits(stage(run)).rows, strict=True):
                for rank, row in enumerate(rows[rows >= 0].tolist(), start=1):
                    total[row] = total.get(row, 0.0) + weight / (self.smoothing + rank)
        fused = []
        for total in totals:
            rows = np.array(sorted(total, key=lambda row: (-total[row], row)), dtype=np.int64)
            fused.append((rows, np.array([total[row] for row in rows.tolist()], dtype=np.float32)))
        return run.with_hits(_stack(fused, self.k))


def _hits(run: Run) -> Hits:
    if run.hits is None:
        raise UsageError("this stage works on hits, but nothing was searched before it")
    return run.hits


def _best(scorer: Scorer, query: Item, gallery: Sequence[Item], rows: Rows, to: Side) -> tuple[Rows, Floats]:
    """The rows in the order of their scores with one query, ties by row."""
    asked = query.text if to == "image" else query.image
    if asked is None:
        raise UsageError(f"query {query.id!r} has no {'text' if to == 'image' else 'image'} to score with")
    entries = [getattr(gallery[row], to) for row in rows]
    scores = scorer.score(entries, [asked])[:, 0] if to == "image" else scorer.score([asked], entries)[0]
    order = np.lexsort((rows, -scores))
    return np.asarray(rows[order], np.int64), np.asarray(scores[order], np.float32)


def _stack(ranked: Sequence[tuple[Rows, Floats]], k: int) -> Hits:
    """Rankings of any length as one (q, k) array, filled with -1 and -inf."""
    width = min(k, max((len(rows) for rows, _ in ranked), default=0))
    hits = Hits(
        np.full((len(ranked), width), -1, np.int64), np.full((len(ranked), width), -np.inf, np.float32)
    )
    for at, (rows, scores) in enumerate(ranked):
        hits.rows[at, : len(rows[:width])] = rows[:width]
        hits.scores[at, : len(rows[:width])] = scores[:width]
    return hits
