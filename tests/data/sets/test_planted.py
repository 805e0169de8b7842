"""Planted data: the reference sums of SYN, and structure that a system can find."""

from __future__ import annotations

import numpy as np
import pytest

from diptych.data import open_data
from diptych.data.sets.planted import Planted, Syn
from diptych.errors import UnknownName, UsageError


def test_syn_reproduces_the_reference() -> None:
    syn = Syn()
    query, database = syn.split("query"), syn.split("database")
    assert int(query.label.sum() + database.label.sum()) == 2765
    assert int(syn.tags.sum()) == 9687
    relevant = query.label.astype(int) @ database.label.T.astype(int) > 0
    assert relevant.mean() == pytest.approx(0.325725, abs=1e-12)
    assert [len(syn.split(name)) for name in syn.splits] == [800, 200, 1000]


def test_syn_is_standardised_by_the_database() -> None:
    database = Syn().split("database")
    assert np.abs(database.image.mean(axis=0)).max() < 1e-5
    assert np.abs(database.image.std(axis=0) - 1).max() < 1e-5
    assert np.abs(database.text.mean(axis=0)).max() < 1e-6
    assert set(Syn().split("train").image_id) == {str(row) for row in range(200, 1000)}


def test_planted_repeats_by_seed() -> None:
    first, again, other = (Planted(seed=seed).split("train") for seed in (1, 1, 2))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.text, again.text)
    assert not np.array_equal(first.image, other.image)


def test_planted_classes_are_balanced_and_splits_disjoint() -> None:
    data = Planted(classes=4, train=40, val=20, test=20)
    parts = [data.split(name) for name in data.splits]
    assert sum(part.label.sum(axis=0) for part in parts).tolist() == [20] * 4
    ids = [one for part in parts for one in part.image_id]
    assert len(set(ids)) == len(ids) == 80


def test_planted_captions_and_multi_label() -> None:
    train = Planted(captions=5, multi_label=True).split("train")
    assert len(train.text) == 1000
    assert np.bincount(train.pairs[:, 0]).tolist() == [5] * 200
    assert set(train.label.sum(axis=1).tolist()) == {1, 2}


def test_the_planted_link_can_be_found() -> None:
    """A linear map fitted on train ranks the paired text of a test image far better than chance."""
    data = Planted(train=400, test=100, noise=0.1)
    train, test = data.split("train"), data.split("test")
    weights = np.linalg.lstsq(train.image, train.text, rcond=None)[0]
    distance = ((test.image @ weights)[:, None] - test.text[None]) ** 2
    best = distance.sum(axis=2).argmin(axis=1)
    assert (best == np.arange(100)).mean() > 0.9
    assert data.relevance == "label"


def test_wrong_arguments() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        Planted(classes=0)
    with pytest.raises(UnknownName, match="did you mean syn"):
        open_data("planted:sym")
    assert isinstance(open_data("planted:syn"), Syn)
