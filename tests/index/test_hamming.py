"""Codes, Hamming search and search in two stages."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych import similarity
from diptych.errors import BadData, UnknownName, UsageError
from diptych.index.codes import Codes
from diptych.index.hamming import Hamming
from diptych.index.two_stage import TwoStage, calibrate, exact_rows
from diptych.testing import index_checks


@pytest.mark.parametrize(("name", "check"), list(index_checks(lambda: Hamming(32), similarity="hamming")))
def test_exact_conformance(name: str, check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("kind", ["inverted", "graph"])
def test_others_find_most(kind: Any) -> None:
    made = lambda: Hamming(32, kind=kind, lists=4, probes=3)  # noqa: E731
    for _, check in index_checks(made, similarity="hamming", recall=0.7):
        check()


def clustered(images: int, texts: int, dim: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Clusters, uneven variances, and texts in another place than pictures."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((40, dim)) / np.sqrt(1 + np.arange(dim) / 8)
    gap = 1.5 * rng.standard_normal(dim) / np.sqrt(dim) * 4
    which = rng.integers(0, 40, images), rng.integers(0, 40, texts)
    noise = [0.5 * rng.standard_normal((len(w), dim)) / np.sqrt(1 + np.arange(dim) / 8) for w in which]
    return similarity.unit(centres[which[0]] + noise[0]), similarity.unit(centres[which[1]] + noise[1] + gap)


def two_stage(
    codes: Codes, image: np.ndarray, candidates: int = 0, *, side: str = "text", **how: Any
) -> TwoStage:
    """Pictures searched by texts, or by what else is asked."""
    made = partial(codes.encode, side=side)
    return TwoStage(codes.encode(image, "image"), image, encode=made, candidates=candidates, **how)


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean share of the true rows that were found."""
    pairs = zip(found.tolist(), truth.tolist(), strict=True)
    return float(np.mean([len(set(ours) & set(best)) / len(best) for ours, best in pairs]))


def test_packed_codes_are_signs_of_the_rotated_vectors() -> None:
    image, text = clustered(500, 100)
    codes = Codes.fit(64, image, text, method="random")
    assert codes.rotation.T @ codes.rotation == pytest.approx(np.eye(64), abs=1e-5)
    found = similarity.unpack(codes.encode(text, "text"))
    expected = np.where((text - text.mean(axis=0)) @ codes.rotation > 0, 1, -1)
    assert (found == expected).mean() > 0.9999
    # Each modality around its own mean: about half of all bits are set on either side.
    for side, vectors in (("image", image), ("text", text)):
        assert similarity.unpack(codes.encode(vectors, side)).mean() == pytest.approx(0, abs=0.08)


def test_itq_loses_less_than_a_random_rotation() -> None:
    image, text = clustered(2000, 10)
    losses = []
    for method in ("random", "itq"):
        codes = Codes.fit(64, image, text, method=method)  # type: ignore[arg-type]
        rows = (image - image.mean(axis=0)) @ codes.rotation
        losses.append(float(np.square(np.abs(rows) - np.abs(rows).mean()).sum()))
    assert losses[1] < losses[0]


