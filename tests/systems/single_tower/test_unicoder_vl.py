"""Unicoder-VL: which loss trains what, what is hidden, and that it reads captions and regions together."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from diptych import catalogue
from diptych.data.base import Split
from diptych.errors import BadParameter
from diptych.systems.single_tower.unicoder_vl import UnicoderVL
from diptych.training.pair_learner import Others
from diptych.training.trainer import Batch, Trainer

KINDS = 8  # classes of regions, told by one-hot features


def lesson(images: int = 50, seed: int = 0) -> Split:
    """Pictures of three regions, each of a class that its features tell, and captions that list these."""
    random = np.random.default_rng(seed)
    kinds = random.permutation(list(combinations(range(KINDS), 3)))[:images]  # no two pictures show the same
    image = np.zeros((images, 3, KINDS + 4), np.float32)
    image[..., :KINDS] = np.eye(KINDS)[kinds] + 0.05 * random.standard_normal((images, 3, KINDS))
    image[..., KINDS : KINDS + 2], image[..., KINDS + 2 :] = 0.2, 0.7
    text = np.zeros((images, 6), np.uint32)
    text[:, 0], text[:, 1:4], text[:, 4] = 1, kinds + 3, 2
    return Split(image.reshape(images, -1), text, None, np.stack([np.arange(images)] * 2, axis=1))


def small(**parameters: Any) -> UnicoderVL:
    shape = {"image_dim": 3 * (KINDS + 4), "regions": 3, "text_length": 6, "vocabulary": 20}
    settings = {**shape, "region_classes": KINDS, "batch_size": 25, **parameters}
    made: UnicoderVL = catalogue.load("unicoder_vl:tiny", seed=0, **settings)
    made.joint.eval()
    return made


def batch_of(split: Split) -> Batch:
    rows = torch.arange(len(split.pairs))
    image, text = torch.from_numpy(split.image), torch.from_numpy(split.text.astype(np.int64))
    return Batch(rows, rows, rows, image, text, torch.zeros(len(rows), 0))


@pytest.mark.parametrize("matched", [False, True])
def test_what_does_not_match_has_nothing_to_guess(matched: bool) -> None:
    split, system = lesson(), small()
    system.study(split)
    batch = batch_of(split)
    torch.manual_seed(0)
    terms = system.tasks(batch, torch.full((50,), matched), batch.text.roll(1, dims=0))
    sum(terms.values(), torch.zeros(())).backward()
    for head in (system.joint.mlm.transform, system.joint.moc):
        moved = any(bool(p.grad is not None and p.grad.abs().sum() > 0) for p in head.parameters())
        assert moved == matched
    assert (terms["mlm"].item() > 0) == matched
    assert (terms["moc"].item() > 0) == matched
    assert system.joint.vlm.weight.grad is not None


def test_matching_begins_at_ln_2_and_ranking_at_ln_5() -> None:
    split, system = lesson(), small()
    system.study(split)
    system.others = Others(split)
    torch.nn.init.zeros_(system.joint.vlm.weight)
    torch.nn.init.zeros_(system.joint.vlm.bias)
    assert system.pretraining(batch_of(split))["vlm"].item() == pytest.approx(math.log(2), abs=1e-5)
    assert system.objective(batch_of(split))["rank"].item() == pytest.approx(math.log(5), abs=1e-5)
    system.loss = "binary"
    assert system.objective(batch_of(split))["match"].item() == pytest.approx(math.log(2), abs=1e-5)


def test_a_hidden_region_keeps_its_box() -> None:
    system = small()
    seen = system.seen(torch.from_numpy(lesson().image[:2]))
    hidden = system.joint.regions(seen, torch.zeros_like(seen.features))
    moved = system.seen(torch.from_numpy(lesson().image[:2]))
    moved.boxes[..., 0] = 0.1
    assert not torch.allclose(hidden, system.joint.regions(moved, torch.zeros_like(seen.features)))


def test_the_hardest_of_those_drawn_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    split, system = lesson(), small(mined=3)
    system.others, batch = Others(split), batch_of(lesson(4))
    rows = torch.arange(4)[:, None] * 8 + torch.arange(
        8
    )  # caption 0, three to mine, picture 0, three to mine
    monkeypatch.setattr(system.others, "draw", lambda *_: rows)
    asked = list[tuple[Any, Any]]()

    def scores(image: Any, text: Any) -> Any:
        asked.append((image[0].mean(dim=(1, 2)), text[0]))
        # The hardest of each three is the middle one.
        return torch.tensor([0.0, 9.0, 1.0] * 4) if len(asked) <= 2 else torch.zeros(len(text[0]))

    monkeypatch.setattr(system, "pair_scores", scores)
    system.objective(batch)
    captions = asked[2][1].view(4, 3, -1)
    assert torch.equal(captions[:, 0], batch.text)
    texts = torch.from_numpy(split.text.astype(np.int64))
    assert torch.equal(captions[:, 1], texts[rows[:, 0]])
    assert torch.equal(captions[:, 2], texts[rows[:, 2]])
    pictures = system.image_states(torch.from_numpy(split.image[rows[:, [4, 6]].flatten().numpy()]))[0]
    assert torch.allclose(asked[3][0], pictures.mean(dim=(1, 2)), atol=1e-6)


def test_regions_have_no_order() -> None:
    system, split = small(), lesson()
    turned = split.image.reshape(50, 3, -1)[:, [2, 0, 1]].reshape(50, -1)
    pairs = np.stack([np.arange(50), np.arange(50)[::-1]], axis=1)
    expected = system.score_pairs(split.image, split.text, pairs)
    assert system.score_pairs(turned, split.text, pairs) == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_it_learns_to_rank() -> None:
    split = lesson()
    system = small(pretrain_epochs=100, epochs=60, lr=2e-3)
    system.fit(split, Trainer(seed=0, quiet=True, device="cpu"))
    scores = system.score_pairs(split.image, split.text, np.stack(np.divmod(np.arange(2500), 50), axis=1))
    assert (scores.reshape(50, 50).argmax(axis=1) == np.arange(50)).mean() > 0.6


@pytest.mark.slow
def test_it_guesses_regions_by_the_caption() -> None:
    split = lesson()
    system = small(pretrain_epochs=300, epochs=0, lr=2e-3)
    system.fit(split, Trainer(seed=0, quiet=True, device="cpu"))

    def accuracy(text: torch.Tensor) -> float:
        seen = system.seen(torch.from_numpy(split.image))
        at = torch.zeros_like(seen.shown)
        at[:, 0] = True
        features = seen.features.masked_fill(at[..., None], 0)
        with torch.no_grad():
            states = system.joint(system.joint.regions(seen, features), seen.shown, text)
            guessed = system.joint.moc(states[:, 6:][at]).argmax(dim=1)
        return float((guessed == system.classes.numbers(seen, at)).float().mean())

    text = torch.from_numpy(split.text.astype(np.int64))
    blank = torch.where(text > 2, 15, text)
    assert accuracy(text) > accuracy(blank) + 0.2


def test_what_it_cannot_be_is_told() -> None:
    with pytest.raises(BadParameter, match="softmax or binary"):
        small(loss="hinge")
    with pytest.raises(BadParameter, match="no weights of Unicoder-VL were published"):
        small(checkpoint="somewhere")
    with pytest.raises(BadParameter, match="reads 6 word pieces with numbers below 21"):
        small().joint(torch.zeros(1, 3, 48), torch.ones(1, 3, dtype=torch.bool), torch.tensor([[1, 30, 2]]))


def test_classes_of_a_detector() -> None:
    image = lesson().image.reshape(50, 3, -1)
    told = np.concatenate([image, np.abs(image[..., :KINDS])], axis=2).reshape(50, -1)
    split = Split(told, lesson().text, None, lesson().pairs)
    system = small(image_dim=told.shape[1], told_classes=KINDS)
    system.study(split)
    seen = system.seen(torch.from_numpy(told))
    found = system.classes.numbers(seen, seen.shown)
    assert torch.equal(found, seen.features[seen.shown].argmax(dim=1))
    assert system.joint.moc[-1].out_features == KINDS
