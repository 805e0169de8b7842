"""UDCMH: the specification's numbers, and that no sweep raises the objective."""

from __future__ import annotations

import numpy as np
import pytest

from diptych import catalogue
from diptych.data.sets.planted import Syn
from diptych.evaluation import evaluate
from diptych.systems.hashing import udcmh
from diptych.training.trainer import Trainer

FEATURES = np.array([[1, -2, 0.5], [0, 1, -1]])
CODES = np.array([[1.0, -1, 1]])
PATH = udcmh.Graph(
    np.array([1.0, 2, 1]), np.array([[1, 0], [0, 2], [1, 0]]), np.array([[-1.0, 0], [-1, -1], [-1, 0]])
)


def test_the_factorisation_in_closed_form() -> None:
    base = udcmh.basis(FEATURES, CODES)
    assert base[:, 0] == pytest.approx([1.166667, -0.666667], abs=1e-3)  # but for the ridge of 1e-3
    assert udcmh.residual(FEATURES, base, CODES) * 2 == pytest.approx(1.833333, abs=1e-5)
    exact = np.array([[1.166667], [-0.666667]])
    assert (exact.T @ FEATURES)[0] == pytest.approx([1.166667, -3, 1.25], abs=1e-5)
    codes = -CODES
    udcmh.sweep(codes, [FEATURES], [exact], [PATH], np.ones(1), 0.0)
    assert (codes == CODES).all()


@pytest.mark.parametrize(
    ("weight", "before", "after", "expected"),
    [(0.5, 5.833333, 5.833333, [1, -1, 1]), (2.0, 17.833333, 11.5, [-1, -1, -1])],
)
def test_one_sweep_with_neighbours(weight: float, before: float, after: float, expected: list[float]) -> None:
    """The specification counts the residual without dividing by d, so both weights are doubled here."""
    base = np.array([[1.166667], [-0.666667]])
    assert udcmh.trace(CODES, PATH) == pytest.approx(8)
    codes = CODES.copy()
    arguments = ([FEATURES], [base], [PATH], np.array([2.0]), weight / 2)
    assert udcmh.objective(codes, *arguments) == pytest.approx(before, abs=1e-5)
    udcmh.sweep(codes, *arguments)
    assert codes[0].tolist() == expected
    assert udcmh.objective(codes, *arguments) == pytest.approx(after, abs=1e-5)


def test_no_sweep_raises_the_objective() -> None:
    rng = np.random.default_rng(0)
    features = [udcmh.standardised(rng.standard_normal((80, d))) for d in (12, 7)]
    graphs = [udcmh.laplacian(z, 4, 0.1) for z in features]
    codes = np.where(rng.standard_normal((6, 80)) > 0, 1.0, -1.0)
    for _ in range(4):
        bases = [udcmh.basis(z, codes) for z in features]
        arguments = (features, bases, graphs, np.array([0.2, 0.3]), 0.1)
        before = udcmh.objective(codes, *arguments)
        udcmh.sweep(codes, *arguments)
        assert udcmh.objective(codes, *arguments) <= before + 1e-9


def test_the_laplacian_equals_its_matrix() -> None:
    rng = np.random.default_rng(1)
    features = rng.standard_normal((5, 30))
    graph = udcmh.laplacian(features, 3, 0.5)
    matrix = np.diag(graph.diagonal)
    for row in range(30):
        np.add.at(matrix[row], graph.columns[row], graph.values[row])
    assert matrix == pytest.approx(matrix.T)
    assert matrix.sum(axis=1) == pytest.approx(np.zeros(30))
    codes = rng.choice([-1.0, 1.0], (4, 30))
    assert udcmh.trace(codes, graph) == pytest.approx(np.trace(codes @ matrix @ codes.T))
    unit = features / np.linalg.norm(features, axis=0)
    nearest = np.argsort(-(unit.T @ unit)[0])[1]
    assert matrix[0, nearest] == -1


def test_modality_weights_favour_what_fits() -> None:
    found = udcmh.modality_weights(np.array([1.0, 4.0]), 3.0)
    assert found == pytest.approx([2 / 3, 1 / 3])


@pytest.mark.slow
@pytest.mark.parametrize(("weight", "least"), [(0.1, 0.38), (0.0, 0.5)])
def test_it_learns_without_labels(weight: float, least: float) -> None:
    data = Syn()
    system = catalogue.load(
        "udcmh:tiny", seed=0, image_dim=64, text_dim=120, bits=32, rounds=5, neighbour_weight=weight
    )
    system.fit(data.split("train"), Trainer(seed=0, quiet=True))
    for direction, one in evaluate(system, data, rank=False).measured.items():
        assert one.bounds["MAP@ALL"]["expected"] >= least, direction
