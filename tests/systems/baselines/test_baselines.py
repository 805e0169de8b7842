"""Baselines: the values that were measured for them on the Wikipedia features, and what defines each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diptych import catalogue
from diptych.data import open_data
from diptych.data.base import Dataset, Split
from diptych.data.sets.planted import Syn
from diptych.evaluation import evaluate
from diptych.training.trainer import Trainer

FITTED = ("cca", "pls", "ridge", "sm", "lsh", "cca_itq")


def fitted(name: str, split: Split, **parameters: Any) -> Any:
    dims = {"image_dim": split.image.shape[1], "text_dim": split.text.shape[1]}  # type: ignore[union-attr]
    if name in ("ridge", "sm"):
        assert split.label is not None
        dims["classes"] = split.label.shape[1]
    return catalogue.load(name, seed=0, **dims, **parameters).fit(split, Trainer(seed=0, quiet=True))


def wikipedia(variant: str, shared_data: Path) -> Dataset:
    return open_data(f"wikipedia:{variant}", shared_data / "wikipedia-features")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "parameters", "variant", "expected", "within"),
    [
        ("cca", {"dim": 5, "ridge": 0.01}, "sift", (0.247, 0.195), 0.005),
        ("cca", {"dim": 10, "ridge": 0.01}, "sift", (0.242, 0.195), 0.005),
        ("cca", {"dim": 5, "ridge": 0.01}, "cnn", (0.357, 0.327), 0.005),
        ("cca", {"dim": 10, "ridge": 0.01}, "cnn", (0.325, 0.292), 0.005),
        ("ridge", {}, "sift", (0.270, 0.215), 0.002),
        ("ridge", {"penalty": 1.0}, "sift", (0.274, 0.227), 0.002),
        ("ridge", {}, "cnn", (0.449, 0.403), 0.002),
        ("sm", {}, "sift", (0.300, 0.230), 0.002),
        ("sm", {"inverse_penalty": 0.1, "centred": False}, "sift", (0.275, 0.218), 0.002),
        ("sm", {"inverse_penalty": 0.1, "centred": False}, "cnn", (0.438, 0.393), 0.002),
    ],
)
def test_values_that_were_measured(
    name: str,
    parameters: dict[str, Any],
    variant: str,
    expected: tuple[float, float],
    within: float,
    shared_data: Path,
) -> None:
    data = wikipedia(variant, shared_data)
    found = evaluate(fitted(name, data.split("train"), **parameters), data, rank=False).main()
    assert found["image to text"] == pytest.approx(expected[0], abs=within)
    assert found["text to image"] == pytest.approx(expected[1], abs=within)


def test_canonical_correlations_are_those_of_one_shared_factor() -> None:
    """Two views of one factor with noise of equal variance correlate 1/2; all other directions do not."""
    rng = np.random.default_rng(0)
    factor = rng.standard_normal((20000, 1)).astype(np.float32)
    image, text = (
        np.hstack([factor + rng.standard_normal((20000, 1)), rng.standard_normal((20000, 2))]).astype(
            np.float32
        )
        for _ in "ab"
    )
    split = Split(image=image, text=text, label=None, pairs=np.stack([np.arange(20000)] * 2, 1))
    cca = fitted("cca", split, dim=3, ridge=0.0)
    with torch.no_grad():
        x, y = (
            net(torch.as_tensor(side))
            for net, side in ((cca.image_net, split.image), (cca.text_net, split.text))
        )
    assert (x.T @ x / len(x)).numpy() == pytest.approx(np.eye(3), abs=1e-3)
    assert np.diag((x.T @ y / len(x)).numpy()) == pytest.approx([0.5, 0, 0], abs=0.03)


@pytest.mark.parametrize("name", FITTED)
def test_each_beats_chance_on_multi_label_data(name: str) -> None:
    data = Syn()
    system = fitted(name, data.split("train"))
    found, chance = (
        evaluate(one, data, rank=False).main() for one in (system, fitted("random", data.split("train")))
    )
    for direction, value in found.items():
        assert value > max(0.36, chance[direction]), direction


@pytest.mark.parametrize("bits", [16, 48])
def test_the_rotation_lowers_the_quantisation_error(bits: int) -> None:
    split = Syn().split("train")
    before, after = (fitted("cca_itq", split, bits=bits, iterations=n) for n in (0, 50))
    errors = []
    for system in (before, after):
        with torch.no_grad():
            rows = torch.cat(
                [system.image_net(torch.as_tensor(split.image)), system.text_net(torch.as_tensor(split.text))]
            )
        errors.append(float((torch.sign(rows) - rows).square().sum()))
    assert errors[1] < errors[0]
    # The rows of R are orthonormal, so that the projections keep their lengths.
    first = after.image_net.weight.double()
    scale = np.linalg.norm(first.numpy(), ord=2)
    plain = fitted("cca", split, ridge=after.ridge, dim=after.dim).image_net.weight.double()
    assert np.linalg.norm(plain.numpy(), ord=2) == pytest.approx(scale, rel=1e-4)


def test_more_bits_than_directions_still_give_codes() -> None:
    split = Syn().split("train")
    for name in ("lsh", "cca_itq"):
        codes = fitted(name, split, bits=128).encode_text(split.text)
        assert codes.shape == (len(split.text), 128)
        assert set(np.unique(codes)) == {-1, 1}