@pytest.mark.parametrize("bits", [16, 64, 128])
def test_any_number_of_bits(bits: int) -> None:
    image, text = clustered(300, 20)
    codes = Codes.fit(bits, image, text)
    assert codes.encode(image, "image").shape == (300, bits // 8)


def test_codes_are_saved(tmp_path: Path) -> None:
    image, text = clustered(300, 20)
    codes = Codes.fit(32, image, text)
    codes.save(tmp_path / "codes.npz")
    again = Codes.open(tmp_path / "codes.npz")
    assert (again.encode(text, "text") == codes.encode(text, "text")).all()
    assert again.made_with == codes.made_with
    (tmp_path / "codes.npz").write_bytes(b"no")
    with pytest.raises(BadData, match="make them again"):
        Codes.open(tmp_path / "codes.npz")


def test_all_candidates_give_exact_search() -> None:
    image, text = clustered(800, 30)
    codes = Codes.fit(64, image, text)
    index = two_stage(codes, image, len(image))
    index.vectors = image.astype(np.float16)
    hits = index.search(text, 10)
    scores = text @ image.astype(np.float16).astype(np.float32).T
    assert (hits.rows == np.argsort(-scores, axis=1, kind="stable")[:, :10]).all()
    assert hits.scores == pytest.approx(-np.sort(-scores, axis=1)[:, :10], abs=1e-6)
    assert (exact_rows(image, text, 10) == np.argsort(-(text @ image.T), axis=1, kind="stable")[:, :10]).all()


@pytest.mark.parametrize("target", [0.8, 0.95, 0.99])
def test_the_promised_recall_holds_for_other_queries(target: float) -> None:
    image, text = clustered(4000, 600)
    codes = Codes.fit(64, image, text[:300])
    index = two_stage(codes, image)
    found = calibrate(index, text[:300], recall=target, k=10)
    assert found.low >= target
    assert found.candidates < len(image)
    index = index.asked(candidates=found.candidates)
    hits = index.search(text[300:], 10)
    truth = exact_rows(image, text[300:], 10)
    recall = overlap(hits.rows, truth)
    assert recall >= target - 0.01
    # What was measured at calibration is what a search of the same queries gives.
    hits = index.search(text[:300], 10)
    truth = exact_rows(image, text[:300], 10)
    recall = overlap(hits.rows, truth)
    assert recall == pytest.approx(found.measured, abs=1e-9)


def test_a_query_of_the_index_does_not_count_itself() -> None:
    image, text = clustered(1000, 50)
    codes = Codes.fit(64, image, text)
    index = two_stage(codes, image, side="image")
    own = np.arange(0, 1000, 5)
    strict = calibrate(index, image[own], recall=0.9, own=own)
    lenient = calibrate(index, image[own], recall=0.9)
    hits = index.asked(candidates=strict.candidates).search(image[own], 11)
    truth = exact_rows(image, image[own], 11)
    assert (truth[:, 0] == own).all()
    assert overlap(hits.rows, truth[:, 1:]) == pytest.approx(strict.measured, abs=0.01)
    assert (strict.candidates, -strict.measured) > (lenient.candidates, -lenient.measured)
    alone = two_stage(codes, image[:1], side="image")
    assert calibrate(alone, image[:1], own=own[:1]).candidates == 1


def test_more_candidates_than_are_scored_at_a_time() -> None:
    image, text = clustered(5000, 4)
    halves = image.astype(np.float16)
    codes = Codes.fit(64, image, text)
    index = two_stage(codes, halves, 3001)
    for line, code in enumerate(codes.encode(text, "text")):
        near = index.nearest(code, 3001)
        assert len(near) == 3001
        assert (np.diff(near) > 0).all()
        scores = halves[near].astype(np.float32) @ text[line].astype(np.float32)
        expected = near[np.argsort(-scores, kind="stable")[:10]]
        hits = index.search(text[line : line + 1], 10)
        assert (hits.rows[0] == expected).all()


def test_centring_each_modality_needs_fewer_candidates() -> None:
    image, text = clustered(4000, 300)
    needed = []
    for texts in (text, None):
        codes = Codes.fit(64, image, texts)
        needed.append(calibrate(two_stage(codes, image), text, recall=0.9).candidates)
    assert needed[0] < 0.9 * needed[1]


def test_rows_of_their_own_numbers() -> None:
    image, text = clustered(50, 5)
    codes = Codes.fit(64, image, text)
    rows = np.arange(50) * 10 + 3
    hits = two_stage(codes, image, 50, rows=rows).search(text, 3)
    assert (hits.rows % 10 == 3).all()


@pytest.mark.parametrize("candidates", [10, 100, 1000])
def test_only_some_rows_are_searched(candidates: int) -> None:
    image, text = clustered(400, 5)
    rows = np.arange(400) * 10
    within = rows[::3]
    index = two_stage(Codes.fit(64, image, text), image, candidates, rows=rows)
    hits = index.search(text, 5, within)
    assert np.isin(hits.rows, within).all()
    if candidates >= len(within):
        best = np.argsort(-(text @ image[::3].T), axis=1, kind="stable")[:, :5]
        assert (hits.rows == within[best]).all()
    assert (index.search(text, 5, rows[:0]).rows == -1).all()


def test_bad_input_gets_a_sentence() -> None:
    with pytest.raises(UsageError, match="multiple of 8"):
        Hamming(12)
    with pytest.raises(UnknownName, match="kind 'tree' of Hamming index"):
        Hamming(16, kind="tree")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="do not fit an index of 16 bits"):
        Hamming(16).add(np.array([0]), np.ones((1, 8)))
    image, text = clustered(20, 4)
    with pytest.raises(UsageError, match="multiple of 8"):
        Codes.fit(12, image, text)
    codes = Codes.fit(16, image, text)
    index = two_stage(codes, image)
    with pytest.raises(UsageError, match="above 0 and at most at 1"):
        calibrate(index, text, recall=98)
    with pytest.raises(UsageError, match="there are none"):
        calibrate(index, text[:0])
    with pytest.raises(UsageError, match="do not belong together"):
        TwoStage(codes.encode(image, "image"), image[:3], encode=partial(codes.encode, side="text"))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("dead", [False, True])
def test_only_what_may_be_found_is_found_with_the_recall_of_all(share: float, dead: bool) -> None:
    image, text = clustered(6000, 8)
    codes = Codes.fit(64, image, text)
    rng = np.random.default_rng(0)
    alive = rng.random(len(image)) > 0.2 if dead else None
    rows = np.sort(rng.choice(10**6, len(image), replace=False))
    index = two_stage(codes, image, 900, rows=rows, alive=alive)
    within = np.sort(rng.choice(rows, int(share * len(rows)), replace=False))
    there = np.isin(rows, within) if alive is None else np.isin(rows, within) & alive
    assert len(index) == (len(rows) if alive is None else np.count_nonzero(alive))
    hits = index.search(text, 10, within)
    truth = rows[there][np.argsort(-(text @ image[there].T), axis=1, kind="stable")[:, :10]]
    assert np.isin(hits.rows, rows[there]).all()
    assert overlap(hits.rows, truth) >= overlap(
        index.search(text, 10).rows, rows[np.argsort(-(text @ image.T), axis=1)[:, :10]]
    ) - (0.3 if dead else 0.05)
    if share == 1.0:  # the nearest of those that may be found, no fewer, ties by place
        code = codes.encode(text[:1], "text")[0]
        distances = np.bitwise_count(codes.encode(image, "image") ^ code).sum(axis=1).astype(int)
        living = np.arange(len(image)) if alive is None else np.flatnonzero(alive)
        expected = np.sort(living[np.argsort(distances[living], kind="stable")[:500]])
        assert index.nearest(code, 500).tolist() == expected.tolist()
