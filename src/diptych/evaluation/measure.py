"""Measures a system on a protocol of a data set, in both directions: the stage that `over` makes, over cases.

The stage is the one that a collection is searched by. One that knows the scores of all pairs gives them block
by block; of any other the hits are measured. What comes out states its definitions and can be scored again
from the saved ranking, without the system and without the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych import catalogue, metrics
from diptych.core import DIRECTIONS, SIDES, Floats, Hits, Run, Side, offered
from diptych.data.base import Absent, Dataset, Pictures, Protocol, Relevance, Split, as_dataset
from diptych.data.readable import left_out
from diptych.data.reading import report_of
from diptych.errors import UsageError
from diptych.evaluation.ranking import Evaluation, Fold
from diptych.media.ahead import unreadable
from diptych.media.report import Report
from diptych.pipeline import (
    DEPTH,
    EQUAL,
    Hybrid,
    Remembered,
    by_vectors,
    encode_readable,
    over,
    scores_of,
    weights_of,
)
from diptych.provenance import commit, versions

__all__ = ["Both", "compared", "definitions", "evaluate", "measure_of", "score"]

# A ranking of this many entries is kept whole (240 MB); of larger ones the first _DEPTH of each query.
_WHOLE = 30_000_000
_DEPTH = 1000


@dataclass(frozen=True)
class Both:
    """Scores of both directions, of images with texts and of texts with images.

    Args:
        scores: By direction, as in `DIRECTIONS`.
        mirrored: The second are the first asked from the other side.
    """

    scores: Mapping[str, metrics.Scores]
    mirrored: bool

    def measured(
        self,
        relevance: Mapping[str, metrics.Relevance],
        keep: Mapping[str, metrics.Keep] | None = None,
        **options: Any,
    ) -> dict[str, metrics.Measured]:
        """Everything about both directions; what they share is computed once.

        Args:
            relevance: By direction.
            keep: Takes the ranking of each direction.
            options: Of `diptych.metrics.measure`.
        """
        there, back = DIRECTIONS
        keep = keep or {}
        first = self.scores[there]
        if self.mirrored and isinstance(first, metrics.Embedded | metrics.Matrix):
            found = metrics.measure_both_ways(
                first, relevance[there], keep=keep.get(there), keep_back=keep.get(back), **options
            )
            return dict(zip(DIRECTIONS, found, strict=True))
        return {
            direction: metrics.measure(scores, relevance[direction], keep=keep.get(direction), **options)
            for direction, scores in self.scores.items()
        }


def compared(
    system: Any,
    query: Split,
    gallery: Split,
    vectors: Mapping[Split, Floats] | None = None,
    *,
    index: str | None = None,
    depth: int = DEPTH,
) -> Both:
    """Scores of images of `query` with texts of `gallery`, and of its texts with the images.

    Args:
        system: Whatever `over` takes.
        query, gallery: The same object, if they are the same split.
        vectors: The system's of the images of a split, where they are there already.
        index: As for `diptych.pipeline.over`; asked for `depth` hits.
        depth: Has no meaning without `index`.

    Raises:
        UsageError: the system cannot search that way.
        BadData: scores or vectors that are not finite.
    """
    # One object a side of a split, so that what both directions need is encoded once.
    items = {(split, side): Remembered(split.items(side)) for split in (query, gallery) for side in SIDES}
    for split, known in (vectors or {}).items():
        items[split, "image"].remember(system, "image", known)
    asked = {"text": items[query, "image"], "image": items[query, "text"]}
    # Asked for everything, any index would give everything.
    wanted = {to: len(items[gallery, to]) if index is None else depth for to in SIDES}
    stages = {to: over(system, items[gallery, to], max(wanted[to], 1), to=to, index=index) for to in SIDES}

    def scores(to: Side) -> metrics.Scores:
        return scores_of(stages[to], Run(asked[to], items[gallery, to]))

    there = scores("text")
    # A system may search each side in a way of its own, so that one stage says nothing of the other.
    alike = query is gallery and all(stage.symmetric for stage in stages.values())
    if alike and isinstance(there, metrics.Embedded | metrics.Matrix):
        return Both(dict(zip(DIRECTIONS, (there, there.transposed()), strict=True)), mirrored=True)
    return Both(dict(zip(DIRECTIONS, (there, scores("image")), strict=True)), mirrored=False)


def evaluate(
    system: Any,
    dataset: Dataset,
    protocol: str | None = None,
    *,
    name: str = "",
    rerank: Any = None,
    depth: int = DEPTH,
    index: str | None = None,
    keep: int | None = None,
    rank: bool = True,
    strict: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Measure a system in both directions, over all folds of a protocol.

    Args:
        system: Whatever `diptych.pipeline.over` takes: an encoder of both sides, a scorer, a retriever.
        dataset: The data.
        protocol: Its default, if None.
        name: What to call the system.
        rerank: A scorer of pairs, or another encoder, or its name, that ranks the first hits of an encoder
            anew; see `diptych.pipeline.Hybrid`. Its weight is its own, if it knows this encoder; else it is
            calibrated on the protocol's validation split, where there is one, and 0.5 where there is none.
        depth: First hits that it ranks anew; with `index`, hits that the index is asked for.
        index: Name of the kind of index that an encoder's vectors are searched through, to see what one that
            is not exact costs; not with `rerank`. What it does not find counts as ranked behind everything.
        keep: Ranks to keep of each query; None keeps all where there are few enough, else 1,000.
        rank: False keeps no ranking and, in pair protocols, measures recall and ranks only.
        strict: Refuse a picture that cannot be read. Otherwise it is left out with the texts that are its
            alone, and counted in the facts, under "read".
        facts: What else is known of the system (seed, parameters, fingerprint).

    Raises:
        ImageError: a picture cannot be read, and `strict`.
        UsageError: the system does not encode a side, scores too many pairs one by one, or the data are none
            or have no labels for a label protocol; or what is to re-rank, or be re-ranked, cannot.
        BadData: vectors or scores that are not finite, or none of the pictures can be read.
    """
    chosen = as_dataset(dataset).protocol(protocol)
    alone, reranked = system, None
    if rerank is not None:
        if index is not None:
            raise UsageError("what an index finds is measured without a re-ranker; leave one of the two out")
        scorer = rerank
        if isinstance(rerank, str):
            scorer = system if rerank == name else catalogue.load(rerank)
        system, reranked = _hybrid(system, scorer, depth, dataset, chosen)
    report = Report().join(report_of(dataset))
    label = chosen.relevance == "label"
    folds: dict[str, list[Fold]] = {direction: [] for direction in DIRECTIONS}
    parts: dict[str, list[metrics.Measured]] = {direction: [] for direction in DIRECTIONS}
    prints: list[str] = []
    for query, gallery in dataset.cases(protocol):
        seen = {
            part: _readable(system, part, None if strict else report)
            for part in dict.fromkeys((query, gallery))
        }
        vectors = {part: known for part, known in seen.values() if known is not None}
        query, gallery = seen[query][0], seen[gallery][0]
        prints += [part.sha256() for part in dict.fromkeys((query, gallery))]
        both = compared(system, query, gallery, vectors, index=index, depth=depth)
        relevance = _relevance(query, gallery, chosen.relevance)
        kept = {direction: _Kept(scores.shape, keep) for direction, scores in both.scores.items()}
        measured = both.measured(
            relevance, {name: one.add for name, one in kept.items()} if rank else None, graded=label,
            rank=rank or label,
        )  # fmt: skip
        for direction, one in measured.items():
            parts[direction].append(one)
            if rank:
                ids = _ids(direction, query, gallery)
                found = kept[direction]
                folds[direction].append(Fold(found.hits(), found.shape[1], relevance[direction], *ids))
    known = {
        "system": name or offered(alone, "name", type(alone).__name__),
        "data": dataset.name,
        "variant": _variant(dataset),
        "protocol": next(key for key, one in dataset.protocols.items() if one is chosen),
        "relevance": chosen.relevance,
        "measure": measure_of(chosen.relevance),
        "similarity": getattr(system, "similarity", None),
        "fingerprint": offered(system, "fingerprint"),
        "seed": offered(system, "seed"),
        "splits_sha256": prints,
        "definitions": definitions(),
        "versions": versions(),
        "commit": commit(),
        **({"read": report.as_dict()} if report.lines() else {}),
        **({"rerank": _told(system, rerank, reranked)} if rerank is not None else {}),
        **({"index": {"kind": index, "depth": depth}} if index is not None else {}),
        **(facts or {}),
    }
    pooled = {direction: metrics.pooled(found) for direction, found in parts.items()}
    return Evaluation(known, pooled, folds if rank else {})


