"""AGREE: the specification's numbers, its masks and both of its re-rankers."""

from __future__ import annotations

from math import log
from pathlib import Path

import numpy as np
import pytest
import torch

from diptych import catalogue
from diptych.data.extracted import extract
from diptych.data.sets.planted import Planted
from diptych.evaluation import evaluate
from diptych.features import named
from diptych.nets.optimizers import WarmedAdamW
from diptych.systems.real_valued import agree
from diptych.testing.materials import Spy, Stopped, chance, drawn, mean_average_precision
from diptych.towers.preprocess import CLIP_NORMAL
from diptych.training.trainer import Batch, Trainer


def test_the_mask_ranking_loss() -> None:
    whole, masked = torch.tensor([30.0, 25.0]), torch.tensor([28.0, 27.0])
    assert agree.mask_loss(whole, masked, 100.0).item() == pytest.approx(0.02)


def test_masks_reach_the_encoders_unless_released() -> None:
    for released in (False, True):
        whole = torch.tensor([1.0, 2.0], requires_grad=True)
        scale = torch.tensor(10.0, requires_grad=True)
        agree.mask_loss(whole, torch.tensor([3.0, 1.0]), scale, released).backward()
        assert (whole.grad is None) == released
        assert scale.grad is not None


@pytest.mark.parametrize("released", [False, True])
def test_other_captions_are_negatives_only_of_the_released_code(released: bool) -> None:
    """In loops, on a batch in which two images have more than one caption."""
    split = Planted(train=4, captions=3).split("train")
    rows = torch.tensor([0, 1, 4, 2, 9, 11, 10])
    (whole,) = Trainer(quiet=True).batches(split, 12, shuffle=False)
    batch = Batch(*(getattr(whole, name)[rows] for name in ("index", "image_row", "text_row", "image")),
                  whole.text[rows], whole.label[rows])  # fmt: skip
    images = [0, 0, 1, 0, 3, 3, 3]
    assert batch.image_row.tolist() == images
    system = catalogue.load("agree:tiny", seed=0, released=released)
    found = system.objective(batch)["clip"].item()
    with torch.no_grad():
        v = [one / one.norm() for one in system.image_net(batch.image)]
        t = [one / one.norm() for one in system.text_net(batch.text)]
        scale = system.scale.log.exp()
    total = 0.0
    for own in range(7):
        for ask, answers in ((v[own], t), (t[own], v)):
            below = 0.0
            for other in range(7):
                if released or other == own or images[other] != images[own]:
                    below += float((scale * ask @ answers[other]).exp())
            total += log(below) - float(scale * ask @ answers[own])
    assert found == pytest.approx(0.9 * total / 7 / 2, rel=1e-5)


def test_two_way_lists_of_the_specification() -> None:
    """Entries a, b, c are 0, 1, 2; the query is 0 and x another."""
    lists, x = np.array([[0, 1, 2]]), 9
    reverse = np.array([[x, 0], [0, x], [x, x]])
    assert agree.two_way(lists, reverse).tolist() == [[0, 1, 2]]
    reverse[0] = [x, x]
    assert agree.two_way(lists, reverse).tolist() == [[1, 0, 2]]
    reverse[0] = [0, x]  # it finds its query back at once, so everything stays
    assert agree.two_way(np.array([[0, 2, 1]]), reverse).tolist() == [[0, 2, 1]]


def test_two_way_changes_no_perfect_ranking_and_only_permutes() -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((20, 20))
    scores = scores + scores.T + 100 * np.eye(20)
    lists = np.argsort(-scores, axis=1)[:, :10]
    assert (agree.two_way(lists, lists) == lists).all()
    other = np.argsort(-rng.standard_normal((20, 20)), axis=1)[:, :10]
    found = agree.two_way(other, lists)
    assert (np.sort(found, axis=1) == np.sort(other, axis=1)).all()


def test_one_piece_is_masked() -> None:
    system = catalogue.load("agree:tiny", pieces=4)
    masked = system._masked(torch.ones(50, 32))
    assert ((masked == 0).sum(dim=1) == 8).all()
    assert len(torch.unique(masked, dim=0)) == 4


def test_agreeing_lists_are_measured() -> None:
    data = Planted()
    system = catalogue.load("agree:tiny", seed=0)
    system.fit(data.split("train"), Trainer(seed=0, quiet=True))
    split = data.split("test")
    from diptych import metrics
    from diptych.evaluation import compared

    found = compared(system, split, split).scores
    system.agree_depth = 0
    plain = compared(system, split, split).scores
    for direction, one in found.items():
        before = metrics.order(plain[direction].block(0, len(split)))[0]
        after = metrics.order(one.block(0, len(split)))[0]
        assert (np.sort(after[:, :10], axis=1) == np.sort(before[:, :10], axis=1)).all()
        assert (after[:, 10:] == before[:, 10:]).all()
        assert (after != before).any()
    assert evaluate(system, data, rank=False).main()["image to text"] > 0.3


