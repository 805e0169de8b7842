"""Measures a system on a protocol of a data set, in both directions, and keeps the rankings.

Every system is measured through what it is: an encoder's vectors are compared by its similarity, a scorer
scores every pair, and a retriever brings its own pipeline. What comes out states its definitions and can be
scored again from the saved ranking, without the system and without the data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from diptych import metrics
from diptych.core import DIRECTIONS, Hits, Retriever, Run, Side
from diptych.data.base import Dataset, Relevance, Split
from diptych.data.readers.positives import matches
from diptych.errors import BadData, MissingData, UsageError
from diptych.files import replacing, write
from diptych.provenance import commit, versions

__all__ = [
    "Evaluation",
    "Fold",
    "definitions",
    "evaluate",
    "matched",
    "rescore",
    "score",
    "scores",
]

_SIDES: dict[str, tuple[Side, Side]] = {
    "image to text": ("image", "text"),
    "text to image": ("text", "image"),
}

_MATCH_FILES = {"image_to_caption": "image to text", "caption_to_image": "text to image"}

# A ranking of this many entries is kept whole (240 MB); of larger ones the first _DEPTH of each query.
_WHOLE = 30_000_000
_DEPTH = 1000


@dataclass(frozen=True)
class Fold:
    """One ranking and what is relevant to it: all that is needed to measure it again.

    Args:
        hits: Rows and scores, best first.
        gallery: Entries altogether.
        relevance: What counts as a match.
        query_id, gallery_id: Names in the data set.
    """

    hits: Hits
    gallery: int
    relevance: metrics.Relevance
    query_id: Sequence[str]
    gallery_id: Sequence[str]

    def measured(self, **options: Any) -> metrics.Measured:
        """See `diptych.metrics.measure`."""
        return metrics.measure(
            metrics.Ranked(self.hits, self.gallery),
            self.relevance,
            graded=isinstance(self.relevance, metrics.ByLabel),
            **options,
        )


@dataclass(frozen=True)
class Evaluation:
    """What a system reached on a protocol.

    Args:
        facts: System, data, protocol, definitions, counts, split fingerprints, versions.
        measured: By direction.
        folds: The rankings by direction, one a fold.
    """

    facts: Mapping[str, Any]
    measured: Mapping[str, metrics.Measured]
    folds: Mapping[str, Sequence[Fold]] = field(default_factory=dict, repr=False)

    @property
    def data(self) -> str:
        """Data set and variant, ``wikipedia:cnn``: variants are different data."""
        variant = self.facts.get("variant")
        return f"{self.facts['data']}:{variant}" if variant else str(self.facts["data"])

    def main(self) -> dict[str, float]:
        """The protocol's own measure by direction: MAP@ALL (labels) or R@1 (pairs)."""
        return {direction: one[str(self.facts["measure"])] for direction, one in self.measured.items()}

    def as_json(self, *, samples: int = 1000) -> dict[str, Any]:
        """Everything but the rankings.

        Args:
            samples: Of the bootstrap; 0 leaves the intervals out.
        """
        results = {}
        for direction, one in self.measured.items():
            results[direction] = {
                "values": one.values(),
                "ties": {name: dict(kinds) for name, kinds in one.bounds.items()},
                "queries": one.queries,
                "gallery": one.gallery,
                "folds": one.folds,
                "queries_without_relevant": one.without_relevant,
            }
            if samples:
                results[direction]["interval_95"] = one.intervals(samples=samples)
        return {**self.facts, "results": results}

    def save(self, folder: Path) -> None:
        """Write `evaluation.json` and `ranking.npz`."""
        write(folder / "evaluation.json", json.dumps(self.as_json(), indent=2) + "\n")
        arrays: dict[str, NDArray[Any]] = {"facts": np.array(json.dumps(dict(self.facts)))}
        for direction, folds in self.folds.items():
            for number, fold in enumerate(folds):
                for name, value in _arrays(fold).items():
                    arrays[f"{direction}/{number}/{name}"] = value
        with replacing(folder / "ranking.npz") as part, part.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # stubs mistake it for a flag