def _hybrid(system: Any, scorer: Any, depth: int, dataset: Dataset, protocol: Protocol) -> tuple[Hybrid, str]:
    """The hybrid of both, and where its weights are from."""
    if not all(by_vectors(system, side) for side in SIDES):
        raise UsageError(
            f"{offered(system, 'name', type(system).__name__)} does not search by vectors, and what "
            "is re-ranked are the hits of such a search; give an encoder, and this as re-ranker"
        )
    hybrid = Hybrid(system, scorer, depth)
    if hybrid.knows_each_other:
        return hybrid, "the scorer's own"
    if not protocol.validation or protocol.validation in (protocol.query, protocol.gallery):
        return hybrid, "equal, as the protocol has no validation split to calibrate on"
    held = dataset.split(protocol.validation)
    images, texts = (held.items(side) for side in SIDES)
    hybrid.rerank_weights = {**EQUAL, **weights_of(hybrid, images, texts, held.pairs)}
    return hybrid, f"calibrated on {protocol.validation}"


def _told(hybrid: Hybrid, scorer: Any, weights: str | None) -> dict[str, Any]:
    """What results say of a second stage."""
    return {
        "system": scorer if isinstance(scorer, str) else offered(scorer, "name", type(scorer).__name__),
        "fingerprint": offered(hybrid.scorer, "fingerprint"),
        "depth": hybrid.rerank_depth,
        "weights": dict(hybrid.rerank_weights),
        "weights_are": weights,
        "pairs": hybrid.cost.pairs,
        "milliseconds_a_pair": round(hybrid.cost.milliseconds_a_pair, 4),
    }


