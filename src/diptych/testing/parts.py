"""Checks of indexes, data sets and metrics, to be run all at once or each as a test of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych import similarity as similarities
from diptych.core import Floats, Index
from diptych.data.base import Dataset
from diptych.errors import DiptychError
from diptych.testing.materials import literal_map
from diptych.testing.running import Check, run_checks

__all__ = [
    "check_dataset",
    "check_index",
    "check_metric",
    "dataset_checks",
    "index_checks",
    "metric_checks",
]

_DIM = 32
_Measure = Callable[[Floats, NDArray[np.bool_]], float]


def check_index(make: Callable[[], Index], **options: Any) -> None:
    """Run every check of an index and print a line for each; the arguments are those of `index_checks`.

    Raises:
        AssertionError: naming every check that failed, and why.
    """
    run_checks("the index", index_checks(make, **options))


def index_checks(
    make: Callable[[], Index], *, similarity: str = "cosine", recall: float = 1.0
) -> Iterator[Check]:
    """Every check of an index of 32 dimensions (or bits).

    Args:
        make: Makes an empty one.
        similarity: What it compares by; "hamming" is tried with +1/-1 codes.
        recall: Share of the true best that it must find; 1 asks for exactly the scores and order of comparing
            everything, ties by row.

    Yields:
        Name of the check, and a function that raises AssertionError if it fails.
    """
    for check in (finds_the_best, fills_what_is_short, replaces, forgets_and_relearns, keeps_within):
        yield check.__name__, partial(check, make, similarity, recall)
    if hasattr(type(make()), "open"):
        for check in (reopens, refuses_half_a_file):
            yield check.__name__, partial(check, make, similarity, recall)


def finds_the_best(make: Callable[[], Index], similarity: str, recall: float) -> None:
    """Search finds what comparing everything finds."""
    gallery, queries, rows = _vectors(similarity)
    index = make()
    index.add(rows, gallery)
    hits = index.search(queries, 10)
    true_rows, true_scores = _brute_force(similarity, queries, gallery, rows, 10)
    if recall < 1:
        pairs = zip(hits.rows.tolist(), true_rows.tolist(), strict=True)
        found = float(np.mean([len(set(ours) & set(best)) / 10 for ours, best in pairs]))
        _must(found >= recall, f"recall is {found:.3f}; {recall} is required")
        return
    _must(bool(np.allclose(hits.scores, true_scores, atol=1e-4)), "the scores differ from brute force")
    _must(bool(np.array_equal(hits.rows, true_rows)), "the rows differ from brute force (ties go by row)")


def fills_what_is_short(make: Callable[[], Index], similarity: str, recall: float) -> None:
    """Fewer entries than asked for leave row -1 and score -inf."""
    gallery, queries, rows = _vectors(similarity)
    index = make()
    index.add(rows[:3], gallery[:3])
    hits = index.search(queries, 5)
    _must(hits.rows.shape == (len(queries), 5), f"5 hits of 3 entries have shape {hits.rows.shape}")
    _must(bool((hits.rows[:, 3:] == -1).all()), "rows that do not exist must be -1")
    _must(bool(np.isneginf(hits.scores[:, 3:]).all()), "scores that do not exist must be -inf")
    _must({*hits.rows[0, :3].tolist()} == {*rows[:3].tolist()}, "entries that exist are not all found")


def replaces(make: Callable[[], Index], similarity: str, recall: float) -> None:
    """A row that is added again has only the new vector."""
    gallery, _, rows = _vectors(similarity)
    index = make()
    index.add(rows, gallery)
    index.add(rows[:1], gallery[1:2])
    hits = index.search(gallery[1:2], len(rows))
    listed = hits.rows[0].tolist()
    _must(listed.count(int(rows[0])) <= 1, "a row that was added twice is found twice")
    _must(int(rows[0]) in listed[:2], "a row that was added again is not found by its new vector")


def forgets_and_relearns(make: Callable[[], Index], similarity: str, recall: float) -> None:
    """What was removed is not found, what never was there may be removed, what comes back is found."""
    gallery, _, rows = _vectors(similarity)
    index = make()
    index.add(rows, gallery)
    index.remove(np.array([rows[5], 10**9], np.int64))
    hits = index.search(gallery[5:6], len(rows))
    _must(int(rows[5]) not in hits.rows[0].tolist(), "a row that was removed is found")
    index.add(rows[5:6], gallery[5:6])
    hits = index.search(gallery[5:6], 3)
    _must(int(rows[5]) in hits.rows[0].tolist(), "a row that was removed and added again is not found")


def keeps_within(make: Callable[[], Index], similarity: str, recall: float) -> None:
    """Only the rows asked for are searched."""
    gallery, queries, rows = _vectors(similarity)
    index = make()
    index.add(rows, gallery)
    allowed = rows[::7]
    hits = index.search(queries, 10, within=allowed)
    found = {*hits.rows.ravel().tolist()} - {-1}
    _must(found <= {*allowed.tolist()}, "rows outside `within` are found")
    _must(len(found) > 0, "nothing inside `within` is found")
    nothing = index.search(queries, 3, within=np.zeros(0, np.int64))
    _must(bool((nothing.rows == -1).all()), "an empty `within` must find nothing")


def reopens(make: Callable[[], Index], similarity: str, recall: float) -> None:
    """What was saved and opened finds the same."""
    gallery, queries, rows = _vectors(similarity)
    index: Any = make()
    index.add(rows, gallery)
    with tempfile.TemporaryDirectory() as folder:
        index.save(Path(folder) / "index")
        again = type(index).open(Path(folder) / "index")
        first, second = index.search(queries, 10), again.search(queries, 10)
    _must(bool(np.array_equal(first.rows, second.rows)), "an index that was saved finds other rows")


def refuses_half_a_file(make: Callable[[], Index], similarity: str, recall: float) -> None:
    """A file that a crash cut short is refused with an error of ours."""
    gallery, _, rows = _vectors(similarity)
    index: Any = make()
    index.add(rows, gallery)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        index.save(path)
        for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
            content = file.read_bytes()
            file.write_bytes(content[: len(content) // 2])
        try:
            type(index).open(path)
        except DiptychError:
            return
    raise AssertionError("half a file is opened as if it were whole")


def check_dataset(dataset: Dataset, **options: Any) -> None:
    """Run every check of a data set and print a line for each; the arguments are those of `dataset_checks`.

    Raises:
        AssertionError: naming every check that failed, and why.
    """
    run_checks(dataset.name, dataset_checks(dataset, **options))


def dataset_checks(
    dataset: Dataset,
    *,
    counts: Mapping[str, tuple[int, int]],
    records: Mapping[str, Mapping[int, tuple[str, str]]] | None = None,
) -> Iterator[Check]:
    """Every check of a data set whose files are there.

    Args:
        dataset: The data.
        counts: Images and texts of each split.
        records: For splits, name of the image and beginning of the text (or name of a text that is features)
            in some pairs; the first, the tenth and the last catch most slips.

    Yields:
        Name of the check, and a function that raises AssertionError if it fails.
    """
    yield "has_its_counts", partial(has_its_counts, dataset, counts)
    yield "has_its_records", partial(has_its_records, dataset, records or {})
    for check in (labels_have_names, protocols_exist, training_is_not_tested, reads_the_same_twice):
        yield check.__name__, partial(check, dataset)


def has_its_counts(dataset: Dataset, counts: Mapping[str, tuple[int, int]]) -> None:
    """Every split has as many images and texts as it should."""
    _must(set(counts) == set(dataset.splits), f"counts of {sorted(counts)} for splits {dataset.splits}")
    for name, expected in counts.items():
        split = dataset.split(name)
        found = (len(split.image), len(split.text))
        _must(found == expected, f"{dataset.name} {name} has (images, texts) {found}, not {expected}")


def has_its_records(dataset: Dataset, records: Mapping[str, Mapping[int, tuple[str, str]]]) -> None:
    """The pairs named hold what they should."""
    for name, wanted in records.items():
        split = dataset.split(name)
        for row, (image, text) in wanted.items():
            at_image, at_text = split.pairs[row].tolist()
            ids = (split.image_id or ())[at_image], (split.text_id or ())[at_text]
            _must(ids[0] == image, f"{dataset.name} {name} pair {row} has image {ids[0]!r}, not {image!r}")
            told = split.text[at_text] if isinstance(split.text[at_text], str) else ids[1]
            _must(told.startswith(text), f"{dataset.name} {name} pair {row} says {told!r}, not {text!r}")


def labels_have_names(dataset: Dataset) -> None:
    """There is a name for each label column, or there are none at all."""
    for name in dataset.splits:
        label = dataset.split(name).label
        if label is not None and dataset.class_names:
            _must(
                label.shape[1] == len(dataset.class_names),
                f"{dataset.name} {name} has {label.shape[1]} classes, but {len(dataset.class_names)} names",
            )


def protocols_exist(dataset: Dataset) -> None:
    """Protocols name splits that exist, and labels where they need them."""
    for name, protocol in dataset.protocols.items():
        named = [protocol.query, protocol.gallery, protocol.train, protocol.validation]
        for split in named:
            _must(
                split in (None, *dataset.splits), f"{dataset.name}: protocol {name} names no split {split!r}"
            )
        if protocol.relevance == "label":
            has = all(dataset.split(s).label is not None for s in (protocol.query, protocol.gallery))
            _must(has, f"{dataset.name}: protocol {name} needs labels, and its splits have none")


def training_is_not_tested(dataset: Dataset) -> None:
    """No image of the training split is asked about."""
    for name, protocol in dataset.protocols.items():
        if protocol.train == protocol.query:
            continue
        train, query = dataset.split(protocol.train), dataset.split(protocol.query)
        both = set(train.image_id or ()) & set(query.image_id or ())
        numbered = set(train.image_id or ()) == {str(n) for n in range(len(train.image))}
        _must(numbered or not both, f"{dataset.name}: protocol {name} tests {len(both)} training images")


def reads_the_same_twice(dataset: Dataset) -> None:
    """A split is the same when it is read again."""
    for name in dataset.splits:
        first, second = dataset.split(name), dataset.split(name)
        _must(first.sha256() == second.sha256(), f"{dataset.name} {name} is another when it is read again")


def check_metric(measure: _Measure, **options: Any) -> None:
    """Run every check of a metric and print a line for each; the arguments are those of `metric_checks`.

    Raises:
        AssertionError: naming every check that failed, and why.
    """
    run_checks("the metric", metric_checks(measure, **options))


def metric_checks(
    measure: _Measure,
    *,
    literal: _Measure = literal_map,
) -> Iterator[Check]:
    """Every check of a ranking metric between 0 and 1.

    Args:
        measure: Scores (q, n) and what is relevant (q, n) to a number, larger is better.
        literal: The same by the definition, slow and obvious; by default mean average precision.

    Yields:
        Name of the check, and a function that raises AssertionError if it fails.
    """
    for check in (equals_the_definition, takes_negative_scores, ties_go_by_row):
        yield check.__name__, partial(check, measure, literal)
    yield "perfect_is_one", partial(perfect_is_one, measure)
    yield "nothing_relevant_is_zero", partial(nothing_relevant_is_zero, measure)


def equals_the_definition(measure: _Measure, literal: _Measure) -> None:
    """It is what its definition says, on random rankings of several sizes."""
    random = np.random.default_rng(0)
    for q, n in ((1, 1), (3, 7), (8, 40)):
        scores, relevant = random.standard_normal((q, n)).astype(np.float32), random.random((q, n)) < 0.3
        found, wanted = measure(scores, relevant), literal(scores, relevant)
        _must(abs(found - wanted) < 1e-6, f"{q} queries of {n} entries give {found}, not {wanted}")


def takes_negative_scores(measure: _Measure, literal: _Measure) -> None:
    """Only the order of the scores counts, not their sign."""
    random = np.random.default_rng(1)
    scores, relevant = random.random((5, 20)).astype(np.float32), random.random((5, 20)) < 0.3
    _must(
        abs(measure(scores - 100, relevant) - measure(scores, relevant)) < 1e-6,
        "negative scores change the result",
    )


def ties_go_by_row(measure: _Measure, literal: _Measure) -> None:
    """Entries of equal score rank by their row."""
    relevant = np.random.default_rng(2).random((4, 12)) < 0.4
    falling = np.tile(-np.arange(12, dtype=np.float32), (4, 1))
    found, wanted = measure(np.zeros((4, 12), np.float32), relevant), literal(falling, relevant)
    _must(abs(found - wanted) < 1e-6, f"ties give {found}; by row they give {wanted}")


def perfect_is_one(measure: _Measure) -> None:
    """All relevant entries before all others give 1."""
    relevant = np.random.default_rng(3).random((6, 15)) < 0.4
    relevant[:, 0] = True
    found = measure(relevant.astype(np.float32) - 5, relevant)
    _must(abs(found - 1) < 1e-6, f"a perfect ranking gives {found}, not 1")


def nothing_relevant_is_zero(measure: _Measure) -> None:
    """A query without a relevant entry counts, as 0."""
    relevant = np.array([[True, False], [False, False]])
    found = measure(np.array([[2.0, 1.0], [2.0, 1.0]], np.float32), relevant)
    _must(abs(found - 0.5) < 1e-6, f"one perfect query and one without relevant entry give {found}, not 0.5")


def _vectors(similarity: str) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Gallery (200, 32) with some equal entries, queries (15, 32), and row numbers that are not 0, 1, 2."""
    random = np.random.default_rng(0)
    gallery = random.standard_normal((200, _DIM)).astype(np.float32)
    queries = random.standard_normal((15, _DIM)).astype(np.float32)
    if similarity == "hamming":
        gallery, queries = np.where(gallery > 0, 1, -1), np.where(queries > 0, 1, -1)
    elif similarity == "cosine":
        gallery, queries = similarities.unit(gallery), similarities.unit(queries)
    gallery[100:110] = gallery[90:100]
    rows = random.permutation(1000)[:200].astype(np.int64)
    return gallery.astype(np.float32), queries.astype(np.float32), rows


def _brute_force(
    similarity: str, queries: Floats, gallery: Floats, rows: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], Floats]:
    scores = similarities.named(similarity)(queries, gallery)
    order = np.stack([np.lexsort((rows, -row)) for row in scores])[:, :k]
    return rows[order], np.take_along_axis(scores, order, axis=1)


def _must(condition: bool, otherwise: str) -> None:
    if not condition:
        raise AssertionError(otherwise)
