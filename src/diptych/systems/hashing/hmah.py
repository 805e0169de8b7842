r"""HMAH: Teacher-Student Learning: Efficient Hierarchical Message Aggregation Hashing (Tan et al., TMM 2022).

Paper: doi 10.1109/TMM.2022.3177901
Code: FutureTwT/HMAH@81a8b47 (model.py, train.py, layers.py)
Tables: survey Table 3 (its COCO cells are MAP@500)
Inputs: image features (the paper: frozen 4096-d CNN features), bag-of-words tags, multi-hot labels
Learns from: labels
Structure: apart
Representation: binary
Survey: only in Table 3, whose row is MAP@500 at least on COCO.

A teacher passes messages over graphs whose edges are shared labels, inside each modality and across, and
learns codes that an adversary cannot tell from noise. Feed-forward students of each modality, and their
fusion, then learn to give the teacher's codes and similarities without any graph.

Equations:
- the teacher's objective: \mathcal{L}_T = \frac1b \sum_i (D(h_i) - 1)^2
    + \frac{\lambda_1}{bc} \lVert H - \operatorname{sign}(H) \rVert_F^2
    + \frac{\lambda_2}{b^2} \sum_{ij} \left( \cos(h_i, h_j) - A_{ij} \right)^2
- edges of its graph: A_{ij} = \tanh \frac{l_i^\top l_j}{2}
- its adversary's objective: \mathcal{L}_D = \frac1b \sum_i (D(z_i) - 1)^2 + \frac1b \sum_i D(h_i)^2, \quad
    z_i \sim N(0, I)
- messages inside a side, and across both: M = \hat A X W, \quad
    \begin{pmatrix} M_v \\ M_t \end{pmatrix} =
    \hat{A}_c \begin{pmatrix} X_v \\ X_t \end{pmatrix} W_c, \quad
    A_c = \begin{pmatrix} I & A \\ A & I \end{pmatrix}
- the students' objective: \mathcal{L}_S = \sum_{X \in \{V, T, F\}}
    \frac{1}{bc} \lVert X - \operatorname{sign}(H) \rVert_F^2 + \frac{1}{b^2} \mathcal{L}_C
- likeness of cosines: \mathcal{L}_C = \sum_{(X, Z)} \lVert C(X, X) - C(Z, Z) \rVert_F^2
    + \lVert C(V, T) - C(H, H) \rVert_F^2
- fusion, a weight a bit: F = w \odot V + (1 - w) \odot T
where $H = (H_v, H_t)$ are the teacher's codes, a half for each side, of tanh layers on the messages; $V$ and
$T$ the students' codes, $l_i$ labels, a hat divides rows by their sums, $C$ holds cosines of rows, and
$(X, Z)$ is $(V, H_v)$, $(T, H_t)$ and $(F, H)$; $\lambda_1$ is `sign_weight`, $\lambda_2$
`similarity_weight`.

Differs from the paper: a gallery is encoded by the student of its own modality, as a cross-modal gallery is;
the paper encodes it from both modalities fused (`encode_pair` does), so that a text query is partly matched
with text. The word table starts random unless `words` are put into it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diptych.core import Floats
from diptych.data.base import Split
from diptych.errors import BadParameter
from diptych.nets.pairwise import pair_labels, sign
from diptych.training.learner import Learner
from diptych.training.trainer import Batch, Trainer

__all__ = ["HMAH"]

_TINY: dict[str, Any] = {
    "image_sizes": (256, 128),
    "text_sizes": (128,),
    "student_sizes": (256, 128),
    "table": 60,
    "batch_size": 200,
    "teacher_epochs": 15,
    "epochs": 20,
    "frozen_from": 15,
    "lr": 1e-3,
}
VARIANTS: dict[str, dict[str, Any]] = {"paper": {}, "tiny": {**_TINY, "bits": 16}}
RECIPES: dict[str, dict[str, Any]] = {
    "ms_coco": {"teacher_epochs": 100, "epochs": 100},
    "syn": _TINY,
}


@dataclass(kw_only=True, eq=False)
class HMAH(Learner):
    """Hierarchical message aggregation hashing.

    Args:
        image_dim: Dimensions of the image features.
        text_dim: Words of the bag.
        classes: Label columns; only the graphs see them.
        bits: Code length c, a multiple of 4.
        image_sizes: Layers of the teacher's image network; the last is what messages are made of.
        text_sizes: Of its text network, after the word table.
        student_sizes: Layers of the image student before its code; the text student has the last of them.
        table: Dimensions of the word table.
        teacher_epochs: Epochs of the teacher; `epochs` are those of the students.
        judge_steps: Steps of the teacher for each step of its adversary.
        sign_weight: Of the distance of the teacher's codes to their signs.
        similarity_weight: Of the distance of their cosines to the graph.
        frozen_from: Student epoch from which the statistics of normalisation stay as they are.

    Raises:
        BadParameter: bits are no multiple of 4.
    """

    similarity = "hamming"

    image_net: nn.Sequential = field(init=False, repr=False)
    text_net: nn.Sequential = field(init=False, repr=False)

    image_dim: int = 4096
    text_dim: int = 1386
    classes: int = 24
    bits: int = 32
    image_sizes: tuple[int, ...] = (2048, 1024, 512)
    text_sizes: tuple[int, ...] = (512, 512)
    student_sizes: tuple[int, ...] = (2048, 512)
    table: int = 300
    teacher_epochs: int = 20
    judge_steps: int = 5
    sign_weight: float = 1e-3
    similarity_weight: float = 100.0
    frozen_from: int = 5
    epochs: int = 20
    batch_size: int = 1024
    lr: float = 1e-4

    def __post_init__(self) -> None:
        if self.bits % 4:
            raise BadParameter(
                f"bits of HMAH must be a multiple of 4, as four graph views share them, not {self.bits}"
            )
        self.image_net = _layers(self.image_dim, (*self.student_sizes, self.bits))
        self.text_net = nn.Sequential(
            nn.Linear(self.text_dim, self.table),
            *_layers(self.table, (self.student_sizes[-1], self.bits)),
        )
        self.teacher = _Teacher(self)
        self.judge = nn.Sequential(
            nn.Linear(self.bits, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1)
        )
        self.fusion = _Fusion(self.bits)

    def teacher_terms(self, code: Tensor, adjacency: Tensor) -> dict[str, Tensor]:
        """What the teacher minimises.

        Args:
            code: (b, c).
            adjacency: (b, b) A.
        """
        fooled = self.judge(code)
        return {
            "teacher_adversarial": functional.mse_loss(fooled, torch.ones_like(fooled)),
            "teacher_sign": self.sign_weight * functional.mse_loss(code, sign(code.detach())),
            "teacher_similarity": self.similarity_weight
            * functional.mse_loss(cosines(code, code), adjacency),
        }

    def student_terms(self, image: Tensor, text: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        """What the students minimise.

        Args:
            image, text: (b, c) codes of the students.
            teacher: (b, c) codes H_T, image halves first.
        """
        fused, half = self.fusion(image, text), self.bits // 2
        target, whole = sign(teacher), cosines(teacher, teacher)
        parts = (teacher[:, :half], teacher[:, half:])
        return {
            "code": sum(functional.mse_loss(one, target) for one in (image, text, fused)),  # type: ignore[dict-item]
            "image_similarity": functional.mse_loss(cosines(image, image), cosines(parts[0], parts[0])),
            "text_similarity": functional.mse_loss(cosines(text, text), cosines(parts[1], parts[1])),
            "fused_similarity": functional.mse_loss(cosines(fused, fused), whole),
            "cross_similarity": functional.mse_loss(cosines(image, text), whole),
        }

    def fit(self, split: Split, trainer: Trainer | None = None) -> Self:
        """The teacher with its adversary, then the students on its codes."""
        trainer = self.begin(split, trainer)
        labels = pair_labels(split, trainer.device)
        teaching = torch.optim.Adam(self.teacher.parameters(), lr=self.lr)
        judging = torch.optim.Adam(self.judge.parameters(), lr=self.lr)
        keep = (self.teacher, self.judge, teaching, judging)
        for _ in trainer.epochs(self.teacher_epochs, keep=keep, validate=False):
            for batch in trainer.batches(split, self.batch_size):
                graph = adjacency(batch.label)
                self._judge_step(batch, graph, trainer, judging)
                for _ in range(self.judge_steps):
                    code = self.teacher(batch.image, batch.text, graph)
                    trainer.step(teaching, self.teacher_terms(code, graph))
        codes = self._taught(split, labels)
        groups: list[dict[str, Any]] = [
            {"params": [*self.image_net.parameters(), *self.text_net[1:].parameters()]},
            {"params": self.text_net[0].parameters(), "lr": 10 * self.lr},
            {"params": self.fusion.parameters(), "lr": 0.01 * self.lr},
        ]
        learning = torch.optim.Adam(groups, lr=self.lr)
        students = (self.image_net, self.text_net, self.fusion)
        for epoch in trainer.epochs(self.epochs, keep=(*students, learning)):
            _freeze_statistics(epoch >= self.frozen_from, *students)
            # The batches over whose graphs the teacher's codes were made: inside one they are comparable.
            for batch in trainer.batches(split, self.batch_size, shuffle=False):
                image, text = self.image_net(batch.image), self.text_net(batch.text)
                trainer.step(learning, self.student_terms(image, text, codes[batch.index]))
        return self

    def _judge_step(
        self, batch: Batch, graph: Tensor, trainer: Trainer, judging: torch.optim.Optimizer
    ) -> None:
        """Least squares: noise is 1, the teacher's codes are 0."""
        with torch.no_grad():
            code = self.teacher(batch.image, batch.text, graph)
        noise = torch.randn(code.shape, generator=trainer.generator).to(code)
        real, fake = self.judge(noise), self.judge(code)
        loss = functional.mse_loss(real, torch.ones_like(real)) + fake.square().mean()
        trainer.step(judging, {"judge": loss})

    def _taught(self, split: Split, labels: Tensor) -> Tensor:
        """The teacher's codes (p, c) of all pairs, over the graphs of consecutive batches."""
        self.teacher.eval()
        rows = [
            torch.from_numpy(np.require(side, np.float32, ("C", "W"))).to(labels.device)
            for side in (split.image, split.text)
        ]
        pairs = torch.from_numpy(split.pairs)
        with torch.no_grad():
            parts = [
                self.teacher(rows[0][part[:, 0]], rows[1][part[:, 1]], adjacency(own))
                for part, own in zip(
                    torch.split(pairs, self.batch_size), torch.split(labels, self.batch_size), strict=True
                )
            ]
        self.teacher.train()
        return torch.cat(parts)

    def encode_pair(self, images: Any, texts: Any) -> Floats:
        """Codes (n, bits) of pairs from both students fused: the paper's database codes.

        Args:
            images: (n, image_dim).
            texts: (n, text_dim), row by row of the same pairs.
        """
        outputs = [
            torch.from_numpy(self.outputs(net, self.checked_inputs(value, side))).to(self.device)
            for net, value, side in ((self.image_net, images, "image"), (self.text_net, texts, "text"))
        ]
        with torch.no_grad():
            fused: Floats = self.fusion(*outputs).cpu().numpy()
        return self.as_vectors(fused)


