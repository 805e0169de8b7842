r"""UDCMH: Unsupervised Deep Hashing via Binary Latent Factor Models (Wu et al., IJCAI 2018).

Paper: "... for Large-scale Cross-modal Retrieval", IJCAI 2018, pp. 2854-2860, doi 10.24963/ijcai.2018/396
Code: none found
Tables: survey Table 1, none with numbers
Inputs: image features or pixels (the paper: raw pixels through a pretrained CNN), bag-of-words tags
Learns from: pairs
Structure: apart
Representation: binary
Survey: the unsupervised row of Table 1, self-taught, which keeps nearest and farthest neighbours; no
    numbers.

Both modalities' features are factored into one binary code a pair, bit by bit and without relaxation, while
neighbours in either feature space are drawn together and the farthest apart; networks then learn to give the
codes, and their features are factored again.

`udcmh:cnn_f` fine-tunes CNN-F on pixels, whose layer full7 is what is factored, from the first round on; its
first features, and so its first codes, are those of `image_file`, or of drawn weights without it.

Equations:
- the objective of a factorisation: \min_{U, B, \alpha} \sum_m \alpha_m^r \left(
    \frac{1}{d_m} \lVert Z_m - U_m B \rVert_F^2 + \beta \operatorname{tr}(B L_m B^\top) \right)
- on what it searches: B \in \{-1, 1\}^{c \times n}, \quad \sum_m \alpha_m = 1
- near and far neighbours: L_m = L_m^{\mathrm{near}} - \mu L_m^{\mathrm{far}}
- the bases: U_m = Z_m B^\top \left( B B^\top + 10^{-3} I \right)^{-1}
- the codes, bit by bit and item by item: b_{ki} = \operatorname{sign} \sum_m \alpha_m^r \left(
    \frac{1}{d_m} u_{mk}^\top (Z_m - U_m^{-k} B^{-k})_i - \beta \sum_{j \ne i} (L_m)_{ij} b_{kj} \right)
- weights of the modalities: \alpha_m \propto e_m^{-1/(r-1)}, \quad
    e_m = \frac{1}{d_m} \lVert Z_m - U_m B \rVert_F^2
- what a network learns: \min_h \frac1n \sum_i \lVert h(x_i) - b_i \rVert^2
where the columns of $Z_m$ are the features of side $m$, each dimension standardised, and $-k$ leaves bit $k$
out.

Differs from the paper: its body could not be read, so architecture, sizes and weights are a reconstruction
from the abstract and a summary; the updates are derived from the objective and exact for it. The weights of
the modalities use the reconstruction error alone, as the neighbour terms may be negative.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from diptych import similarity
from diptych.data.base import Split, input_kind
from diptych.nets.fronts import FromPixels
from diptych.training.learner import Learner
from diptych.training.trainer import Trainer

__all__ = ["UDCMH"]

Doubles = NDArray[np.float64]

_TINY: dict[str, Any] = {
    "image_hidden": 256,
    "text_hidden": 256,
    "epochs": 10,
    "rounds": 3,
    "neighbour_weight": 0.0,
    "batch_size": 64,
    "lr": 1e-3,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "tiny": {**_TINY, "bits": 16},
    "cnn_f": {"image_tower": "cnn_f", "image_hidden": 0},
}
FEATURES: dict[str, str] = {"cnn_f": "image=pixels,text=bow"}
RECIPES: dict[str, dict[str, Any]] = {"syn": {**_TINY, "rounds": 5}}


@dataclass(kw_only=True, eq=False)
class UDCMH(FromPixels, Learner):
    """Unsupervised deep cross-modal hashing.

    Args:
        image_dim: Dimensions of the image features.
        text_dim: Words of the bag.
        bits: Code length c.
        image_hidden: Units of the image network's feature layer, which is factored from the second round on;
            0 for none, which leaves the features, or the last layer of the tower.
        text_hidden: Likewise for text.
        rounds: Factorisation and regression in turn.
        sweeps: Passes over U, B and alpha in each factorisation.
        neighbours: k nearest and k farthest items that make the graphs.
        neighbour_weight: beta of the graph terms; tune it, with 0 among the values.
        far_weight: mu of the farthest neighbours against the nearest.
        power: r, how evenly the modalities are weighted.
        epochs: Of the regression, in each round.
        image_tower, tower_units, image_file: Kind, units and published weights of a network on pixels that
            stands in place of features, see `diptych.nets.fronts`.
    """

    similarity = "hamming"

    image_net: nn.Sequential = field(init=False, repr=False)
    text_net: nn.Sequential = field(init=False, repr=False)

    image_dim: int = 4096
    text_dim: int = 1386
    bits: int = 32
    image_hidden: int = 4096
    text_hidden: int = 4096
    rounds: int = 5
    sweeps: int = 3
    neighbours: int = 5
    neighbour_weight: float = 0.1
    far_weight: float = 0.1
    power: float = 3.0
    epochs: int = 20
    batch_size: int = 128
    lr: float = 1e-4

    def __post_init__(self) -> None:
        tower, width = self.image_front(self.image_dim)
        head = _network(width, self.image_hidden, self.bits)
        self.image_net = head if tower is None else nn.Sequential(tower, *head)
        self.text_net = _network(self.text_dim, self.text_hidden, self.bits)

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """Factor the features, regress on the codes, take the networks' features, and again."""
        trainer = self.begin(split, trainer)
        nets = (self.image_net, self.text_net)
        optimizers = [torch.optim.Adam(net.parameters(), lr=self.lr) for net in nets]
        start = torch.randn(self.bits, len(split.pairs), generator=trainer.generator).numpy()
        codes = torch.from_numpy(np.where(start > 0, 1.0, -1.0))
        for number in range(self.rounds):
            for epoch in trainer.epochs(self.epochs, keep=(*nets, *optimizers, codes)):
                if epoch == 0:
                    features = self.latent(split, given=number == 0)
                    codes.copy_(torch.from_numpy(self.factored(features, codes.numpy())))
                for batch in trainer.batches(split, self.batch_size):
                    wanted = codes[:, batch.index.cpu()].T.float().to(trainer.device)
                    for net, optimizer, rows, name in zip(
                        nets, optimizers, (batch.image, batch.text), ("image", "text"), strict=True
                    ):
                        trainer.step(optimizer, {name: (net(rows) - wanted).square().sum(dim=1).mean()})
        return self

    def latent(self, split: Split, *, given: bool) -> list[Doubles]:
        """Z_m (d_m, p) of the split's pairs, standardised: the features as they are given, or those of the
        networks' layers before the code.

        Pixels are no features: they always go through their network.
        """
        found = []
        for at, (net, values) in enumerate(((self.image_net, split.image), (self.text_net, split.text))):
            rows, side = split.pairs[:, at], np.asarray(values)
            if input_kind(side) == "pixels":
                found.append(standardised(self.outputs(net[:-1], side)[rows]))
            else:
                found.append(standardised(side[rows] if given else self.outputs(net[:-1], side[rows])))
        return found

    def factored(self, features: list[Doubles], codes: Doubles) -> Doubles:
        """Unified codes B (c, n) of the features.

        Args:
            features: Z_m of each modality, (d_m, n), standardised.
            codes: B to start from.
        """
        graphs = [laplacian(z, self.neighbours, self.far_weight) for z in features]
        weights = np.full(len(features), 1 / len(features))
        codes = codes.copy()
        for _ in range(self.sweeps):
            bases = [basis(z, codes) for z in features]
            errors = np.array([residual(z, u, codes) for z, u in zip(features, bases, strict=True)])
            weights = modality_weights(errors, self.power)
            sweep(codes, features, bases, graphs, weights**self.power, self.neighbour_weight)
        return codes


