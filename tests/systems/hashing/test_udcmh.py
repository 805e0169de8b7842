"""UDCMH: the specification's numbers, and that no sweep raises the objective."""

from __future__ import annotations

import math

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


def literal_factored(
    sides: list[list[list[float]]], codes: list[list[float]], settings: dict[str, float]
) -> tuple[list[list[float]], list[float]]:
    """The paper's alternation as it is written, one entry at a time; features (d, n), codes (c, n).

    Returns the codes, and the objective after each sweep.
    """
    bits, count = len(codes), len(codes[0])
    beta, mu, r, near = settings["beta"], settings["mu"], settings["r"], int(settings["k"])
    laplacians = []
    for z in sides:
        lengths = [math.sqrt(sum(row[i] ** 2 for row in z)) for i in range(count)]
        cosine = [
            [sum(row[i] * row[j] for row in z) / (lengths[i] * lengths[j]) for j in range(count)]
            for i in range(count)
        ]
        close, far = ([[0.0] * count for _ in range(count)] for _ in range(2))
        for i in range(count):
            others = sorted((j for j in range(count) if j != i), key=lambda j, i=i: -cosine[i][j])
            for j in others[:near]:
                close[i][j] = close[j][i] = 1.0
            for j in others[-near:]:
                far[i][j] = far[j][i] = 1.0
        edges = [[close[i][j] - mu * far[i][j] for j in range(count)] for i in range(count)]
        laplacians.append(
            [[sum(edges[i]) if i == j else -edges[i][j] for j in range(count)] for i in range(count)]
        )
    codes, alpha, history = [row[:] for row in codes], [1 / len(sides)] * len(sides), []
    for _ in range(int(settings["sweeps"])):
        gram = [
            [sum(codes[a][i] * codes[b][i] for i in range(count)) + 1e-3 * (a == b) for b in range(bits)]
            for a in range(bits)
        ]
        inverse = np.linalg.inv(np.array(gram)).tolist()
        bases, errors = [], []
        for z in sides:
            crossed = [[sum(row[i] * codes[b][i] for i in range(count)) for b in range(bits)] for row in z]
            u = [[sum(line[a] * inverse[a][b] for a in range(bits)) for b in range(bits)] for line in crossed]
            bases.append(u)
            errors.append(
                sum(
                    (row[i] - sum(u[d][b] * codes[b][i] for b in range(bits))) ** 2
                    for d, row in enumerate(z)
                    for i in range(count)
                )
                / len(z)
            )
        raw = [(1 / error) ** (1 / (r - 1)) for error in errors]
        alpha = [one / sum(raw) for one in raw]
        for k in range(bits):
            for i in range(count):
                pull = 0.0
                for z, u, lap, weight in zip(sides, bases, laplacians, alpha, strict=True):
                    for d, row in enumerate(z):
                        rest = row[i] - sum(u[d][b] * codes[b][i] for b in range(bits) if b != k)
                        pull += weight**r / len(z) * u[d][k] * rest
                    pull -= beta * weight**r * sum(lap[i][j] * codes[k][j] for j in range(count) if j != i)
                codes[k][i] = 1.0 if pull >= 0 else -1.0
        total = 0.0
        for z, u, lap, weight in zip(sides, bases, laplacians, alpha, strict=True):
            for i in range(count):
                for d, row in enumerate(z):
                    gap = row[i] - sum(u[d][b] * codes[b][i] for b in range(bits))
                    total += weight**r * gap**2 / len(z)
                for j in range(count):
                    total += weight**r * beta * lap[i][j] * sum(line[i] * line[j] for line in codes)
        history.append(total)
    return codes, history


@pytest.mark.parametrize(("bits", "seed", "beta"), [(3, 0, 0.1), (5, 1, 0.02), (4, 2, 0.0), (6, 3, 0.5)])
def test_the_factorisation_equals_a_literal_one(bits: int, seed: int, beta: float) -> None:
    """No code was released: a second one, with nothing in common, stands for it."""
    random = np.random.default_rng(seed)
    shared = random.standard_normal((4, 24))
    sides = [
        udcmh.standardised((random.standard_normal((d, 4)) @ shared + random.standard_normal((d, 24))).T)
        for d in (9, 6)
    ]
    start = np.where(random.standard_normal((bits, 24)) > 0, 1.0, -1.0)
    system = catalogue.load("udcmh:tiny", bits=bits, neighbours=3, neighbour_weight=beta, far_weight=0.2)
    settings = {"beta": beta, "mu": 0.2, "r": system.power, "k": 3, "sweeps": system.sweeps}
    expected, history = literal_factored([z.tolist() for z in sides], start.tolist(), settings)
    assert system.factored(sides, start).tolist() == expected
    assert not np.array_equal(start, expected)
    # The objective of the last sweep, whose bases and weights are those of the codes before it.
    before, _ = literal_factored([z.tolist() for z in sides], start.tolist(), {**settings, "sweeps": 2})
    bases = [udcmh.basis(z, np.array(before)) for z in sides]
    errors = np.array([udcmh.residual(z, u, np.array(before)) for z, u in zip(sides, bases, strict=True)])
    weights = udcmh.modality_weights(errors, system.power) ** system.power
    graphs = [udcmh.laplacian(z, 3, 0.2) for z in sides]
    found = udcmh.objective(np.array(expected), sides, bases, graphs, weights, beta)
    assert found == pytest.approx(history[-1])


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
