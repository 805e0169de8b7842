"""The stages of a search; each maps a `Run` to a `Run`, and `a >> b` joins them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from diptych import similarity
from diptych.core import Encoder, Floats, Hits, Item, Rows, Run, Scorer, Searchable, Side, Stage
from diptych.errors import UsageError
from diptych.index.flat import best
from diptych.pipeline.encode import contents, encode
from diptych.pipeline.rankings import hits_of, score_matrix, stacked

if TYPE_CHECKING:  # a search has no need of the metrics
    from diptych.metrics.scores import Matrix, Scores

__all__ = ["Answers", "Compares", "Exhaustive", "Fuse", "PairScores", "Repeat", "Rewrite", "Search", "Select"]


@runtime_checkable
class Compares(Protocol):
    """An index that knows all its vectors at once, so that metrics can go over all scores block by block."""

    def compared(self, vectors: NDArray[Any]) -> Scores:
        """Scores of queries (q, d) with every vector, in ascending order of rows."""
        ...


@runtime_checkable
class Answers(Protocol):
    """An index that may answer for a part of what it holds, as one over several machines does."""

    def answered(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> tuple[Hits, str]:
        """As `Searchable.search`, and what is missing, in a sentence; empty if nothing is."""
        ...


class Search(Stage):
    """Encode the queries and ask an index.

    What an index in parts leaves out is noted with each query as "degraded".

    Args:
        encoder: Encodes the queries.
        index: Holds the gallery's vectors; its rows are positions in the gallery.
        k: Hits to keep for each query.
        within: Only these rows (n,), for example those that passed a filter.
    """

    def __init__(self, encoder: Any, index: Searchable, k: int, *, within: Rows | None = None) -> None:
        self.encoder, self.index, self.k, self.within = encoder, index, k, within

    @property
    def symmetric(self) -> bool:  # type: ignore[override]  # what every other stage knows beforehand
        """All similarities but late interaction are the same asked from the other side."""
        return str(self.encoder.similarity) != "maxsim"

    def __call__(self, run: Run) -> Run:
        """The run with the index's hits."""
        vectors = encode(self.encoder, run.queries)
        if not isinstance(self.index, Answers):
            return run.with_hits(self.index.search(vectors, self.k, self.within))
        hits, missing = self.index.answered(vectors, self.k, self.within)
        found = run.with_hits(hits)
        return found.noted([{"degraded": missing}] * len(run.queries)) if missing else found

    def scores(self, run: Run, before: Scores | None = None) -> Scores | None:
        """Similarities, of an index that compares with everything."""
        if self.within is not None or not isinstance(self.index, Compares):
            return None
        return self.index.compared(encode(self.encoder, run.queries))


class Exhaustive(Stage):
    """Score every query with every gallery entry.

    Args:
        scorer: Looks at query and entry together.
        k: Hits to keep for each query.
        to: The side of the gallery.
    """

    symmetric = True

    def __init__(self, scorer: Scorer, k: int, *, to: Side = "image") -> None:
        self.scorer, self.k, self.to = scorer, k, to

    def __call__(self, run: Run) -> Run:
        """The run with the k best entries of each query."""
        return run.with_hits(best(self.scores(run).values, np.arange(len(run.gallery)), self.k))

    def scores(self, run: Run, before: Scores | None = None) -> Matrix:
        """Scores of all pairs.

        Raises:
            UsageError: there are too many pairs, or an item has nothing to score.
            BadData: scores that are NaN.
        """
        from diptych.metrics.scores import Matrix

        other: Side = "text" if self.to == "image" else "image"
        entries, asked = contents(run.gallery, self.to), contents(run.queries, other)
        if self.to == "image":
            return Matrix(score_matrix(self.scorer, entries, asked).T)
        return Matrix(score_matrix(self.scorer, asked, entries))


class PairScores:
    """An encoder as a `Scorer`.

    Args:
        encoder: Of both sides.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def score(self, images: Sequence[Any], texts: Sequence[Any]) -> Floats:
        """Similarity of every pair, (n_images, n_texts)."""
        compare = similarity.named(self.encoder.similarity)
        return compare(self.encoder.encode_image(images), self.encoder.encode_text(texts))

    def score_pairs(self, images: Sequence[Any], texts: Sequence[Any], pairs: Rows) -> Floats:
        """Similarities (p,) of the pairs (p, 2), image row and text row."""
        compare = similarity.named(self.encoder.similarity)
        image, text = self.encoder.encode_image(images), self.encoder.encode_text(texts)
        return np.array([compare(image[i : i + 1], text[t : t + 1])[0, 0] for i, t in pairs], np.float32)


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
        hits = hits_of(run).top(self.depth)
        chosen = []
        for query, rows, scores in zip(run.queries, hits.rows, hits.scores, strict=True):
            real = rows >= 0
            order = list(self.choose(query, [run.gallery[row] for row in rows[real]]))
            chosen.append((rows[real][order], scores[real][order]))
        return run.with_hits(stacked(chosen, self.depth))


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
        stages: Stages, or pairs of a stage and its weight; a stage alone has weight 1.
        k: Hits to keep.
        smoothing: Added to every rank; 60 in the paper.

    Raises:
        UsageError: something else is given as a stage.
    """

    def __init__(
        self,
        stages: Sequence[Callable[[Run], Run] | tuple[Callable[[Run], Run], float]],
        k: int,
        *,
        smoothing: int = 60,
    ) -> None:
        self.k, self.smoothing = k, smoothing
        self.stages: list[tuple[Callable[[Run], Run], float]] = []
        for one in stages:
            stage, weight = one if isinstance(one, tuple) else (one, 1.0)
            if not callable(stage) or not isinstance(weight, int | float):
                raise UsageError(f"Fuse takes stages, or pairs (stage, weight), not {one!r}")
            self.stages.append((stage, float(weight)))

    def __call__(self, run: Run) -> Run:
        """The run with the fused hits; a score is the sum of weight / (smoothing + rank)."""
        totals: list[dict[int, float]] = [{} for _ in run.queries]
        noted = run
        for stage, weight in self.stages:
            done = stage(run)
            noted = noted.noted(done.notes) if done.notes else noted
            for total, rows in zip(totals, hits_of(done).rows, strict=True):
                for rank, row in enumerate(rows[rows >= 0].tolist(), start=1):
                    total[row] = total.get(row, 0.0) + weight / (self.smoothing + rank)
        fused = []
        for total in totals:
            rows = np.array(sorted(total, key=lambda row: (-total[row], row)), dtype=np.int64)
            fused.append((rows, np.array([total[row] for row in rows.tolist()], dtype=np.float32)))
        return noted.with_hits(stacked(fused, self.k))
