"""Rankings that are kept: saved, measured again without system and data, or measured by other matches."""

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
from diptych.core import DIRECTIONS, Hits
from diptych.data.readers.positives import left_out, matches
from diptych.errors import BadData, MissingData, UsageError
from diptych.files import replacing, write

__all__ = ["Evaluation", "Fold", "matched", "rescore"]

_MATCH_FILES = {"image_to_caption": "image to text", "caption_to_image": "text to image"}


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
    folds: Mapping[str, Sequence[Fold]] = field(default_factory=dict)

    def __repr__(self) -> str:
        main = ", ".join(f"{direction} {value:.4f}" for direction, value in self.main().items())
        return f"<Evaluation of {self.facts['system']} on {self.data}: {self.facts['measure']} {main}>"

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
    mAP@R, as theirs. The fact "matches" says of each file how many of its queries and matches are here
    ("left_out", see `diptych.data.readers.positives.left_out`).

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
        lost = left_out(file, fold.query_id, fold.gallery_id)
        used[direction] = {"file": file.name, "sha256": digest, "pairs": len(pairs), "left_out": lost}
    return Evaluation(
        {**found.facts, "relevance": "pair", "measure": "mAP@R", "matches": used}, measured, folds
    )


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