@dataclass(frozen=True)
class Graph:
    """A sparse symmetric Laplacian L: its diagonal, and the other entries by row.

    Args:
        diagonal: (n,).
        columns: (n, w) columns of the entries of each row; those beyond them have value 0.
        values: (n, w).
    """

    diagonal: Doubles
    columns: NDArray[np.int64]
    values: Doubles


def basis(features: Doubles, codes: Doubles) -> Doubles:
    """U_m (d, c) = Z B^T (B B^T + 1e-3 I)^(-1)."""
    gram = codes @ codes.T + 1e-3 * np.eye(len(codes))
    return np.asarray(np.linalg.solve(gram, codes @ features.T).T)


def residual(features: Doubles, base: Doubles, codes: Doubles) -> float:
    """||Z - U B||^2 / d."""
    return float(np.square(features - base @ codes).sum() / len(features))


def modality_weights(errors: Doubles, power: float) -> Doubles:
    """alpha_m, proportional to (1 / e_m)^(1 / (r - 1)), which sums to 1."""
    raw = (1 / np.maximum(errors, 1e-12)) ** (1 / (power - 1))
    return np.asarray(raw / raw.sum())


def sweep(
    codes: Doubles,
    features: list[Doubles],
    bases: list[Doubles],
    graphs: list[Graph],
    weights: Doubles,
    neighbour_weight: float,
) -> None:
    """One pass over all bits and items, in place; it never raises `objective`.

    b_ki = sign(sum_m alpha_m^r / d_m u_k^T (Z - U^{-k} B^{-k})_i - beta sum_m alpha_m^r sum_{j != i} L_ij
    b_kj), and 0 counts as +1.
    """
    for bit in range(len(codes)):
        pull = np.zeros(codes.shape[1])
        for z, u, weight in zip(features, bases, weights, strict=True):
            others = z - u @ codes + np.outer(u[:, bit], codes[bit])
            pull += weight / len(z) * (u[:, bit] @ others)
        row = codes[bit]
        if not neighbour_weight:
            row[:] = np.where(pull >= 0, 1.0, -1.0)
            continue
        columns = [graph.columns for graph in graphs]
        pairs = zip(graphs, weights, strict=True)
        values = [neighbour_weight * weight * graph.values for graph, weight in pairs]
        # Item by item: each decides with those before it already decided.
        for item in range(len(row)):
            near = sum(float(v[item] @ row[c[item]]) for c, v in zip(columns, values, strict=True))
            row[item] = 1.0 if pull[item] - near >= 0 else -1.0


