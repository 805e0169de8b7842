"""Bi-CMR: the specification's numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from diptych import catalogue
from diptych.data.sets.planted import Planted, Syn
from diptych.evaluation import evaluate
from diptych.systems.hashing import bi_cmr
from diptych.training.trainer import Trainer

LABELS = torch.tensor([[1.0, 1, 0], [1, 0, 0], [0, 1, 1]])
LABEL = torch.tensor([[0.8, -0.6], [0.5, 0.4], [-0.7, 0.9]])
IMAGE = torch.tensor([[0.6, -0.5], [0.7, 0.2], [-0.4, 0.8]])
TEXT = torch.tensor([[0.5, 0.1], [0.3, -0.6], [-0.9, 0.4]])


def test_label_cosines_and_their_adjustment() -> None:
    found = bi_cmr._cosines(LABELS, LABELS)
    assert [float(found[0, 1]), float(found[0, 2]), float(found[1, 2])] == pytest.approx(
        [0.707107, 0.5, 0], abs=1e-6
    )
    extended = torch.cat([LABELS, 0.01 * (LABEL > 0)], dim=1)
    found = bi_cmr._cosines(extended, extended)
    assert [float(found[0, 1]), float(found[0, 2]), float(found[1, 2])] == pytest.approx(
        [0.707089, 0.499975, 0.000071], abs=1e-6
    )
    assert (
        bi_cmr.adjusted_similarity(LABELS, LABEL, 0.5, 0.01) != bi_cmr.label_similarity(LABELS, 0.5)
    ).sum() == 2


def test_the_two_directions_of_reinforcement() -> None:
    assert float(bi_cmr.modality_to_label(IMAGE, TEXT, LABEL, 0.9)) == pytest.approx(3.117827, abs=1e-5)
    assert float(bi_cmr.label_to_modality(IMAGE, TEXT, LABEL)) == pytest.approx(10.759510, abs=1e-5)


def test_the_five_likelihoods() -> None:
    similar = bi_cmr.adjusted_similarity(LABELS, LABEL, 0.4, 0.01)
    found = [float(term) for term in bi_cmr.correlation(IMAGE, TEXT, LABEL, similar)]
    assert found == pytest.approx([0.669950, 0.669950, 0.649953, 0.649953, 0.688911], abs=1e-6)
    assert sum(found) == pytest.approx(3.328719, abs=1e-5)


def test_only_the_last_likelihood_reaches_the_label_codes() -> None:
    label = LABEL.clone().requires_grad_()
    similar = bi_cmr.label_similarity(LABELS, 0.4)
    terms = bi_cmr.correlation(IMAGE, TEXT, label, similar)
    assert [term.requires_grad for term in terms] == [False, False, False, False, True]


def test_class_loss_and_reconstruction() -> None:
    logits = torch.tensor([[0.2, 1, -0.3], [0, 0.5, 0.5], [1, 0, 0]])
    assert float(bi_cmr.classification(logits, LABELS)) == pytest.approx(2.149240, abs=1e-6)
    feature, rebuilt = torch.tensor([[1.0, 0, 2]]), torch.tensor([[0.5, 0.5, 1]])
    assert float(bi_cmr.reconstruction(feature, rebuilt)) == pytest.approx(0.043120, abs=1e-6)
    assert float(bi_cmr.reconstruction(feature, rebuilt)) * 3 == pytest.approx(0.129361, abs=1e-6)


def test_rates_halve_after_the_first_epoch_and_every_twentieth_from_there() -> None:
    system = catalogue.load("bi_cmr:tiny", halve_every=20)
    optimizer = torch.optim.Adam(system.trainable("label_net"), lr=1e-3)
    rates, released = {}, 1e-3
    for epoch in range(401):
        system._set_rates(epoch, optimizer)
        rates[epoch] = optimizer.param_groups[0]["lr"]
        assert rates[epoch] == pytest.approx(released)
        # The released loop, at the end of an epoch.
        if epoch % 20 == 0:
            released = max(released * 0.5, 1e-6)
    assert [rates[epoch] for epoch in (0, 1, 19, 20, 21, 400)] == [1e-3, 5e-4, 5e-4, 5e-4, 2.5e-4, 1e-6]


def test_both_steps_go_on_with_one_state_of_the_label_network() -> None:
    optimizers: dict[str, torch.optim.Optimizer] = {}

    class Noting(Trainer):
        def step(self, optimizer: Any, terms: Any, *, batch: Any = None) -> None:
            optimizers["alone" if "label_pairs" in terms else "together"] = optimizer
            super().step(optimizer, terms, batch=batch)

    system = catalogue.load("bi_cmr:tiny", seed=0, batch_size=20, epochs=2, halve_every=1)
    system.fit(Planted(train=50, seed=1).split("train"), Noting(seed=0, quiet=True))
    first = system.trainable("label_net")[0]
    assert optimizers["alone"].state[first]["step"] == 2 * 2 * 3
    assert {group["lr"] for group in optimizers["together"].param_groups} == {5e-4}


@pytest.mark.slow
def test_it_learns_multi_label_data() -> None:
    data = Syn()
    system = catalogue.load("bi_cmr:tiny", seed=0, image_dim=64, text_dim=120, bits=32)
    system.fit(data.split("train"), Trainer(seed=0, quiet=True))
    found = evaluate(system, data, rank=False).measured
    assert found["image to text"].bounds["MAP@ALL"]["expected"] >= 0.52
    assert found["text to image"].bounds["MAP@ALL"]["expected"] >= 0.42