def evaluate(
    system: Any,
    dataset: Dataset,
    protocol: str | None = None,
    *,
    name: str = "",
    depth: int | None = None,
    rank: bool = True,
    facts: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Measure a system in both directions, over all folds of a protocol.

    Args:
        system: An encoder of both sides, a scorer or a retriever.
        dataset: The data.
        protocol: Its default, if None.
        name: What to call the system.
        depth: Ranks to keep of each query; None keeps all where there are few enough, else 1,000.
        rank: False keeps no ranking and, in pair protocols, measures recall and ranks only.
        facts: What else is known of the system (seed, parameters, fingerprint).

    Raises:
        UsageError: the system does not encode a side, or the data have no labels for a label protocol.
        BadData: scores that are NaN.
    """
    chosen = dataset.protocol(protocol)
    label = chosen.relevance == "label"
    folds: dict[str, list[Fold]] = {direction: [] for direction in DIRECTIONS}
    parts: dict[str, list[metrics.Measured]] = {direction: [] for direction in DIRECTIONS}
    prints: list[str] = []
    for query, gallery in dataset.cases(protocol):
        prints += [part.sha256() for part in dict.fromkeys((query, gallery))]
        compared = scores(system, query, gallery)
        for direction, compare in compared.items():
            relevance = _relevance(direction, query, gallery, chosen.relevance)
            kept: list[tuple[NDArray[Any], NDArray[Any]]] = []
            limit = _limit(compare.shape, depth)

            def keep(rows: NDArray[Any], ordered: NDArray[Any], kept: Any = kept, limit: int = limit) -> None:
                kept.append((rows[:, :limit].astype(np.int32), ordered[:, :limit].astype(np.float32)))

            parts[direction].append(
                metrics.measure(
                    compare, relevance, graded=label, keep=keep if rank else None, rank=rank or label
                )
            )
            if rank:
                hits = Hits(*(np.concatenate(one) for one in zip(*kept, strict=True)))
                ids = _ids(direction, query, gallery)
                folds[direction].append(Fold(hits, compare.shape[1], relevance, *ids))
    measured = {direction: metrics.pooled(found) for direction, found in parts.items()}
    known = {
        "system": name or getattr(system, "name", type(system).__name__),
        "data": dataset.name,
        "variant": _variant(dataset),
        "protocol": next(key for key, one in dataset.protocols.items() if one is chosen),
        "relevance": chosen.relevance,
        "measure": measure_of(chosen.relevance),
        "similarity": getattr(system, "similarity", None),
        "fingerprint": getattr(system, "fingerprint", None),
        "seed": getattr(system, "seed", None),
        "splits_sha256": prints,
        "definitions": definitions(),
        "versions": versions(),
        "commit": commit(),
        **(facts or {}),
    }
    return Evaluation(known, measured, folds if rank else {})


def definitions() -> dict[str, str]:
    """What each measure means, in the words that results carry."""
    return {
        "MAP@ALL": "mean over all queries of average precision over the whole gallery, divided by the number "
        "of relevant entries; 0 for a query without any",
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


def rescore(path: Path, **options: Any) -> Evaluation:
    """Measure a saved ranking again, without the system and the data.

    Args:
        path: `ranking.npz`, or the folder that holds it.
        options: Of `diptych.metrics.measure`, such as `cuts`.

    Raises:
        MissingData: there is no such file.
        BadData: it is not a saved ranking.
    """
    file = path / "ranking.npz" if path.is_dir() else path
    if not file.is_file():
        raise MissingData(
            f"{file} is not there; give the ranking.npz (or its folder) that `diptych evaluate` wrote"
        )
    try:
        with np.load(file, allow_pickle=False) as saved:
            facts = json.loads(str(saved["facts"]))
            folds = {direction: _folds(saved, direction) for direction in _directions(saved)}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise BadData(
            f"{file} is not a ranking that `diptych evaluate` saved, or is damaged ({error}); evaluate again"
        ) from error
    measured = {
        direction: metrics.pooled([fold.measured(**options) for fold in parts])
        for direction, parts in folds.items()
    }
    return Evaluation(facts, measured, folds)


def matched(found: Evaluation, files: Sequence[Path], **options: Any) -> Evaluation:
    """The same rankings measured by other matches, such as those of ECCV-Caption or CxC.

    Only queries that a file lists are asked, as its authors looked through no others; the main measure is
    mAP@R, as theirs.

    Args:
        found: With rankings of a whole split, such as MS-COCO's protocol "5k".
        files: One for each direction to be measured, called ...image_to_caption.json or
            ...caption_to_image.json; see `diptych.data.readers.positives.matches`.
        options: Of `diptych.metrics.measure`, such as `cuts`.

    Raises:
        UsageError: a file whose direction its name does not tell, or rankings of folds.
        MissingData, BadData: see `diptych.data.readers.positives.matches`.
    """
    measured: dict[str, metrics.Measured] = {}
    folds: dict[str, Sequence[Fold]] = {}
    used: dict[str, dict[str, Any]] = {}
    for file in files:
        direction = next((name for part, name in _MATCH_FILES.items() if part in file.name), None)
        if direction is None or direction in measured:
            raise UsageError(
                f"{file.name} must tell its direction by its name, and each direction is given once: "
                f"{' or '.join(f'...{part}.json' for part in _MATCH_FILES)}"
            )
        if len(found.folds.get(direction, ())) != 1:
            raise UsageError(
                f"other matches need one ranking of a whole split, not {len(found.folds.get(direction, ()))} "
                f"folds; evaluate with a protocol without folds, such as ms_coco's 5k"
            )
        fold = found.folds[direction][0]
        rows, pairs = matches(file, fold.query_id, fold.gallery_id)
        asked = replace(
            fold,
            hits=Hits(fold.hits.rows[rows], fold.hits.scores[rows]),
            relevance=metrics.ByPairs(pairs, (len(rows), fold.gallery)),
            query_id=[fold.query_id[row] for row in rows.tolist()],
        )
        folds[direction], measured[direction] = [asked], asked.measured(**options)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        used[direction] = {"file": file.name, "sha256": digest, "pairs": len(pairs)}
    return Evaluation(
        {**found.facts, "relevance": "pair", "measure": "mAP@R", "matches": used}, measured, folds
    )


def score(system: Any, query: Split, gallery: Split, relevance: Relevance) -> dict[str, float]:
    """MAP over the whole gallery (relevance "label") or recall at 1 ("pair"), by direction.

    What a training is validated by, so it computes nothing else.

    Args:
        system: An encoder of both sides, or a scorer.
        query, gallery: The same object, if they are the same split.
        relevance: What counts as a match.
    """
    found = {}
    for direction, compare in scores(system, query, gallery).items():
        matches = _relevance(direction, query, gallery, relevance)
        if relevance == "pair":
            found[direction] = metrics.first_ranks(compare, matches).recall(1)
            continue
        values = []
        for start, stop, block in metrics.score_blocks(compare):
            rows, _ = metrics.order(block, whole_numbers=getattr(compare, "similarity", "") == "hamming")
            ranked = np.take_along_axis(matches.block(start, stop), rows, axis=1)
            values.append(metrics.average_precision(ranked))
        found[direction] = float(np.concatenate(values).mean()) if values else 0.0
    return found


def measure_of(relevance: Relevance) -> str:
    """The main measure of a kind of protocol."""
    return "MAP@ALL" if relevance == "label" else "R@1"


def scores(system: Any, query: Split, gallery: Split) -> dict[str, metrics.Scores]:
    """Scores of images of `query` with texts of `gallery`, and of its texts with the images, by direction.

    Raises:
        UsageError: the system is no encoder of both sides, scorer or retriever.
    """
    if isinstance(system, Retriever):
        return {direction: _retrieved(system, direction, query, gallery) for direction in DIRECTIONS}
    encodes = hasattr(system, "encode_image") and hasattr(system, "encode_text")
    if hasattr(system, "score") and not (encodes and hasattr(system, "rerank_depth")):
        to_text = system.score(query.image, gallery.text)
        to_image = to_text if query is gallery else system.score(gallery.image, query.text)
        return {
            "image to text": metrics.Matrix(np.asarray(to_text)),
            "text to image": metrics.Matrix(np.asarray(to_image).T),
        }
    if not encodes:
        raise UsageError(
            f"{type(system).__name__} does not encode both images and texts, so it cannot be evaluated"
        )
    images, texts = system.encode_image(query.image), system.encode_text(query.text)
    same = query is gallery
    found: dict[str, metrics.Scores] = {
        "image to text": metrics.Embedded(
            images, texts if same else system.encode_text(gallery.text), system.similarity
        ),
        "text to image": metrics.Embedded(
            texts, images if same else system.encode_image(gallery.image), system.similarity
        ),
    }
    if hasattr(system, "agree") and same and system.agree_depth:
        return _agreeing(system, found)
    if not hasattr(system, "rerank_depth"):
        return found
    return {
        direction: _reranked(system, direction, first, query, gallery) for direction, first in found.items()
    }


def _reranked(
    system: Any, direction: str, first: metrics.Scores, query: Split, gallery: Split
) -> metrics.Scores:
    """Scores of a system in two stages: the first `rerank_depth` hits of the vectors are scored together.

    Everything behind them keeps its order.
    """
    depth = min(int(system.rerank_depth), first.shape[1])
    values = first.block(0, first.shape[0]).astype(np.float32)
    if not depth:
        return metrics.Matrix(values)
    top, _ = metrics.order(values)
    top = top[:, :depth]
    asked = np.repeat(np.arange(len(top)), depth)
    to_text = direction == "image to text"
    pairs = np.stack([asked, top.ravel()] if to_text else [top.ravel(), asked], axis=1)
    sides = (query.image, gallery.text) if to_text else (gallery.image, query.text)
    scored = np.asarray(system.score_pairs(*sides, pairs), np.float32).reshape(top.shape)
    lift = values.max(axis=1, keepdims=True) + 1 - scored.min(axis=1, keepdims=True)
    np.put_along_axis(values, top, scored + lift, axis=1)
    return metrics.Matrix(values)


def _agreeing(system: Any, first: Mapping[str, metrics.Scores]) -> dict[str, metrics.Scores]:
    """Scores of a system that makes the first `agree_depth` hits of both directions agree.

    Both directions' lists must be known, so it takes part in evaluations and not in a single search.
    """
    values = {name: one.block(0, one.shape[0]).astype(np.float32) for name, one in first.items()}
    depth = min(system.agree_depth, *(min(one.shape) for one in values.values()))
    lists = {name: metrics.order(one)[0][:, :depth] for name, one in values.items()}
    found: dict[str, metrics.Scores] = {}
    for name, other in (("image to text", "text to image"), ("text to image", "image to text")):
        # The rows change places among the scores that they had together.
        ordered = np.take_along_axis(values[name], lists[name], axis=1)
        changed = values[name].copy()
        np.put_along_axis(changed, system.agree(lists[name], lists[other]), ordered, axis=1)
        found[name] = metrics.Matrix(changed)
    return found


def _retrieved(system: Retriever, direction: str, query: Split, gallery: Split) -> metrics.Scores:
    asked, entries = _SIDES[direction]
    items, found = gallery.items(entries), query.items(asked)
    hits = system.over(items, len(items), entries)(Run(found, items)).hits
    if hits is None:
        raise UsageError(f"the pipeline of {type(system).__name__} ended without hits")
    return metrics.Ranked(hits, len(items))


def _relevance(direction: str, query: Split, gallery: Split, kind: Relevance) -> metrics.Relevance:
    to_text = direction == "image to text"
    if kind == "pair":
        if query is not gallery:
            raise UsageError("pairs lie inside one split, so a pair protocol asks a split about itself")
        assert query.positives is not None
        pairs = metrics.ByPairs(query.positives, (len(query.image), len(query.text)))
        return pairs if to_text else pairs.transposed()
    asked = query.label if to_text else query.text_label
    entries = gallery.text_label if to_text else gallery.label
    if asked is None or entries is None:
        raise UsageError("these data have no labels to measure MAP by; use a protocol of pairs")
    return metrics.ByLabel(asked, entries)


def _ids(direction: str, query: Split, gallery: Split) -> tuple[Sequence[str], Sequence[str]]:
    if direction == "image to text":
        return query.image_id or (), gallery.text_id or ()
    return query.text_id or (), gallery.image_id or ()


def _limit(shape: tuple[int, int], depth: int | None) -> int:
    if depth is not None:
        if depth < 1:
            raise UsageError(f"a ranking is kept to a depth of at least 1, not {depth}")
        return depth
    return shape[1] if shape[0] * shape[1] <= _WHOLE else _DEPTH


def _arrays(fold: Fold) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "rows": fold.hits.rows,
        "scores": fold.hits.scores,
        "gallery": np.array(fold.gallery),
        "query_id": np.array(list(fold.query_id), dtype=np.str_),
        "gallery_id": np.array(list(fold.gallery_id), dtype=np.str_),
    }
    if isinstance(fold.relevance, metrics.ByLabel):
        return {
            **arrays,
            "query_label": fold.relevance.query.astype(np.uint8),
            "gallery_label": fold.relevance.gallery.astype(np.uint8),
        }
    assert isinstance(fold.relevance, metrics.ByPairs)
    return {**arrays, "pairs": fold.relevance.pairs}


def _directions(saved: Any) -> list[str]:
    """Those that were saved; other matches may have been given for one alone."""
    found = [direction for direction in DIRECTIONS if f"{direction}/0/rows" in saved]
    if not found:
        raise ValueError("no ranking in it")
    return found


def _variant(dataset: Any) -> str | None:
    """Of the data set, or of the one that features or a cut are around."""
    while dataset is not None:
        if found := getattr(dataset, "variant", None):
            return str(found)
        dataset = getattr(dataset, "inner", None)
    return None


def _folds(saved: Any, direction: str) -> list[Fold]:
    folds: list[Fold] = []
    while f"{direction}/{len(folds)}/rows" in saved:
        part = {
            name.rpartition("/")[2]: saved[name]
            for name in saved.files
            if name.startswith(f"{direction}/{len(folds)}/")
        }
        gallery = int(part["gallery"])
        relevance: metrics.Relevance
        if "pairs" in part:
            relevance = metrics.ByPairs(part["pairs"], (len(part["rows"]), gallery))
        else:
            relevance = metrics.ByLabel(part["query_label"], part["gallery_label"])
        hits = Hits(part["rows"].astype(np.int64), part["scores"])
        folds.append(Fold(hits, gallery, relevance, part["query_id"].tolist(), part["gallery_id"].tolist()))
    return folds
