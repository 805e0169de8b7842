"""DCHMT's numbers (specification) and limits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from diptych import catalogue
from diptych.data.base import Loaded, Split
from diptych.data.extracted import extract
from diptych.errors import UsageError
from diptych.features import named
from diptych.systems.hashing.dchmt import DCHMT
from diptych.testing import system_checks
from diptych.testing.materials import drawn
from diptych.training.run import train

L = torch.tensor([[1.0, 0], [1, 1], [0, 1]])
IMAGE = torch.tensor([[[2.0, 0], [0, 1]], [[-1, 1], [3, 0]], [[0, 0], [1, -1]]])
TEXT = torch.tensor([[[1, 0], [0, 2.0]], [[0, 1], [1, 0]], [[-2, 0], [0, 0.5]]])


@pytest.fixture
def model() -> DCHMT:
    return DCHMT(image_dim=3, text_dim=3, classes=2, bits=2)


def test_terms(model: DCHMT) -> None:
    terms = {k: v.item() for k, v in model.terms(IMAGE.softmax(2), TEXT.softmax(2), L).items()}
    expected = {
        "cross_similar": 0.572861,
        "cross_dissimilar": 0.086970,
        "image_similar": 0.532239,
        "image_dissimilar": 0.112927,
        "text_similar": 0.326807,
        "text_dissimilar": 0.139670,
    }
    assert terms == pytest.approx(expected, abs=2e-5)
    assert sum(terms.values()) == pytest.approx(1.771474, abs=5e-5)


def test_codes_choose_the_larger_and_a_tie_is_minus_one(model: DCHMT) -> None:
    assert model.as_vectors(IMAGE.softmax(2).numpy()).tolist() == [[-1, 1], [1, -1], [-1, -1]]


def test_perfect_one_hot_codes_cost_exactly_nothing() -> None:
    model = DCHMT(image_dim=3, text_dim=3, classes=2, bits=4, differing=0.75)
    chosen = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]])
    one_hot = torch.nn.functional.one_hot(chosen, 2).float()
    label = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    assert sum(model.terms(one_hot, one_hot, label).values()).item() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("bits", [16, 128])
def test_bits_start_alike_whatever_their_number(bits: int) -> None:
    """A two-way layer each, Kaiming over its fan-out of 2: uniform within sqrt(2) sqrt(3 / 2)."""
    torch.manual_seed(0)
    model = DCHMT(image_dim=64, text_dim=48, bits=bits)
    for net in (model.image_net, model.text_net):
        assert net.choice.weight.abs().max().item() == pytest.approx(3**0.5, rel=0.01)
        assert net.choice.weight.std().item() == pytest.approx(1, rel=0.05)
        assert not net.choice.bias.any()
        assert net.hidden.weight.abs().max().item() == pytest.approx((6 / 128) ** 0.5, rel=0.01)


def test_gradient_is_finite_where_two_items_are_equal(model: DCHMT) -> None:
    same = torch.full((3, 2, 2), 0.5, requires_grad=True)
    sum(model.terms(same, same, L).values()).backward()
    assert torch.isfinite(same.grad).all()


def test_encoding_gives_codes(model: DCHMT) -> None:
    codes = model.encode_image(np.random.default_rng(0).standard_normal((5, 3)))
    assert codes.shape == (5, 2)
    assert set(np.unique(codes)) <= {-1.0, 1.0}
    assert model.encode_image([]).shape == (0, 2)


def test_clip_passes_every_check_of_a_system(tiny_clip: Path) -> None:
    extractors = named(f"image=pixels:32,text=tokens:32@{tiny_clip}")

    def data() -> tuple[Split, Split]:
        learn, test = drawn()
        return extract(learn, **extractors), extract(test, **extractors)

    # A checkpoint that has learned nothing yet needs more than the rate of fine-tuning.
    quick = {"bits": 16, "epochs": 8, "batch_size": 16, "lr": 1e-2, "tower_lr": 2e-3}
    for _, check in system_checks("dchmt:clip", parameters={"clip": str(tiny_clip), **quick}, data=data):
        check()


def test_clip_trains_heads_and_towers_at_their_own_rates(tiny_clip: Path) -> None:
    model = catalogue.load("dchmt:clip", clip=str(tiny_clip), lr=1e-2, tower_lr=1e-5)
    assert (model.image_dim, model.text_dim) == (16, 16)
    assert model.reads == {"image": "pixels", "text": "tokens"}
    model.total_steps = 10
    optimizer = model.optimizer()
    for step in range(2):  # the warm-up makes the first one of size 0
        before = {name: tensor.clone() for name, tensor in model.state().items()}
        pixels = torch.full((3, 3, 32, 32), 50 * step + 20, dtype=torch.uint8)
        pixels[1, :, :16], pixels[2, :, :, 8:] = 200, 90
        tokens = torch.tensor([[512, 5, 6, 513, 0], [512, 7, 513, 0, 0], [512, 8, 9, 6, 513]])
        optimizer.zero_grad()
        sum(model.terms(model.image_net(pixels), model.text_net(tokens), L).values()).backward()
        optimizer.step()
    moved = {name: (tensor - before[name]).abs().max().item() for name, tensor in model.state().items()}
    for side in ("image", "text"):
        heads = [size for name, size in moved.items() if name.startswith(f"{side}_net.1.")]
        towers = [size for name, size in moved.items() if name.startswith(f"{side}_net.0.")]
        assert len(heads) == 4
        assert len(towers) > 30
        assert 1e-3 < max(heads) < 1e-1
        assert 1e-6 < max(towers) < 1e-4


def test_a_run_of_clip_reads_pictures_and_texts_without_its_checkpoint(
    tiny_clip: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_clip, tmp_path / "clip")
    learn, test = drawn(16, 8)
    data = Loaded("drawn", {"train": learn, "test": test})
    settings = {"clip": str(tmp_path / "clip"), "bits": 16, "epochs": 1, "batch_size": 8}
    found = train("dchmt:clip", data, tmp_path / "run", settings=settings, features="image=pixels:32")
    shutil.rmtree(tmp_path / "clip")
    again = catalogue.load(str(tmp_path / "run"))
    assert again.head.clip == ""
    assert again.head.fingerprint == found.learner.fingerprint
    split = found.dataset.split("test")
    assert split.text.shape == (8, 32)
    np.testing.assert_array_equal(again.encode_text(test.text), found.learner.encode_text(split.text))
    np.testing.assert_array_equal(again.encode_image(test.image), found.learner.encode_image(split.image))


def test_clip_reads_no_features(tiny_clip: Path) -> None:
    model = catalogue.load("dchmt:clip", clip=str(tiny_clip))
    with pytest.raises(UsageError, match="encodes pixels of images"):
        model.encode_image(np.zeros((2, 512), np.float32))
