"""IEFT: the specification's numbers, its enhancement, and that it is a scorer of pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diptych import catalogue
from diptych.core import Encoder, Scorer
from diptych.data.base import Split
from diptych.data.extracted import extract
from diptych.data.sets.planted import Planted
from diptych.errors import BadParameter
from diptych.features import named
from diptych.pipeline import score_matrix
from diptych.systems.real_valued import ieft
from diptych.testing.materials import drawn
from diptych.training.trainer import Batch, Trainer


def test_the_rank_loss() -> None:
    assert ieft.rank_loss(torch.zeros(3, 16)).item() == pytest.approx(math.log(16))
    scores = torch.zeros(1, 16)
    scores[0, 0] = 2
    assert ieft.rank_loss(scores).item() == pytest.approx(1.1086, abs=1e-4)


def test_a_caption_tells_its_image_from_those_that_met_it() -> None:
    # Image 0 met texts 0 and 1, image 1 texts 1 and 2, image 2 texts 2 and 0.
    texts = torch.tensor([[0, 1], [1, 2], [2, 0]])
    scores = torch.tensor([[2.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    # Text 0: own 2 against 0 of image 2; text 1: own 1 against 1; text 2: own 0 against 0.
    expected = (math.log(1 + math.exp(-2)) + 2 * math.log(2)) / 3
    assert ieft.image_loss(scores, texts).item() == pytest.approx(expected)


def test_symmetric_sees_what_is_added_to_all_scores_of_an_image() -> None:
    """The paper's loss does not: a constant of an image cancels among its captions."""
    scores, texts = torch.randn(4, 4), (torch.arange(4)[:, None] + torch.arange(4)) % 4
    moved = scores + torch.tensor([[9.0], [0.0], [0.0], [0.0]])
    assert ieft.rank_loss(moved).item() == pytest.approx(ieft.rank_loss(scores).item(), abs=1e-5)
    assert ieft.image_loss(moved, texts).item() > ieft.image_loss(scores, texts).item() + 1

    rows = torch.arange(20)
    batch = Batch(rows, rows, rows, torch.randn(20, 32), torch.randn(20, 24), torch.zeros(20, 0))
    system = catalogue.load("ieft:tiny", seed=0, symmetric=True, false_texts=19)
    torch.nn.init.zeros_(system.joint.rank.weight)
    assert system.objective(batch)["rank"].item() == pytest.approx(math.log(20))


def test_the_rate_rises_for_a_tenth_and_falls_to_nothing() -> None:
    assert [ieft.rate(done, 20) for done in (0, 1, 2, 11, 19)] == pytest.approx([0.5, 1, 1, 0.5, 1 / 18])
    assert ieft.rate(0, 5) == 1  # too few steps to warm up


def test_sizes_of_the_paper() -> None:
    gate = ieft.GatedConvolution(768, 2.66)
    assert gate.project.in_channels == 2042
    assert sum(p.numel() for p in gate.parameters()) == 4_741_524
    channels = ieft.block(144, 12, 0.1)
    assert sum(p.numel() for p in channels.parameters()) == 250_704


def test_a_gate_that_projects_nothing_is_the_identity() -> None:
    system = catalogue.load("ieft:tiny")
    enhance = system.joint.enhance[0].eval()
    torch.nn.init.zeros_(enhance.gate.project.weight)
    patches = torch.randn(2, 9, 48)
    expected = enhance.channels(patches.transpose(1, 2)).transpose(1, 2)
    assert torch.allclose(enhance(patches), expected)


def test_the_loss_starts_at_chance_with_a_zero_head() -> None:
    system = catalogue.load("ieft:tiny", seed=0)
    torch.nn.init.zeros_(system.joint.rank.weight)
    rows = torch.arange(20)
    batch = Batch(rows, rows, rows, torch.randn(20, 32), torch.randn(20, 24), torch.zeros(20, 0))
    assert system.objective(batch)["rank"].item() == pytest.approx(math.log(8))


def test_it_scores_pairs_and_has_no_vectors() -> None:
    system = catalogue.load("ieft:tiny")
    assert isinstance(system, Scorer)
    assert not isinstance(system, Encoder)
    with pytest.raises(BadParameter, match="channel_heads that divide"):
        catalogue.load("ieft:tiny", channel_heads=2)


