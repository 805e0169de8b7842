"""The built-in re-ranker: that it ships whole, belongs to the towers, and scores pairs as it should."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from diptych.catalogue import load
from diptych.core import Column, Run, offered
from diptych.errors import UsageError
from diptych.pipeline import Hybrid, over
from diptych.systems.dual_tower import builtin
from diptych.towers.onnx import WEIGHTS

PHOTOGRAPHS = Path(__file__).parents[2] / "photographs"
TEXTS = ("a cat", "a cup of coffee on a table", "a rocket on its launch pad", "a red flower")
SHOWN = ("cat", "coffee", "rocket", "flower")


@pytest.fixture(scope="module")
def model() -> builtin.Builtin:
    found: builtin.Builtin = load("builtin", threads=1)
    return found


@pytest.fixture(scope="module")
def pictures() -> list[Path]:
    return [PHOTOGRAPHS / f"{name}.jpg" for name in SHOWN]


def test_it_ships_within_its_bounds_and_belongs_to_the_tower(model: builtin.Builtin) -> None:
    path = Path(builtin.__file__).parent / "weights" / "rerank.npz"
    assert path.stat().st_size <= 12e6
    digest = hashlib.sha256((WEIGHTS / "image.onnx").read_bytes()).hexdigest()
    assert int(model._late.arrays["tower"][0]) == int(digest[:6], 16), "fit it anew: tools/train_reranker.py"
    assert set(model.rerank_weights) == {"image", "text"}
    assert all(0 < weight <= 1 for weight in model.rerank_weights.values())
    assert set(model.rerank_lines) == {"image"}


def test_pictures_and_what_is_kept_of_them_score_alike(model: builtin.Builtin, pictures: list[Path]) -> None:
    pairs = np.array([[picture, text] for text in range(4) for picture in range(4)])
    found = model.score_pairs(pictures, TEXTS, pairs)
    states = model.picture_states(pictures)
    assert states.dtype == np.float16
    assert states.nbytes / len(states) < 10_000
    np.testing.assert_allclose(model.score_pairs(list(states), TEXTS, pairs), found, atol=1e-5)
    scores = found.reshape(4, 4)
    assert scores.argmax(axis=1).tolist() == [0, 1, 2, 3]
    again = model.score_pairs(pictures[::-1], TEXTS, np.stack([3 - pairs[:, 0], pairs[:, 1]], axis=1))
    np.testing.assert_allclose(again, found, atol=2e-3)
    assert model.picture_states([]).shape[0] == 0


def test_it_ranks_the_built_in_model_s_hits_with_weights_of_its_own(
    model: builtin.Builtin, pictures: list[Path]
) -> None:
    hybrid = Hybrid(model, load("builtin", threads=1), 3)
    assert hybrid.knows_each_other
    assert hybrid.rerank_weights == model.rerank_weights
    assert hybrid.rerank_lines
    gallery = Column("image", pictures)
    found = over(hybrid, gallery, 4)(Run(Column("text", TEXTS), gallery))
    assert found.hits is not None
    assert found.hits.rows[:, 0].tolist() == [0, 1, 2, 3]
    assert offered(model, "rerank_depth") is None  # by itself it searches alone


def test_the_concepts_alone_have_none(pictures: list[Path]) -> None:
    concepts = load("builtin:concepts")
    for ask in (
        lambda: concepts.picture_states(pictures),
        lambda: concepts.score_pairs([], [], np.zeros((0, 2))),
    ):
        with pytest.raises(UsageError, match="builtin:concepts has no re-ranker"):
            ask()
    assert (concepts.rerank_weights, concepts.rerank_lines) == ({}, {})