class _Teacher(nn.Module):
    """Networks of both modalities, messages inside each and across both, and four heads."""

    def __init__(self, system: HMAH) -> None:
        super().__init__()
        quarter = system.bits // 4
        self.image = _layers(system.image_dim, system.image_sizes)
        self.text = nn.Sequential(
            nn.Linear(system.text_dim, system.table), *_layers(system.table, system.text_sizes)
        )
        if system.image_sizes[-1] != system.text_sizes[-1]:
            raise BadParameter(
                "image_sizes and text_sizes of HMAH must end alike, as messages pass between both, "
                f"not {system.image_sizes} and {system.text_sizes}"
            )
        width = system.image_sizes[-1]
        self.messages = nn.ModuleList(_Message(width, quarter) for _ in range(3))
        self.heads = nn.ModuleList(nn.Sequential(nn.Linear(quarter, quarter), nn.Tanh()) for _ in range(4))

    def forward(self, image: Tensor, text: Tensor, graph: Tensor) -> Tensor:
        """(b, c) in the order image, image across, text, text across."""
        first, second = self.image(image), self.text(text)
        own = row_normalised(graph)
        across = self.messages[2](torch.cat([first, second]), cross_graph(graph))
        views = (
            self.messages[0](first, own),
            across[: len(image)],
            self.messages[1](second, own),
            across[len(image) :],
        )
        return torch.cat([head(view) for head, view in zip(self.heads, views, strict=True)], dim=1)


