"""The checks of indexes, data sets and metrics: healthy ones pass, broken ones fail the check meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.core import Hits
from diptych.data.base import Loaded, Protocol, Split
from diptych.data.sets.planted import Planted, Syn
from diptych.index.flat import Flat
from diptych.testing import dataset_checks, index_checks, metric_checks
from diptych.testing.materials import literal_map


@pytest.mark.parametrize("similarity", ["cosine", "dot", "hamming"])
def test_the_flat_index_passes(similarity: str) -> None:
    for _, check in index_checks(lambda: Flat(32, similarity), similarity=similarity):
        check()


class Wrong(Flat):
    """A flat index with one fault, named by `fault`."""

    fault = ""

    def add(self, rows: Any, vectors: Any) -> None:
        if self.fault == "replaces" and len(rows) == 1:
            return
        super().add(rows, vectors)

    def remove(self, rows: Any) -> None:
        if self.fault != "forgets_and_relearns" or len(rows) != 2:
            super().remove(rows)

    def search(self, vectors: Any, k: int, within: Any = None) -> Hits:
        if self.fault == "keeps_within":
            within = None
        hits = super().search(-vectors if self.fault == "finds_the_best" else vectors, k, within)
        if self.fault == "fills_what_is_short":
            return Hits(np.maximum(hits.rows, 0), hits.scores)
        if self.fault == "ties":
            return super().search(vectors + np.float32(1e-3), k, within)
        return hits

    def save(self, path: Path) -> None:
        if self.fault == "reopens":
            self._vectors = self._vectors[::-1].copy()
            super().save(path)
            self._vectors = self._vectors[::-1].copy()
        elif self.fault == "refuses_half_a_file":
            path.write_bytes(b"".join(v.tobytes() for v in self._vectors))
        else:
            super().save(path)

    @classmethod
    def open(cls, path: Path) -> Any:
        if cls.fault != "refuses_half_a_file":
            return super().open(path)
        data = np.frombuffer(path.read_bytes(), np.float32).reshape(-1, 32)
        index = cls(32)
        index.add(np.arange(len(data)), data)
        return index


def faulty(fault: str) -> Callable[[], Flat]:
    kind = type("Faulty", (Wrong,), {"fault": fault})
    return lambda: kind(32)


BROKEN_INDEXES = {
    "finds_the_best": "the scores differ from brute force",
    "fills_what_is_short": "rows that do not exist must be -1",
    "replaces": "added again is not found by its new vector",
    "forgets_and_relearns": "a row that was removed is found",
    "keeps_within": "rows outside `within` are found",
    "reopens": "an index that was saved finds other rows",
    "refuses_half_a_file": "half a file is opened as if it were whole",
}


@pytest.mark.parametrize("label", [label for label, _ in index_checks(lambda: Flat(32))])
def test_a_broken_index_is_found_out(label: str) -> None:
    dict(index_checks(faulty("")))[label]()
    with pytest.raises(AssertionError, match=BROKEN_INDEXES[label]):
        dict(index_checks(faulty(label)))[label]()


def test_recall_is_asked_for_where_an_index_is_not_exact() -> None:
    found = dict(index_checks(faulty("finds_the_best"), recall=0.9))["finds_the_best"]
    with pytest.raises(AssertionError, match=r"recall is 0\.\d+; 0\.9 is required"):
        found()
    dict(index_checks(lambda: Flat(32), recall=0.9))["finds_the_best"]()


COUNTS = {"train": (200, 200), "val": (50, 50), "test": (100, 100)}


def test_planted_data_pass() -> None:
    records = {"train": {0: ("0", "0"), 9: ("9", "9"), -1: ("199", "199")}}
    for _, check in dataset_checks(Planted(), counts=COUNTS, records=records):
        check()
    syn = {"train": (800, 800), "query": (200, 200), "database": (1000, 1000)}
    for _, check in dataset_checks(Syn(), counts=syn):
        check()


def named(count: int, first: int) -> Split:
    names = [f"p{number}.jpg" for number in range(first, first + count)]
    whole = Planted().split("train").take(range(count))
    return Split(
        whole.image, [f"caption of {name}" for name in names], whole.label, whole.pairs, image_id=names
    )


def own(**changes: Any) -> Loaded:
    parts = {"train": named(20, 0), "test": changes.pop("test", named(10, 20))}
    protocols = {"pairs": Protocol("test", "test", "pair"), **changes.pop("protocols", {})}
    return Loaded("own", parts, protocols=protocols, **changes)


class Changing(Loaded):
    """Another split each time."""

    def split(self, name: str) -> Split:
        self.reads = getattr(self, "reads", 0) + 1
        return super().split(name).take(np.random.default_rng(self.reads).permutation(10))


GOOD: Mapping[str, Any] = {
    "counts": {"train": (20, 20), "test": (10, 10)},
    "records": {"test": {0: ("p20.jpg", "caption of p20"), 9: ("p29.jpg", "caption of p29")}},
}
BROKEN_DATA = [
    ("has_its_counts", own(), {**GOOD, "counts": {"train": (20, 20), "test": (10, 11)}}, r"not \(10, 11\)"),
    ("has_its_counts", own(), {**GOOD, "counts": {"train": (20, 20)}}, "counts of .* for splits"),
    (
        "has_its_records",
        own(),
        {**GOOD, "records": {"test": {0: ("p21.jpg", "caption of p20")}}},
        "has image 'p20.jpg', not 'p21.jpg'",
    ),
    (
        "has_its_records",
        own(),
        {**GOOD, "records": {"test": {0: ("p20.jpg", "caption of p21")}}},
        "says 'caption of p20.jpg'",
    ),
    ("labels_have_names", own(class_names=["one", "two"]), GOOD, "5 classes, but 2 names"),
    (
        "protocols_exist",
        own(protocols={"more": Protocol("dev", "test", "pair")}),
        GOOD,
        "names no split 'dev'",
    ),
    (
        "protocols_exist",
        own(
            test=Split(["a"], ["b"], None, np.array([[0, 0]])),
            protocols={"more": Protocol("test", "test", "label")},
        ),
        GOOD,
        "needs labels, and its splits have none",
    ),
    ("training_is_not_tested", own(test=named(10, 15)), GOOD, "tests 5 training images"),
    (
        "reads_the_same_twice",
        Changing("own", {"train": named(20, 0), "test": named(10, 20)}),
        GOOD,
        "another when it is read again",
    ),
]


def test_healthy_data_pass() -> None:
    for _, check in dataset_checks(own(), **GOOD):
        check()


@pytest.mark.parametrize(("label", "data", "facts", "said"), BROKEN_DATA)
def test_broken_data_are_found_out(label: str, data: Loaded, facts: Mapping[str, Any], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        dict(dataset_checks(data, **facts))[label]()


def skips_empty(scores: Any, relevant: Any) -> float:
    keep = relevant.any(axis=1)
    return literal_map(scores[keep], relevant[keep])


def positive_only(scores: Any, relevant: Any) -> float:
    return literal_map(np.maximum(scores, 0), relevant)


BROKEN_METRICS = [
    (
        "equals_the_definition",
        lambda scores, relevant: literal_map(-scores, relevant),
        "3 queries of 7 entries give",
    ),
    ("takes_negative_scores", positive_only, "negative scores change"),
    ("ties_go_by_row", lambda scores, relevant: literal_map(scores[:, ::-1], relevant[:, ::-1]), "ties give"),
    (
        "perfect_is_one",
        lambda scores, relevant: 0.99 * literal_map(scores, relevant),
        "a perfect ranking gives 0.99",
    ),
    ("nothing_relevant_is_zero", skips_empty, "without relevant entry give 1.0"),
]


def test_the_literal_metric_passes() -> None:
    labels = [label for label, check in metric_checks(literal_map) if check() is None]
    assert labels == [label for label, *_ in BROKEN_METRICS]


@pytest.mark.parametrize(("label", "measure", "said"), BROKEN_METRICS)
def test_a_broken_metric_is_found_out(label: str, measure: Any, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        dict(metric_checks(measure))[label]()
