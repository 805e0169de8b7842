"""What the checks need: data whose structure is known, a trainer that watches, and literal measures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from diptych.catalogue.extractors import named
from diptych.core import Run
from diptych.data.base import Split, multi_hot, paired_in_order
from diptych.data.sets.planted import Planted
from diptych.pipeline import over, scores_of
from diptych.training.trainer import Batch, Trainer

__all__ = [
    "Spy",
    "Stopped",
    "chance",
    "digits",
    "drawn",
    "literal_map",
    "mean_average_precision",
    "planted",
    "read",
    "unchanged",
]

_COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 220), "yellow": (230, 210, 40)}


def planted() -> tuple[Split, Split]:
    """Feature splits to learn from (160 pairs) and to retrieve in (60)."""
    data = Planted(train=160, val=0, test=60, seed=7)
    return data.split("train"), data.split("test")


def digits(train: int = 160, test: int = 60) -> tuple[Split, Split]:
    """Two noisy views of ten classes, standardised, in the shape of handwritten digits seen in two ways.

    Each class has a prototype a view, drawn evenly like the ink of pixels, and each item is its prototype
    with noise of its own: the two sides share the class and nothing else.

    Args:
        train, test: Pairs of each split.
    """
    random = np.random.default_rng(3)
    total = train + test
    classes = random.permutation(total) % 10
    views = []
    for dim in (48, 40):
        view = random.random((10, dim))[classes] + 0.25 * random.standard_normal((total, dim))
        view = (view - view[:train].mean(axis=0)) / view[:train].std(axis=0)
        views.append(view.astype(np.float32))
    image, text = views
    whole = Split(image, text, multi_hot(classes.tolist(), 10), paired_in_order(total))
    return whole.take(np.arange(train)), whole.take(np.arange(train, total))


def drawn(train: int = 64, test: int = 24, *, size: int = 32) -> tuple[Split, Split]:
    """Drawn pictures with captions ("a red circle on the left"), whose class is the colour.

    Args:
        train, test: Pictures of each split.
        size: Their width and height in pixels.
    """
    return _drawn(train, 0, size), _drawn(test, 1, size)


def read(features: str) -> tuple[Split, Split]:
    """Drawn pictures and captions as extractors read them, which learn from those of the first split.

    Args:
        features: As for `diptych.catalogue.extractors.named`.
    """
    readers = named(features)
    learn, ask = drawn()
    for side, reader in readers.items():
        if hasattr(reader, "fit"):
            reader.fit(getattr(learn, side))
    splits = []
    for split in (learn, ask):
        found: dict[str, Any] = {s: getattr(r, f"encode_{s}")(getattr(split, s)) for s, r in readers.items()}
        splits.append(replace(split, **found))
    return splits[0], splits[1]


def _drawn(count: int, seed: int, size: int) -> Split:
    random = np.random.default_rng(seed)
    names = list(_COLOURS)
    pictures, captions, classes = [], [], []
    for number in range(count):
        colour, shape = names[number % len(names)], ("circle", "square")[int(random.integers(2))]
        left = bool(random.integers(2))
        picture = Image.new("RGB", (size, size), (245, 245, 245))
        x, y = (1 if left else size // 2 - 1), int(random.integers(size // 4, size // 2))
        box = (x, y, x + size // 2 - 2, y + size // 2 - 2)
        pen = ImageDraw.Draw(picture)
        (pen.ellipse if shape == "circle" else pen.rectangle)(box, fill=_COLOURS[colour])
        pictures.append(picture)
        captions.append(f"a {colour} {shape} on the {'left' if left else 'right'}")
        classes.append(number % len(names))
    return Split(pictures, captions, multi_hot(classes, len(names)), paired_in_order(count))


class Stopped(Exception):
    """The power failed, as far as the training knows."""


class Spy(Trainer):
    """A trainer that notes which network each loss term trains, and can stop in the middle of an epoch."""

    stop_after: int | None = None
    """Optimiser steps after which the training is stopped by `Stopped`."""

    def watching(self, learner: Any) -> Self:
        """The spy itself, from now on watching the system's networks."""
        self._learner = learner
        self.reached: dict[str, set[str]] = {}
        self.moved: set[int] = set()
        return self

    def step(
        self, optimizer: torch.optim.Optimizer, terms: Mapping[str, Tensor], *, batch: Batch | None = None
    ) -> None:
        """A step of the trainer; the gradients of its terms are taken apart first."""
        if self.stop_after is not None and self.steps >= self.stop_after:
            raise Stopped
        # The first few epochs show every kind of step; taking all apart would double the time.
        if hasattr(self, "_learner") and self._epoch < 2:
            self._take_apart(optimizer, terms)
        super().step(optimizer, terms, batch=batch)

    def _take_apart(self, optimizer: torch.optim.Optimizer, terms: Mapping[str, Tensor]) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        owners: dict[int, set[str]] = {}
        for name, net in self._learner.networks.items():
            for parameter in net.parameters():
                owners.setdefault(id(parameter), set()).add(name)
        for name, term in terms.items():
            reached = self.reached.setdefault(name, set())
            if not term.requires_grad:
                continue
            found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
            for parameter, gradient in zip(parameters, found, strict=True):
                if gradient is not None and bool(gradient.count_nonzero()):
                    reached |= owners.get(id(parameter), {"elsewhere"})
                    self.moved.add(id(parameter))


@contextmanager
def unchanged(split: Split) -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether the split is what it was when the block was entered."""
    before = _digest(split)
    yield lambda: _digest(split) == before


def mean_average_precision(learner: Any, split: Split) -> dict[str, float]:
    """MAP over the whole gallery by shared label, literally: "from image" and "from text"."""
    gallery = split.items("text")
    stage = over(learner, gallery, len(gallery), to="text")
    scores = scores_of(stage, Run(split.items("image"), gallery)).block(0, len(split.image))
    assert split.label is not None
    assert split.text_label is not None
    relevant = split.label.astype(np.int64) @ split.text_label.T.astype(np.int64) > 0
    return {"from image": literal_map(scores, relevant), "from text": literal_map(scores.T, relevant.T)}


def chance(split: Split) -> float:
    """MAP of random scores on the split: the mean over twenty draws, both directions."""
    assert split.label is not None
    assert split.text_label is not None
    relevant = split.label.astype(np.int64) @ split.text_label.T.astype(np.int64) > 0
    random = np.random.default_rng(0)
    return float(np.mean([literal_map(random.random(relevant.shape), relevant) for _ in range(20)]))


def literal_map(scores: NDArray[Any], relevant: NDArray[np.bool_]) -> float:
    """Mean over the queries of the mean precision at the relevant ranks; 0 for a query with none."""
    total = 0.0
    for row, truth in zip(scores, relevant, strict=True):
        ranked = truth[np.argsort(-row, kind="stable")]
        ranks = np.flatnonzero(ranked) + 1
        total += float((np.arange(1, len(ranks) + 1) / ranks).mean()) if len(ranks) else 0.0
    return total / len(scores)


def _digest(split: Split) -> str:
    digest = hashlib.sha256()
    for part in (split.image, split.text, split.label, split.pairs):
        if isinstance(part, np.ndarray):
            digest.update(np.ascontiguousarray(part).data)
        elif part is not None:
            for one in part:
                digest.update(one.tobytes() if isinstance(one, Image.Image) else repr(one).encode())
    return digest.hexdigest()
