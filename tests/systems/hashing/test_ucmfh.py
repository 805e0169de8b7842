"""UCMFH: the specification's numbers, and what its released code gets wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diptych import catalogue
from diptych.data.sets.planted import Syn
from diptych.evaluation import evaluate
from diptych.systems.hashing.ucmfh import contrast
from diptych.training.trainer import Trainer


def test_the_contrastive_loss() -> None:
    first, second = torch.tensor([[1.0, 0], [0, 1]]), torch.tensor([[0.8, 0.6], [-0.6, 0.8]])
    assert float(contrast(first, second, 0.5)) == pytest.approx(0.430190, abs=1e-6)
    same = torch.eye(2)
    assert float(contrast(same, same, 0.5)) == pytest.approx(0.239545, abs=1e-6)


def test_codes_do_not_depend_on_the_batch() -> None:
    split = Syn().split("query")
    system = catalogue.load("ucmfh:tiny", seed=0, image_dim=64, text_dim=120)
    whole = system.encode_text(split.text)
    order = np.random.default_rng(0).permutation(len(split.text))
    assert (system.encode_text(split.text[order]) == whole[order]).all()
    assert (system.encode_text(split.text[3:4]) == whole[3:4]).all()


def test_the_rate_of_the_heads_changes_by_step() -> None:
    split = Syn().split("train").take(np.arange(80))
    system = catalogue.load(
        "ucmfh:tiny", seed=0, image_dim=64, text_dim=120, epochs=3, batch_size=40, rate_steps=(2, 4)
    )
    rates = []

    class Watching(Trainer):
        def step(self, optimizer: torch.optim.Optimizer, terms: dict[str, torch.Tensor]) -> None:  # type: ignore[override]
            rates.append([group["lr"] for group in optimizer.param_groups])
            super().step(optimizer, terms)

    system.fit(split, Watching(seed=0, quiet=True))
    assert [rate for _, rate in rates] == pytest.approx([1e-3, 1e-3, 1.2e-3, 1.2e-3, 1.44e-3, 1.44e-3])
    assert {rate for rate, _ in rates} == {1e-4}


@pytest.mark.slow
def test_it_learns_and_the_leak_is_what_the_specification_says() -> None:
    data = Syn()
    system = catalogue.load(
        "ucmfh",
        seed=0,
        image_dim=64,
        text_dim=120,
        half=64,
        feed_forward=256,
        hidden=512,
        batch_size=80,
        epochs=25,
    )
    system.fit(data.split("train"), Trainer(seed=0, quiet=True))
    strict = evaluate(system, data, rank=False).measured
    for direction in strict:
        assert strict[direction].bounds["MAP@ALL"]["expected"] >= 0.37, direction
    query, database = data.split("query"), data.split("database")
    images, _ = system.encode_pair(query.image, query.text)
    _, texts = system.encode_pair(database.image, database.text)
    from diptych import metrics

    assert query.label is not None
    assert database.label is not None
    groups = metrics.hamming_groups(images, texts, metrics.ByLabel(query.label, database.label))
    leaky = groups.average_precision()["expected"].mean()
    assert leaky > strict["image to text"].bounds["MAP@ALL"]["expected"] + 0.05