def test_it_over_fits_eight_pairs() -> None:
    split = Planted().split("train").take(np.arange(8))
    system = catalogue.load("ieft:tiny", seed=0, epochs=120, batch_size=8, dropout=0.0)
    system.fit(split, Trainer(seed=0, quiet=True))
    scores = score_matrix(system, split.image, split.text)
    assert (scores.argmax(axis=1) == np.arange(8)).all()
    assert (scores.argmax(axis=0) == np.arange(8)).all()
    pairs = np.array([[3, 5], [0, 1]])
    found = system.score_pairs(split.image, split.text, pairs)
    assert found == pytest.approx(scores[[3, 0], [5, 1]], abs=1e-4)


def raw(size: int, **counts: int) -> tuple[Split, Split]:
    """Drawn pictures with captions as pixels and word pieces, to learn from and to be asked."""
    learn, ask = drawn(**counts, size=48)
    readers = named(f"image=pixels:{size},text=tokens:24")
    readers["text"].fit(learn.text)
    return extract(learn, **readers), extract(ask, **readers)


def test_it_over_fits_eight_pictures_and_their_captions() -> None:
    """The specification's tiny configuration: pictures of 96 points in patches of 32."""
    learn, _ = raw(96, train=48, test=1)
    texts = np.asarray(learn.text)
    rows = np.sort(np.unique(texts, axis=0, return_index=True)[1])[:8]
    split = learn.take(rows)
    system = catalogue.load("ieft:raw-tiny", seed=0, epochs=140, batch_size=8, false_texts=7)
    system.fit(split, Trainer(seed=0, quiet=True))
    scores = score_matrix(system, split.image, split.text)
    assert (scores.argmax(axis=1) == np.arange(8)).all()
    assert (scores.argmax(axis=0) == np.arange(8)).all()
    # What stands where no word is changes nothing, whatever was learned.
    assert (np.asarray(split.text) == 0).any()
    with torch.no_grad():
        system.text_net.embed.weight[0] = 5.0
    np.testing.assert_allclose(score_matrix(system, split.image, split.text), scores, atol=1e-5)
    assert score_matrix(system, split.image[:0], split.text).shape == (0, 8)


def test_the_same_words_are_no_false_caption() -> None:
    """With a zero head the loss is the logarithm of one more than the false captions of every image."""
    system = catalogue.load("ieft:raw-tiny", seed=0, vocabulary=10)
    torch.nn.init.zeros_(system.joint.rank.weight)
    texts = torch.zeros(4, 24, dtype=torch.int64)
    texts[:, :4] = torch.tensor([[1, 5, 2, 0], [1, 5, 2, 0], [1, 6, 7, 2], [1, 8, 2, 0]])
    pixels = torch.zeros(4, 3, 96, 96, dtype=torch.uint8)

    def loss(rows: list[int]) -> float:
        own = torch.arange(len(rows))
        batch = Batch(own, own, own, pixels[rows], texts[rows], torch.zeros(len(rows), 0))
        return system.objective(batch)["rank"].item()

    assert loss([0, 2, 3]) == pytest.approx(math.log(3))
    assert loss([0, 1, 2, 3]) == pytest.approx(math.log(3))  # not ln 4
    assert loss([0, 1, 2]) == pytest.approx(math.log(2))
    assert loss([0, 1]) == pytest.approx(0)


def test_patches_lie_on_their_grid() -> None:
    """The convolution sees a neighbour in the picture, above and beside, and nothing further."""
    system = catalogue.load("ieft:raw-tiny", seed=0)
    enhance = system.joint.enhance[0].eval()
    for name in ("expand", "depthwise", "project"):
        torch.nn.init.constant_(getattr(enhance.gate, name).weight, 0.1)
    square = torch.randn(1, 9, 48)
    other = square.clone()
    other[0, 0] += torch.randn(48)  # above, on the left
    with torch.no_grad():
        changed = [
            enhance.gate(part.transpose(1, 2).unflatten(2, (3, 3))).flatten(2) for part in (square, other)
        ]
    moved = (changed[0] != changed[1]).any(dim=1)[0]
    assert moved.tolist() == [True, True, False, True, True, False, False, False, False]


def test_sizes_of_the_paper_for_pictures() -> None:
    with torch.device("meta"):
        system = ieft.IEFT(**ieft.VARIANTS["raw"])
    assert system.reads == {"image": "pixels", "text": "tokens"}
    assert (system.image_net.count, system.grid, system.words) == (144, 12, 40)
    assert sum(p.numel() for p in system.joint.blocks.parameters()) == 6 * 7_087_872
    assert len(system.joint.enhance) == 3
    assert system.joint.place is None


def test_other_inputs_are_refused() -> None:
    with pytest.raises(BadParameter, match="features or raw"):
        ieft.IEFT(inputs="pixels")
    with pytest.raises(BadParameter, match="patches of 40"):
        catalogue.load("ieft:raw-tiny", patch=40, channel_heads=1)