def objective(
    codes: Doubles,
    features: list[Doubles],
    bases: list[Doubles],
    graphs: list[Graph],
    weights: Doubles,
    neighbour_weight: float,
) -> float:
    """sum_m alpha_m^r (||Z_m - U_m B||^2 / d_m + beta tr(B L_m B^T))."""
    total = 0.0
    for z, u, graph, weight in zip(features, bases, graphs, weights, strict=True):
        total += weight * (residual(z, u, codes) + neighbour_weight * trace(codes, graph))
    return float(total)


def trace(codes: Doubles, graph: Graph) -> float:
    """tr(B L B^T)."""
    along = (np.take(codes, graph.columns, axis=1) * graph.values).sum(axis=2)
    return float((codes * (graph.diagonal * codes + along)).sum())


def laplacian(features: Doubles, neighbours: int, far_weight: float) -> Graph:
    """L = L_near - mu L_far of the symmetrised k-nearest and k-farthest graphs by cosine.

    Args:
        features: (d, n).
        neighbours: k.
        far_weight: mu.
    """
    rows = similarity.unit(features.T)
    count = len(rows)
    k = min(neighbours, count - 1)
    entries: list[dict[int, float]] = [{} for _ in range(count)]
    diagonal = np.zeros(count)
    size = max(1, (1 << 22) // count)  # so that no matrix of all pairs is in memory
    for start in range(0, count, size):
        scores = rows[start : start + size] @ rows.T
        own = np.arange(len(scores))
        for sign, weight in ((1, 1.0), (-1, -far_weight)):
            ranked = sign * scores
            ranked[own, start + own] = -np.inf
            for item, found in enumerate(np.argpartition(-ranked, k - 1, axis=1)[:, :k], start=start):
                for other in found.tolist():
                    _join(entries, item, other, weight)
    width = max((len(entry) for entry in entries), default=0)
    columns, values = np.zeros((count, width), np.int64), np.zeros((count, width))
    for item, entry in enumerate(entries):
        columns[item, : len(entry)] = list(entry)
        values[item, : len(entry)] = [-value for value in entry.values()]
        diagonal[item] = sum(entry.values())
    return Graph(diagonal, columns, values)


def _join(entries: list[dict[int, float]], first: int, second: int, weight: float) -> None:
    """An edge in both directions, once; a near and a far edge between the same items stay the near one."""
    if second not in entries[first]:
        entries[first][second] = entries[second][first] = weight


def standardised(rows: Any) -> Doubles:
    """(n, d) rows as (d, n), each dimension with mean 0 and deviation 1; a constant one stays 0."""
    values = np.asarray(rows, np.float64).T
    centred = values - values.mean(axis=1, keepdims=True)
    deviation = centred.std(axis=1, keepdims=True)
    return np.asarray(centred / np.where(deviation > 0, deviation, 1))


def _network(inputs: int, hidden: int, bits: int) -> nn.Sequential:
    layers = [nn.Linear(inputs, hidden), nn.ReLU()] if hidden else []
    return nn.Sequential(*layers, nn.Linear(hidden or inputs, bits))