def test_a_square_becomes_the_mean_colour() -> None:
    torch.manual_seed(0)
    masked = agree.without_square(torch.full((200, 3, 56, 56), 250, dtype=torch.uint8))
    changed = masked != 250
    assert (changed[:, 0] == changed[:, 1]).all()
    assert (changed[:, 0] == changed[:, 2]).all()
    assert masked[changed].unique().tolist() == sorted(round(255 * value) for value in CLIP_NORMAL.mean)
    areas = changed[:, 0].sum(dim=(1, 2))
    assert areas.max() == 8 * 8  # 32 of 224 pixels
    assert 0 < areas.min() < 64  # some hang over the border
    rows = changed[:, 0].any(dim=2)
    assert (rows.sum(dim=1) * changed[:, 0].any(dim=1).sum(dim=1) == areas).all()
    assert rows.any(dim=0).all()


def test_one_piece_between_start_and_end_is_replaced() -> None:
    torch.manual_seed(0)
    tokens = torch.tensor([[9, 4, 5, 6, 8, 0, 0], [9, 8, 0, 0, 0, 0, 0], [9, 4, 4, 4, 4, 4, 8]])
    ends = torch.tensor([4, 1, 6])
    seen = torch.zeros(3, 7, dtype=torch.bool)
    for _ in range(100):
        masked = agree.without_piece(tokens, ends)
        changed = masked != tokens
        assert changed.sum(dim=1).tolist() == [1, 0, 1]
        assert (masked[changed] == 0).all()
        seen |= changed
    assert seen.sum(dim=1).tolist() == [3, 0, 5]


def test_the_scale_of_a_trained_clip_is_held_at_100_and_can_fall() -> None:
    scale = agree._HeldScale(log(120))
    value = scale()
    value.backward()
    assert value.item() == pytest.approx(100)
    assert scale.log.item() == pytest.approx(log(100))
    assert scale.log.grad.item() == pytest.approx(100)
    low = agree._HeldScale(-0.5)
    assert low().item() == pytest.approx(1)


def test_clip_is_trained_by_the_papers_recipe(tiny_clip: Path) -> None:
    system = catalogue.load("agree:clip", clip=str(tiny_clip))
    assert system.networks.keys() == {"image_net", "text_net", "scale"}
    assert system.scale.log.item() == pytest.approx(2.6592)
    assert system.dim == 16
    system.total_steps = 50
    optimizer = system.optimizer()
    assert isinstance(optimizer, WarmedAdamW)
    plain, decayed = optimizer.param_groups
    assert (plain["weight_decay"], decayed["weight_decay"]) == (0, 0.1)
    for group in (plain, decayed):
        assert (group["lr"], group["betas"], group["eps"]) == (1e-5, (0.9, 0.98), 1e-6)
        assert (group["total"], group["warmup"]) == (50, 5)
    names = {id(p): f"{net}.{name}" for net in system.networks for name, p in _named(system, net)}
    assert {id(p) for p in system.trainable()} == {id(p) for g in (plain, decayed) for p in g["params"]}
    free = [names[id(p)] for p in plain["params"]]
    assert all("norm" in name or "layrnorm" in name or name.endswith(("bias", "scale.log")) for name in free)
    assert not any("norm" in names[id(p)] or names[id(p)].endswith("bias") for p in decayed["params"])


def _named(system: agree.AGREE, net: str) -> list[tuple[str, torch.nn.Parameter]]:
    return list(system.networks[net].named_parameters())


def test_clip_learns_from_pictures_and_captions_and_goes_on_where_it_stopped(
    tiny_clip: Path, tmp_path: Path
) -> None:
    extractors = named(f"image=pixels:32,text=tokens:77@{tiny_clip}")
    train, test = (extract(split, **extractors) for split in drawn())
    # A checkpoint that has learned nothing yet needs more than the rate of fine-tuning.
    quick = {"clip": str(tiny_clip), "lr": 3e-3, "epochs": 8, "batch_size": 16}
    whole, again = (catalogue.load("agree:clip", **quick) for _ in range(2))
    spy = Spy(quiet=True, device="cpu").watching(whole)
    whole.fit(train, spy)
    assert min(mean_average_precision(whole, test).values()) > chance(test) + 0.15
    first, last = (sum(entry["terms"].values()) for entry in (spy.history[0], spy.history[-1]))
    assert last < first
    everything = {"image_net", "text_net", "scale"}
    assert spy.reached == dict.fromkeys(("clip", "text_mask", "image_mask"), everything)
    assert spy.moved == {id(parameter) for parameter in whole.trainable()}
    whole.save(tmp_path / "saved")
    loaded = catalogue.load(str(tmp_path / "saved"))
    assert loaded.fingerprint == whole.fingerprint
    np.testing.assert_array_equal(loaded.encode_image(test.image), whole.encode_image(test.image))

    stopping = Spy(tmp_path / "run", quiet=True, device="cpu", checkpoint_seconds=0)
    stopping.stop_after = 21
    with pytest.raises(Stopped):
        again.fit(train, stopping)
    again.fit(train, Trainer(tmp_path / "run", quiet=True, device="cpu"))
    assert again.fingerprint == whole.fingerprint
