"""What a part of a chain offers reaches whoever asks the chain, and nothing that would not hold there."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from diptych.chain import Chain, Scale, ScorerChain, Standard, join
from diptych.core import CAPABILITIES, Forwards, offered, space_of
from diptych.errors import UsageError
from diptych.features.dual import Dual


class Tower:
    """Offers all there is."""

    similarity = "cosine"
    name, seed, fingerprint, space = "tower", 5, "tower:1", "tower"
    image_size, batch_size, rerank_depth, agree_depth = 32, 8, 10, 3
    rerank_weights: ClassVar[Any] = {"image": 0.3, "text": 0.6}
    rerank_lines: ClassVar[Any] = {}

    def encode_image(self, images: Any) -> Any:
        return np.asarray(images, np.float32)

    encode_text = encode_image

    def prepare_image(self, picture: Any) -> Any:
        return picture

    def calibrate(self, queries: Any, scores: Any, *, to: str, entries: int) -> Any:
        return scores

    def score_pairs(self, images: Any, texts: Any, pairs: Any) -> Any:
        return np.array([images[i] @ texts[t] for i, t in pairs], np.float32)

    def picture_states(self, images: Any) -> Any:
        return images

    def score(self, images: Any, texts: Any) -> Any:
        return np.asarray(images) @ np.asarray(texts).T

    def agree(self, lists: Any, others: Any) -> Any:
        return lists


class Plain:
    """Offers nothing beyond its vectors."""

    similarity = "dot"

    def encode_image(self, images: Any) -> Any:
        return 2 * np.asarray(images, np.float32)

    encode_text = encode_image


def gives(system: Any) -> set[str]:
    return {one for one in CAPABILITIES if offered(system, one) is not None}


def test_the_stand_in_offers_all_there_is() -> None:
    assert gives(Tower()) == CAPABILITIES


def test_a_chain_offers_what_its_head_does() -> None:
    chain = join(Tower(), image=Plain(), text=Plain())
    assert gives(chain) == CAPABILITIES - {"image_size", "batch_size", "prepare_image", "space"}
    assert space_of(chain) == chain.fingerprint, "features of others make another space"
    assert offered(chain, "rerank_depth") == 10
    assert offered(chain, "calibrate")(None, 7, to="image", entries=2) == 7
    assert chain.fingerprint == "image=Plain > text=Plain > head=tower:1"


def test_pictures_are_read_as_the_first_part_wants_them() -> None:
    chain = join(Plain(), image=Tower(), text=Tower())
    assert (chain.image_size, chain.batch_size) == (32, 8)
    assert chain.prepare_image("x") == "x"


def test_a_head_on_a_calibrated_tower_is_not_calibrated() -> None:
    chain = join(Plain(), image=Tower(), text=Tower())
    assert not hasattr(chain, "calibrate")
    assert gives(chain) == {"fingerprint", "image_size", "batch_size", "prepare_image"}


def test_pairs_are_scored_through_the_extractors() -> None:
    chain = join(Tower(), image=Plain())
    images, texts = np.eye(2, dtype=np.float32), np.ones((1, 2), np.float32)
    np.testing.assert_array_equal(chain.score_pairs(images, texts, np.array([[0, 0], [1, 0]])), [2, 2])
    np.testing.assert_array_equal(chain.score(images, texts), [[2], [2]])
    assert not hasattr(join(Plain(), image=Tower()), "score_pairs")


def test_a_head_that_only_scores_pairs_makes_no_encoder() -> None:
    class Pairs:
        def score_pairs(self, images: Any, texts: Any, pairs: Any) -> Any:
            return np.array([images[i] @ texts[t] for i, t in pairs], np.float32)

    chain = join(Pairs(), image=Plain(), text=Plain())
    assert isinstance(chain, ScorerChain)
    assert gives(chain) == {"fingerprint", "score_pairs"}
    eye = np.eye(2, dtype=np.float32)
    np.testing.assert_array_equal(chain.score_pairs(eye, eye, np.array([[0, 0], [0, 1]])), [4, 0])


def test_scaled_features_keep_how_pictures_are_read_and_lose_what_scores_mean() -> None:
    standard = Standard(Tower(), Scale(np.zeros(2), np.ones(2)))
    assert gives(standard) == {"fingerprint", "image_size", "batch_size", "prepare_image"}
    assert standard.similarity == "cosine"


def test_one_side_of_an_encoder_keeps_what_its_scores_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diptych.catalogue.load", lambda name: Tower())
    dual = Dual(name="tower", side="image")
    assert gives(dual) == {"name", "fingerprint", "image_size", "batch_size", "prepare_image", "calibrate"}
    assert dual.name == "tower"


def test_whatever_wraps_a_system_hands_on_in_one_place() -> None:
    assert all(issubclass(kind, Forwards) for kind in (Chain, ScorerChain, Standard, Dual))


def test_a_side_that_nobody_encodes_is_named() -> None:
    class Texts:
        similarity = "dot"

        def encode_text(self, texts: Any) -> Any:
            return texts

    with pytest.raises(UsageError, match="Texts encodes no images"):
        join(Texts()).encode_image([1])
