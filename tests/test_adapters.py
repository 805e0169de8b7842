"""Encoders of sentence-transformers as ours, and ours as mteb takes them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import diptych
from diptych.adapters import for_mteb, from_sentence_transformers
from diptych.core import Encoder
from diptych.data import given
from diptych.errors import BadData, ImageError, UsageError

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class Colours:
    """As a SentenceTransformer: one `encode` for pictures (the mean colour) and texts (the colours named)."""

    similarity_fn_name: str | None = "cosine"
    prompts: dict[str, str]

    def __init__(self, gain: float = 1.0) -> None:
        self.gain, self.prompts, self.batches = gain, {}, list[int]()

    def encode(self, inputs: Sequence[Any], **options: Any) -> Any:
        assert options == {"show_progress_bar": False, "convert_to_numpy": True}
        self.batches.append(len(inputs))
        return np.array([self._one(content) for content in inputs], np.float64) * self.gain

    @staticmethod
    def _one(content: Any) -> Any:
        if isinstance(content, str):
            return np.sum([COLOURS[word] for word in content.split() if word in COLOURS], axis=0)
        assert content.mode == "RGB"
        return np.asarray(content).reshape(-1, 3).mean(axis=0)


class Weighted(Colours):
    """One that shows its weights, as a module of torch does."""

    def state_dict(self) -> dict[str, Any]:
        import torch

        return {"gain": torch.tensor([self.gain], dtype=torch.bfloat16)}


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    for name, colour in COLOURS.items():
        Image.new("RGB", (20, 10), colour).save(tmp_path / f"{name}.png")
    return [tmp_path / f"{name}.png" for name in COLOURS]


def test_a_collection_searches_with_it(pictures: list[Path]) -> None:
    encoder = from_sentence_transformers(Colours(), name="colours")
    assert isinstance(encoder, Encoder)
    with diptych.open(pictures[0].parent, model=encoder) as collection:
        collection.add()
        found = collection.search("something green", k=2)
        assert found[0].path is not None
        assert found[0].path.name == "green.png"
        assert collection.models()[0].name == "colours"


def test_pictures_of_all_kinds_are_encoded_in_batches(pictures: list[Path]) -> None:
    model = Colours()
    encoder = from_sentence_transformers(model, name="colours", batch_size=2)
    images = [pictures[0], Image.new("L", (4, 4), 255), np.zeros((3, 4, 3), np.uint8)]
    found = encoder.encode_image(images)
    assert found.dtype == np.float32
    assert found.tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 0]]
    assert model.batches == [2, 1]
    with pytest.raises(ImageError, match=r"nowhere\.png"):
        encoder.encode_image(["nowhere.png"])


def test_texts_may_have_a_model_of_their_own() -> None:
    encoder = from_sentence_transformers(Colours(), text_model=Colours(2), name="two")
    assert encoder.encode_text(["red"]).tolist() == [[510, 0, 0]]
    assert encoder.encode_image([Image.new("RGB", (2, 2), "red")]).tolist() == [[255, 0, 0]]


def test_other_weights_and_other_prompts_have_another_fingerprint() -> None:
    def fingerprint(model: Colours) -> str:
        return from_sentence_transformers(model, name="w").fingerprint

    assert fingerprint(Weighted(1)) == fingerprint(Weighted(1))
    assert fingerprint(Weighted(1)) != fingerprint(Weighted(2))
    told = Weighted(1)
    told.prompts = {"query": "find: "}
    assert fingerprint(told) != fingerprint(Weighted(1))


def test_its_name_and_comparison_are_the_models() -> None:
    model: Any = Colours()
    model.similarity_fn_name, model.model_card_data = "dot", SimpleNamespace(base_model="clip-ViT-B-32")
    encoder = from_sentence_transformers(model)
    assert (encoder.name, encoder.similarity) == ("clip-ViT-B-32", "dot")
    model.similarity_fn_name = "euclidean"
    with pytest.raises(UsageError, match="compares by 'euclidean'"):
        from_sentence_transformers(model)
    with pytest.raises(UsageError, match="give it a name"):
        from_sentence_transformers(Colours())
    with pytest.raises(UsageError, match="int has no method encode"):
        from_sentence_transformers(3)


def test_what_gives_no_vector_an_item_is_refused() -> None:
    model: Any = SimpleNamespace(encode=lambda inputs, **_: np.zeros(4))
    with pytest.raises(BadData, match=r"broken gave vectors of shape \(4,\) of 1 items"):
        from_sentence_transformers(model, name="broken").encode_text(["x"])


def test_mteb_is_given_vectors_of_its_batches_and_their_scores() -> None:
    encoder = from_sentence_transformers(Colours(), name="colours")
    adapted = for_mteb(encoder)
    red, blue = (Image.new("RGB", (2, 2), name) for name in ("red", "blue"))
    told = {"task_metadata": None, "hf_split": "test", "hf_subset": "default", "prompt_type": None}
    images = adapted.encode([{"image": [red]}, {"image": [blue]}], batch_size=1, **told)
    texts = adapted.encode([{"text": ["red", "blue"]}], **told)
    assert images.shape == (2, 3)
    assert np.array_equal(images, texts)
    assert adapted.encode([{"image": [red], "text": ["blue"]}]).tolist() == [[255, 0, 255]]
    assert adapted.similarity(images, texts) == pytest.approx(np.eye(2))
    assert adapted.similarity_pairwise(images, 3 * texts) == pytest.approx([1, 1])
    assert adapted.similarity(images[0], texts).shape == (1, 2)
    with pytest.raises(UsageError, match="has audio, and images and texts are read"):
        adapted.encode([{"audio": [1]}])


def test_codes_are_compared_by_inner_product_and_tokens_not_at_all() -> None:
    codes: Any = given.Vectors("hamming")
    assert for_mteb(codes).similarity([[1, -1, 1]], [[1, 1, 1]]).tolist() == [[1]]
    codes.similarity = "maxsim"
    with pytest.raises(UsageError, match="given vectors compares by 'maxsim'"):
        for_mteb(codes)
    with pytest.raises(UsageError, match="encodes neither images nor texts"):
        for_mteb(SimpleNamespace(similarity="cosine", name="nothing"))
    one_side: Any = SimpleNamespace(
        similarity="dot", name="a/reader", encode_text=lambda texts: np.ones((len(texts), 2))
    )
    with pytest.raises(UsageError, match="diptych/a-reader does not read images"):
        for_mteb(one_side).encode([{"image": [None]}])


def test_mteb_itself_takes_it() -> None:
    mteb = pytest.importorskip("mteb", reason="mteb is not installed (pip install mteb)")
    adapted = for_mteb(from_sentence_transformers(Colours(), name="colours"), revision="7")
    assert isinstance(adapted, mteb.EncoderProtocol)
    meta = adapted.mteb_model_meta
    assert (meta.name, meta.revision, meta.modalities) == ("diptych/colours", "7", ["image", "text"])


def test_without_mteb_its_description_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    monkeypatch.setitem(sys.modules, "mteb.models.model_meta", None)
    with pytest.raises(UsageError, match="pip install mteb"):
        _ = for_mteb(given.Vectors()).mteb_model_meta
