"""What scorers of pairs share: false pairs, blocks of states, and the rate."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diptych import catalogue
from diptych.data.base import Split
from diptych.errors import TrainingError
from diptych.testing.materials import read
from diptych.training import pair_learner
from diptych.training.pair_learner import Others, warmed
from diptych.training.trainer import Batch


def split_of(image_of_text: list[int]) -> Split:
    """A text of its own words for each entry, which names its image."""
    text = np.array([[1, 3 + row, 2] for row in range(len(image_of_text))], np.uint32)
    image = np.zeros((max(image_of_text) + 1, 2), np.float32)
    return Split(image, text, None, np.stack([image_of_text, np.arange(len(image_of_text))], axis=1))


def batch_of(split: Split, count: int) -> Batch:
    pairs = torch.from_numpy(split.pairs[:count])
    none = torch.zeros(count, 0)
    return Batch(torch.arange(count), pairs[:, 0], pairs[:, 1], none, none, none)


def test_false_pairs_are_found_where_there_is_only_one() -> None:
    """A draw from all would hardly ever meet it."""
    split = split_of([0] * 2000 + [1])
    assert (Others(split).draw(batch_of(split, 3), 4) == 2000).all()


def test_without_any_false_pair_nothing_is_learned() -> None:
    split = split_of([0] * 5)
    with pytest.raises(TrainingError, match="learns from false pairs, but some picture shares all captions"):
        Others(split).draw(batch_of(split, 2), 1)


def test_blocks_of_states_change_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    system, split = catalogue.load("vilt:tiny", seed=0), read("image=pixels:32,text=tokens:24")[1]
    pairs = np.stack(np.divmod(np.random.default_rng(0).permutation(24 * 24)[:200], 24), axis=1)
    expected = system.score_pairs(split.image, split.text, pairs)
    for name, value in (("_IMAGES", 5), ("_TEXTS", 7), ("_PAIRS", 3)):
        monkeypatch.setattr(pair_learner, name, value)
    assert system.score_pairs(split.image, split.text, pairs) == pytest.approx(expected, abs=1e-5)
    assert system.score_pairs(split.image, split.text, np.zeros((0, 2), np.int64)).shape == (0,)


def test_the_rate_rises_for_a_tenth_and_falls_to_nothing() -> None:
    assert [warmed(done, 20) for done in (0, 1, 2, 11, 19, 20)] == pytest.approx([0, 0.5, 1, 0.5, 1 / 18, 0])
    assert warmed(0, 5) == 1
