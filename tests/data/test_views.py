"""Data sets seen through views: cut, held out, as features, standardised, and one through another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coloured import Colour, data, split
from diptych.data.base import Loaded, Split
from diptych.data.views import Cut, Featured, HeldOut, Standardised, View
from diptych.errors import BadData, UnknownName, UsageError
from diptych.features import named
from diptych.features.tfidf import TfIdf


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))


def test_a_data_set_seen_through_extractors_is_fitted_on_training_texts() -> None:
    extractors = named("text=tfidf")
    extractors["image"] = Colour()
    seen = Featured(data(), extractors)
    assert (seen.name, seen.splits, seen.relevance) == ("mine", ("train", "test"), "pair")
    test = seen.split("test")
    assert extractors["text"].vocabulary == ["a", "car", "cat", "dog", "green", "red", "the"]
    assert test.text.shape == (3, 7)  # "car" is only in the training texts
    assert seen.split("test") is test
    assert [len(query) for query, _ in seen.cases()] == [2]
    with pytest.raises(UnknownName, match="split 'tset' of mine"):
        seen.split("tset")
    with pytest.raises(UsageError, match="features already"):
        Featured(seen, {"text": TfIdf()}).split("train")


def test_features_that_are_not_finite_are_refused_with_split_side_and_row() -> None:
    class Broken(Colour):
        fingerprint = "broken"

        def encode_image(self, images: Any) -> Any:
            found = super().encode_image(images)
            found[1] = np.nan
            return found

    with pytest.raises(BadData, match="split 'test' of mine: image features row 1 is not finite"):
        Featured(data(), {"image": Broken()}).split("test")


def test_a_view_keeps_name_protocols_and_classes_and_makes_each_split_once() -> None:
    class Mirrored(View):
        made = 0

        def make(self, name: str) -> Split:
            self.made += 1
            found = self.inner.split(name)
            return found.take(np.arange(len(found))[::-1])

    inner = data()
    view = Mirrored(inner)
    assert (view.name, view.splits, view.protocols) == (inner.name, inner.splits, inner.protocols)
    assert view.split("train") is view.split("train")
    assert view.made == 1
    assert view.split("train").image_id == inner.split("train").image_id[::-1]
    with pytest.raises(UnknownName, match="did you mean train"):
        view.split("trian")


def test_a_cut_leaves_the_other_splits_and_hides_labels_everywhere() -> None:
    label = np.eye(4, dtype=np.uint8)
    whole = replace(split(4), label=label)
    inner = Loaded("mine", {"train": whole, "test": whole})
    cut = Cut(inner, "train", limit=2, pairs=False)
    assert [len(cut.split(name)) for name in ("train", "test")] == [2, 4]
    assert cut.split("train").label is not None
    assert cut.split("train").image_id == Cut(inner, "train", limit=2, pairs=False).split("train").image_id
    bare = Cut(inner, "train", limit=0, pairs=True)
    assert [len(bare.split(name)) for name in ("train", "test")] == [4, 4]
    assert all(bare.split(name).label is None for name in ("train", "test"))
    assert all(bare.split(name).text_label is None for name in ("train", "test"))


def test_what_is_held_out_is_not_learned_from() -> None:
    inner = Loaded("mine", {"train": split(20)})
    assert HeldOut.needed(inner)
    held = HeldOut(inner)
    learned, asked = (set(held.split(name).image_id) for name in ("learned", "held-out"))
    assert (len(learned), len(asked), learned & asked) == (18, 2, set())
    assert not HeldOut.needed(held)
    assert [len(query) for query, _ in held.cases()] == [2]


def test_views_stand_on_each_other() -> None:
    inner = Loaded("mine", {"train": split(20)})
    held = HeldOut(Cut(inner, "train", limit=10, pairs=True))
    extractors = {**named("text=tfidf"), "image": Colour()}
    seen = Standardised(Featured(held, extractors), "learned")
    learned = seen.split("learned")
    np.testing.assert_allclose(np.asarray(learned.image).mean(axis=0), 0, atol=1e-5)
    words = set(extractors["text"].vocabulary)
    assert words == {word for text in held.split("learned").text for word in text.split()}
    scale = seen.scales["image"]
    raw = Colour().encode_image(list(held.split("held-out").image))
    np.testing.assert_array_equal(seen.split("held-out").image, scale(raw))