def _readable(system: Any, split: Split, report: Report | None) -> tuple[Split, Floats | None]:
    """The split without pictures that cannot be read, and the system's vectors of the others, if it has any.

    Args:
        system: Whatever `over` takes.
        split: One that is measured on.
        report: What is left out is told there; None refuses it.
    """
    images, vectors = split.image, None
    if report is None or isinstance(images, np.ndarray | Absent) or not len(images):
        return split, None
    encoder = by_vectors(system, "image")
    if not isinstance(images, Pictures) and not isinstance(
        images[0], str | PathLike if encoder else PathLike
    ):
        return split, None
    if encoder:
        vectors, trouble = encode_readable(system, images)
    else:
        trouble = unreadable(images)
    return left_out(split, trouble, report), vectors


class _Kept:
    """The first ranks of each query while blocks of a ranking go by.

    Args:
        shape: Queries and entries.
        keep: As for `evaluate`.
    """

    def __init__(self, shape: tuple[int, int], keep: int | None) -> None:
        if keep is not None and keep < 1:
            raise UsageError(f"at least 1 rank is kept of each query, not {keep}")
        self.shape = shape
        self._depth = keep or (shape[1] if shape[0] * shape[1] <= _WHOLE else _DEPTH)
        self._rows: list[NDArray[Any]] = []
        self._scores: list[NDArray[Any]] = []

    def add(self, rows: NDArray[Any], ordered: NDArray[Any]) -> None:
        """Order and ordered scores of a block, (b, n) each."""
        self._rows.append(rows[:, : self._depth].astype(np.int32))
        self._scores.append(ordered[:, : self._depth].copy())

    def hits(self) -> Hits:
        """What was kept."""
        return Hits(np.concatenate(self._rows), np.concatenate(self._scores))


def definitions() -> dict[str, str]:
    """What each measure means, in the words that results carry."""
    return {
        "MAP@ALL": "mean over all queries of average precision over the whole gallery, divided by the number "
        "of relevant entries, expected over all orders of equal scores; 0 for a query without any",
        "MAP@K": "average precision of the first K, divided by the relevant entries among them (denominator "
        "'retrieved')",
        "R@n": "share of queries with a relevant entry among the first n",
        "MedR, MeanR": "median and mean rank of the best relevant entry",
        "P@n": "relevant entries among the first n, divided by n",
        "mAP@R, R-P": "average precision and precision of the first R, R the number of relevant entries",
        "NDCG@k": "gain 2^g - 1 with g shared labels, discount log2(1 + rank)",
        "ties": metrics.TIE_RULE,
        "interval_95": "percentile bootstrap over queries, 1000 samples, seed 0",
    }


def score(system: Any, query: Split, gallery: Split, relevance: Relevance) -> dict[str, float]:
    """MAP over the whole gallery (relevance "label") or recall at 1 ("pair"), by direction.

    What a training is validated by: the same values as `evaluate`'s, and nothing else.

    Args:
        system: Whatever `diptych.pipeline.over` takes.
        query, gallery: The same object, if they are the same split.
        relevance: What counts as a match.
    """
    both, matches = compared(system, query, gallery), _relevance(query, gallery, relevance)
    if relevance == "pair":
        measured = both.measured(matches, rank=False, recall_at=(1,))
        return {direction: one["R@1"] for direction, one in measured.items()}
    found = {
        direction: metrics.expected_average_precision(scores, matches[direction])
        for direction, scores in both.scores.items()
    }
    return {direction: float(values.mean()) if len(values) else 0.0 for direction, values in found.items()}


def measure_of(relevance: Relevance) -> str:
    """The main measure of a kind of protocol."""
    return "MAP@ALL" if relevance == "label" else "R@1"


def _relevance(query: Split, gallery: Split, kind: Relevance) -> dict[str, metrics.Relevance]:
    """What is relevant, by direction."""
    there, back = DIRECTIONS
    if kind == "pair":
        if query is not gallery:
            raise UsageError("pairs lie inside one split, so a pair protocol asks a split about itself")
        assert query.positives is not None
        pairs = metrics.ByPairs(query.positives, (len(query.image), len(query.text)))
        return {there: pairs, back: pairs.transposed()}
    image, text, asked, entries = query.label, gallery.text_label, query.text_label, gallery.label
    if image is None or text is None or asked is None or entries is None:
        raise UsageError("these data have no labels to measure MAP by; use a protocol of pairs")
    return {there: metrics.ByLabel(image, text), back: metrics.ByLabel(asked, entries)}


def _ids(direction: str, query: Split, gallery: Split) -> tuple[Sequence[str], Sequence[str]]:
    if direction == "image to text":
        return query.image_id or (), gallery.text_id or ()
    return query.text_id or (), gallery.image_id or ()


def _variant(dataset: Any) -> str | None:
    """Of the data set, or of the one that features or a cut are around."""
    while dataset is not None:
        if found := getattr(dataset, "variant", None):
            return str(found)
        dataset = getattr(dataset, "inner", None)
    return None
