"""The built-in re-ranker's arithmetic, against literal versions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diptych.similarity import unit
from diptych.towers.heads import project
from diptych.towers.late import GRID, NEAREST, Late, hubs, late, pooled_cells

CELLS, WORD, HIDDEN, DIM = 12, 10, 7, 5
_random = np.random.default_rng(0)


def head(name: str, width: int) -> dict[str, Any]:
    shapes = {
        "mean": (width,), "scale": (width,), "inner": (width, HIDDEN), "inner_bias": (HIDDEN,),
        "linear": (width, DIM), "bias": (DIM,), "outer": (HIDDEN, DIM),
    }  # fmt: skip
    made = {part: _random.standard_normal(shape).astype(np.float32) for part, shape in shapes.items()}
    made["scale"] = 1 + np.abs(made["scale"])
    return {f"{name}.{part}": array for part, array in made.items()}


def arrays(**more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"members": np.array(2), "weight": np.array(0.7), "share": np.array(0.5)}
    for member in range(2):
        found |= head(f"cells{member}", CELLS) | head(f"words{member}", WORD)
        found[f"weights{member}"] = _random.standard_normal(WORD).astype(np.float32)
    lengths = _random.integers(3, 6, 20)
    found |= {
        "bank_words": drawn(int(lengths.sum()), WORD), "bank_lengths": lengths, "bank_features": drawn(18, 4),
        "bank_cells": drawn(18, GRID**2 + 1, CELLS), "bank_logits": drawn(18, 3),
    }  # fmt: skip
    return found | more


def drawn(*shape: int) -> np.ndarray:
    return _random.standard_normal(shape).astype(np.float32)


def image(features: Any, logits: Any) -> Any:
    return unit(np.concatenate([features, logits], axis=1).astype(np.float32))


def text(vectors: Any) -> Any:
    return unit(np.asarray(vectors, np.float32)[:, :7])


ARRAYS = arrays()
SCORER = Late(ARRAYS, image, text)


def test_cells_are_means_over_a_coarser_grid_and_over_all() -> None:
    maps = drawn(2, 3, 7, 7)
    found = pooled_cells(maps)
    assert found.shape == (2, GRID**2 + 1, 3)
    for at in range(GRID**2):
        row, column = divmod(at, GRID)
        part = [[k for k in range(7) if k * GRID < 7 * (one + 1) and (k + 1) * GRID > 7 * one]
                for one in (row, column)]  # fmt: skip
        literal = np.mean([maps[:, :, y, x] for y in part[0] for x in part[1]], axis=0)
        np.testing.assert_allclose(found[:, at], literal, atol=1e-6)
    np.testing.assert_allclose(found[:, -1], maps.mean(axis=(2, 3)), atol=1e-6)


def literal_late(cells: np.ndarray, states: np.ndarray) -> float:
    """One picture (r, c) with one text (length, w)."""
    totals = []
    for member in range(2):
        seen = project(cells, ARRAYS, f"cells{member}")
        scaled = (states[:-1] - ARRAYS[f"words{member}.mean"]) / ARRAYS[f"words{member}.scale"]
        strength = np.exp(scaled @ ARRAYS[f"weights{member}"])
        said = project(states[:-1], ARRAYS, f"words{member}")
        totals.append(
            sum(
                strength[at] / strength.sum() * max(float(word @ cell) for cell in seen)
                for at, word in enumerate(said)
            )
        )
    return float(np.mean(totals))


def literal_bank() -> list[np.ndarray]:
    ends = np.cumsum(ARRAYS["bank_lengths"])
    return np.split(ARRAYS["bank_words"], ends[:-1])


def vector(states: np.ndarray) -> np.ndarray:
    return text(unit(states.mean(axis=0, keepdims=True)))[0]


def test_a_score_is_cosine_and_late_interaction_less_both_hubs() -> None:
    cells, features, logits = drawn(3, GRID**2 + 1, CELLS), drawn(3, 4), drawn(3, 3)
    texts = [drawn(4, WORD), drawn(6, WORD)]
    pairs = np.array([[2, 1], [0, 0], [1, 1], [2, 0]])
    states = SCORER.pictures(cells, features, logits)
    assert states.dtype == np.float16
    found = SCORER.scores(states, texts, pairs)
    vectors = image(features, logits)
    for (picture, said), score in zip(pairs, found, strict=True):
        of_picture = [
            vectors[picture] @ vector(one) + 0.7 * literal_late(cells[picture], one) for one in literal_bank()
        ]
        banked = image(ARRAYS["bank_features"], ARRAYS["bank_logits"])
        of_text = [
            one @ vector(texts[said]) + 0.7 * literal_late(ARRAYS["bank_cells"][at], texts[said])
            for at, one in enumerate(banked)
        ]
        hub = sum(0.5 * np.mean(sorted(one)[-NEAREST:]) for one in (of_picture, of_text))
        literal = (
            vectors[picture] @ vector(texts[said]) + 0.7 * literal_late(cells[picture], texts[said]) - hub
        )
        assert score == pytest.approx(literal, abs=4e-3)  # states are in half precision
    again = SCORER.scores(states[::-1], texts[::-1], (2, 1) - pairs)
    np.testing.assert_allclose(again, found, atol=1e-5)


def test_hubs_are_a_share_of_the_best_scores() -> None:
    scores = np.arange(40, dtype=np.float32)[None].repeat(2, 0)
    np.testing.assert_allclose(hubs(scores, 0.5), [0.5 * np.arange(24, 40).mean()] * 2)
    np.testing.assert_allclose(hubs(scores[:, :3], 1.0), [1.0, 1.0])  # of fewer, all


def test_late_interaction_takes_the_best_cell_of_each_word() -> None:
    cells = np.array([[[[1, 0], [0, 1]]], [[[0.6, 0.8], [0.8, 0.6]]]], np.float32)  # two pictures, two cells
    words = np.array([[[0.5, 0], [0, 0.5]]], np.float32)
    np.testing.assert_allclose(late(cells, words), [1.0, 0.8])