class _Message(nn.Module):
    """A graph convolution: dropout, a linear map, then the adjacency."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        nn.init.xavier_normal_(self.linear.weight)

    def forward(self, rows: Tensor, graph: Tensor) -> Tensor:
        passed: Tensor = graph @ self.linear(functional.dropout(rows, 0.5, self.training))
        return passed


class _Fusion(nn.Module):
    """w * image + (1 - w) * text, one free weight a bit."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, bits), 0.5))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.weight * image + (1 - self.weight) * text


def adjacency(labels: Tensor) -> Tensor:
    """A_ij = tanh(shared labels / 2): 0, .46, .76, .91 for 0 to 3 of them; the diagonal stays below 1."""
    return torch.tanh(labels @ labels.T / 2)


def row_normalised(graph: Tensor) -> Tensor:
    """Rows that sum to 1; a row of zeros stays zero."""
    return graph / graph.sum(dim=1, keepdim=True).clamp(min=1e-12)


def cross_graph(graph: Tensor) -> Tensor:
    """(2b, 2b) [[I, A], [A, I]], rows normalised: each item hears the other modality's."""
    same = torch.eye(len(graph), device=graph.device)
    return row_normalised(torch.cat([torch.cat([same, graph], dim=1), torch.cat([graph, same], dim=1)]))


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """(a, b) cosines of rows."""
    return functional.normalize(first, dim=1) @ functional.normalize(second, dim=1).T


def _layers(inputs: int, sizes: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in zip((inputs, *sizes), sizes, strict=False):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.Tanh()]
    return nn.Sequential(*layers)


def _freeze_statistics(frozen: bool, *nets: nn.Module) -> None:
    """Batch normalisation keeps its running statistics and uses them, while its weights go on learning."""
    for layer in (layer for net in nets for layer in net.modules()):
        if isinstance(layer, nn.BatchNorm1d):
            layer.train(not frozen)
