"""DSPH's numbers (specification) and its margin."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diptych import catalogue
from diptych.data.extracted import extract
from diptych.data.sets.planted import Syn
from diptych.evaluation import evaluate
from diptych.features import named
from diptych.systems.hashing.dsph import DSPH, threshold
from diptych.testing.materials import Spy, Stopped, chance, drawn, mean_average_precision
from diptych.training.trainer import Trainer

X = torch.tensor([[0.9, 0.1], [-0.2, 0.8], [0.5, -0.7]])
Y = torch.tensor([[0.6, 0.4], [0.1, 0.9], [0.3, -0.2]])
P = torch.tensor([[1, 0.2], [-0.3, 1], [0.5, -0.5], [-1, -0.1]])
L = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]])


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> DSPH:
    learner = DSPH(image_dim=3, text_dim=3, classes=4, bits=2)
    learner.proxies.weight.data = P
    monkeypatch.setattr("diptych.systems.hashing.dsph.threshold", lambda bits, classes: 0.0)
    return learner


def test_terms(model: DSPH) -> None:
    terms = {name: term.item() for name, term in model.terms(X, Y, L).items()}
    assert terms["image_positive"] == pytest.approx(0.897181, abs=1e-5)
    assert terms["text_positive"] == pytest.approx(0.781894, abs=1e-5)
    assert terms["image_negative"] == pytest.approx(0.372858, abs=1e-5)
    assert terms["text_negative"] == pytest.approx(0.342877, abs=1e-5)
    assert terms["irrelevant"] == pytest.approx(0.514554 + 0.222339, abs=1e-5)
    assert sum(terms.values()) == pytest.approx(3.131703, abs=1e-5)


def test_codes_on_orthogonal_proxies_cost_nothing(model: DSPH) -> None:
    model.proxies.weight.data = torch.eye(4)[:, :2]
    single = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]])
    codes = torch.eye(2)
    assert sum(model.terms(codes, codes, single).values()).item() == pytest.approx(0, abs=1e-6)


def test_no_multi_label_pair_apart_means_no_penalty(model: DSPH) -> None:
    assert model.terms(X, Y, torch.ones(3, 4))["irrelevant"].item() == 0


@pytest.mark.parametrize(
    ("classes", "margins"),
    [
        (21, (0, 0, 0, 0)),
        (24, (0, 0, 0, 0)),
        (80, (0.25, 0.125, 0, 0)),
        (10, (0, 0, -0.03125, -0.0625)),
        (255, (0.375, 0.1875, 0.09375, 0)),
        (291, (0.5, 0.25, 0.125, 0.0625)),
    ],
)
def test_margin_equals_the_released_table(classes: int, margins: tuple[float, ...]) -> None:
    assert [threshold(bits, classes) for bits in (16, 32, 64, 128)] == list(margins)


def test_heads_start_small() -> None:
    """Not saturated: a linear layer spread over its inputs, as the released head is."""
    torch.manual_seed(0)
    learner = DSPH(image_dim=512, text_dim=64, bits=32)
    for net, width in ((learner.image_net, 512), (learner.text_net, 64)):
        weight, bias = net[0].weight, net[0].bias
        assert weight.std().item() == pytest.approx((3 * width) ** -0.5, rel=0.1)
        assert 0 < bias.abs().max().item() <= width**-0.5
        rows = 10 * torch.nn.functional.normalize(torch.randn(200, width))
        assert net.eval()(rows).abs().mean().item() < 0.5


def test_the_published_rate_learns_multi_label_data() -> None:
    """With heads that started saturated this was .58 in both directions."""
    data = Syn()
    learner = catalogue.load("dsph", seed=0, image_dim=64, text_dim=120, epochs=60, batch_size=64)
    learner.fit(data.split("train"), Trainer(seed=0, quiet=True))
    for one in evaluate(learner, data, rank=False).measured.values():
        assert one.bounds["MAP@ALL"]["expected"] >= 0.65


def test_proxies_and_heads_step_together_at_their_own_rates() -> None:
    learner = DSPH(image_dim=3, text_dim=3, classes=4, bits=8)
    learner.total_steps = 10
    before = {name: tensor.clone() for name, tensor in learner.state().items()}
    optimizer = learner.optimizer()
    sum(
        learner.terms(
            learner.image_net(X @ torch.ones(2, 3)), learner.text_net(Y @ torch.ones(2, 3)), L
        ).values()
    ).backward()
    optimizer.step()
    optimizer.step()
    assert all(
        not torch.equal(before[name], tensor)
        for name, tensor in learner.state().items()
        if "bias" not in name
    )


def test_clip_learns_from_pictures_and_captions_and_goes_on_where_it_stopped(
    tiny_clip: Path, tmp_path: Path
) -> None:
    extractors = named(f"image=pixels:32,text=tokens:32@{tiny_clip}")
    train, test = (extract(split, **extractors) for split in drawn())
    # A checkpoint that has learned nothing yet needs more than the rate of fine-tuning.
    quick = {"bits": 16, "classes": 4, "epochs": 6, "batch_size": 16, "lr": 1e-2, "tower_lr": 2e-3}
    whole, again = (catalogue.load("dsph:clip", clip=str(tiny_clip), **quick) for _ in range(2))
    assert whole.reads == {"image": "pixels", "text": "tokens"}
    rates = [group["lr"] for group in whole.optimizer().param_groups]
    assert rates == [1e-2, 2e-3, whole.proxy_lr]
    before = {name: tensor.clone() for name, tensor in whole.state().items()}
    whole.fit(train, Trainer(quiet=True, device="cpu"))
    after = whole.state()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert min(mean_average_precision(whole, test).values()) > chance(test) + 0.15

    spy = Spy(tmp_path, quiet=True, device="cpu", checkpoint_seconds=0)
    spy.stop_after = 9
    with pytest.raises(Stopped):
        again.fit(train, spy)
    again.fit(train, Trainer(tmp_path, quiet=True, device="cpu"))
    assert again.fingerprint == whole.fingerprint
