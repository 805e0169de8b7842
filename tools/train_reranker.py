"""Makes the built-in re-ranker: heads for cells and words, banks, and how they go with the built-in model.

``python tools/train_reranker.py src/diptych/systems/dual_tower/weights/rerank.npz --data DIR`` trains on the
captioned photographs of Flickr8k and COCO (`flickr8k`, `coco_photos`, their training splits), with torch on
one thread: what the towers give takes about six minutes and is kept with ``--cache``, an epoch takes nine
seconds. With ``--heads`` (that very file) the heads stay and all else is fitted anew, as where the built-in
model has other heads. The pictures that the built-in model held out are held out here, too; on them the
weight of the late interaction, the share of hubs, the weight against the search, and the percentiles are
chosen.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from diptych import files
from diptych.catalogue import load
from diptych.core import Floats, Rows
from diptych.data import open_data
from diptych.media.pictures import batches
from diptych.pipeline import EQUAL, standardised
from diptych.pipeline.weighing import Looked, weighed
from diptych.towers.calibrating import named, things
from diptych.towers.heads import compact, expanded
from diptych.towers.late import GRID, Late, hubs, late, pooled_cells
from diptych.towers.onnx import WEIGHTS as TOWERS
from diptych.towers.second_look import SecondLine

DATA = ("flickr8k", "coco_photos")
BATCH, ALIKE = 128, 16  # pictures in a batch, of which so many are each other's neighbours
WIDTH, DIM = 256, 96
LENGTH = 20  # word pieces of a caption that are learned from
RATE = 1e-3
CAPTIONS, PICTURES = 600, 400  # of the banks
WEIGHTS, SHARES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0), (0.3, 0.5, 0.7)
DEPTH = 50
QUERIES = 200


@dataclass(frozen=True)
class Seen:
    """What the towers give for a split.

    Args:
        cells: (n, r, 320), of `pooled_cells`.
        features, logits: (n, 1280) and (n, 1000).
        states, ends: Of all captions, one after another, (total, 384), and where each ends.
        owner: Picture of each caption.
    """

    cells: Floats
    features: Floats
    logits: Floats
    states: Floats
    ends: Rows
    owner: Rows

    def words(self, row: int) -> Floats:
        """States (length, 384) of a caption."""
        start = int(self.ends[row - 1]) if row else 0
        return np.asarray(self.states[start : int(self.ends[row])], np.float32)


def seen(name: str, part: str, cache: Path) -> Seen:
    """What the towers give, from the cache where it is there."""
    path = cache / f"{name}-{part}.npz"
    if not path.is_file():
        split, model = open_data(name).split(part), load("builtin", threads=1)
        tower, parts = model._cell_tower, []
        for pictures in batches(split.image, model):
            maps, features, logits = tower(pictures)
            parts.append((pooled_cells(maps), features, logits))
        cells, features, logits = (np.concatenate(one).astype(np.float16) for one in zip(*parts, strict=True))
        states = model.text_tower.states(list(split.text))
        owner = np.zeros(len(states), np.int64)
        owner[split.pairs[:, 1]] = split.pairs[:, 0]
        ends = np.cumsum([len(one) for one in states])
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(
            path, cells=cells, features=features, logits=logits, ends=ends, owner=owner,
            states=np.concatenate(states).astype(np.float16),
        )  # fmt: skip
    with np.load(path) as kept:
        return Seen(*(kept[name] for name in ("cells", "features", "logits", "states", "ends", "owner")))


def held_out(count: int) -> Rows:
    """The pictures of Flickr8k that the built-in model held out; see its `fit`."""
    return np.sort(np.random.default_rng(0).permutation(count)[: max(count // 20, 4)])


class Head(nn.Module):
    """What `diptych.towers.heads.project` computes, and the weights of words."""

    def __init__(self, inputs: Floats, *, weighs: bool, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(inputs.mean(axis=0)))
        self.register_buffer("scale", torch.from_numpy(inputs.std(axis=0) + 1e-3))
        width = inputs.shape[1]
        self.linear, self.outer = nn.Linear(width, DIM), nn.Linear(WIDTH, DIM, bias=False)
        self.inner = nn.Linear(width, WIDTH)
        self.weigh = nn.Parameter(torch.zeros(width), requires_grad=weighs)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors (..., d), and scores (...) of how much each weighs."""
        x = (x - self.mean) / self.scale
        dropped = self.drop(x)
        hidden = functional.gelu(self.inner(dropped), approximate="tanh")
        return functional.normalize(self.linear(dropped) + self.outer(hidden), dim=-1), x @ self.weigh

    def arrays(self, name: str) -> dict[str, Floats]:
        """As `project` takes them."""
        found = {"mean": self.mean, "scale": self.scale, "inner": self.inner.weight.T,
                 "inner_bias": self.inner.bias, "linear": self.linear.weight.T, "bias": self.linear.bias,
                 "outer": self.outer.weight.T}  # fmt: skip
        return {f"{name}.{part}": one.detach().numpy().copy() for part, one in found.items()}


class Lesson:
    """The pictures that are learned from, in batches of neighbours, each with one of its captions.

    Args:
        parts: What the towers give for each data set.
        left_out: Pictures (m,) of the first that are not learned from.
        vectors: (n, dim) of all pictures, by which neighbours are found.
        seed: Draws everything.
    """

    def __init__(self, parts: list[Seen], left_out: Rows, vectors: Floats, seed: int) -> None:
        self.cells = np.concatenate([one.cells for one in parts])
        self.random = np.random.default_rng(seed)
        starts = np.cumsum([0, *(len(one.cells) for one in parts)])
        self.captions: list[list[tuple[int, int]]] = [[] for _ in range(starts[-1])]
        for number, part in enumerate(parts):
            for row, owner in enumerate(part.owner.tolist()):
                self.captions[int(starts[number]) + owner].append((number, row))
        self.parts = parts
        told = np.array([len(one) > 0 for one in self.captions])
        told[left_out] = False
        self.rows = np.flatnonzero(told)
        self.near = self._neighbours(vectors)

    def _neighbours(self, vectors: Floats) -> dict[int, list[int]]:
        found, own = {}, vectors[self.rows]
        for start in range(0, len(own), 512):
            best = np.argpartition(-(own[start : start + 512] @ own.T), 4 * ALIKE, axis=1)[:, : 4 * ALIKE]
            for row, line in zip(self.rows[start : start + 512], self.rows[best], strict=True):
                found[int(row)] = line.tolist()
        return found

    def batches(self, *, alike: bool) -> list[Rows]:
        """All pictures once; with `alike` neighbours come together, which are hard to tell apart."""
        order = self.random.permutation(self.rows).tolist()
        if alike:
            left, groups = set(order), []
            for row in order:
                if row in left:
                    group = [row, *(one for one in self.near[row] if one in left and one != row)][:ALIKE]
                    left.difference_update(group)
                    groups.append(group)
            self.random.shuffle(groups)
            order = [row for group in groups for row in group]
        return [np.array(order[at : at + BATCH]) for at in range(0, len(order) - BATCH + 1, BATCH)]

    def drawn(self, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """Cells, states of a caption of each without its last piece, and which of these there are."""
        words, there = np.zeros((len(rows), LENGTH, 384), np.float32), np.zeros((len(rows), LENGTH), bool)
        for at, row in enumerate(rows.tolist()):
            number, caption = self.captions[row][self.random.integers(len(self.captions[row]))]
            states = self.parts[number].words(caption)[:-1][:LENGTH]
            words[at, : len(states)], there[at, : len(states)] = states, True
        cells = torch.from_numpy(self.cells[rows].astype(np.float32))
        return cells, torch.from_numpy(words), torch.from_numpy(there)


def member(lesson: Lesson, number: int, epochs: int) -> dict[str, Floats]:
    """Heads for cells and words, trained so that caption and picture find each other in their batch."""
    torch.manual_seed(number)
    sample = lesson.cells[lesson.rows[::7]].reshape(-1, lesson.cells.shape[2]).astype(np.float32)
    words = np.asarray(lesson.parts[0].states[::7], np.float32)
    dropout = 0.2 + 0.1 * (number % 2)
    image, text = Head(sample, weighs=False, dropout=dropout), Head(words, weighs=True, dropout=0.2)
    scale = nn.Parameter(torch.tensor(3.0))
    learned = [*(p for net in (image, text) for p in net.parameters() if p.requires_grad), scale]
    optimizer = torch.optim.AdamW(learned, lr=RATE, weight_decay=0.02)
    steps = epochs * (len(lesson.rows) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps + 1, pct_start=0.1)
    for epoch in range(epochs):
        total = 0.0
        for rows in lesson.batches(alike=epoch >= 2):
            cells, states, there = lesson.drawn(rows)
            (seen, _), (said, weights) = image(cells), text(states)
            said = said * torch.softmax(weights.masked_fill(~there, -1e4), dim=1)[..., None]
            scores = said.flatten(0, 1) @ seen.flatten(0, 1).T
            scores = scores.view(len(rows), LENGTH, len(rows), -1).amax(dim=3).sum(dim=1) * scale.exp()
            own = torch.arange(len(rows))
            loss = functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            schedule.step()
            scale.data.clamp_(max=4.6)
            total += loss.item()
        print(f"member {number}, epoch {epoch + 1}: loss {total / (steps / epochs):.3f}", flush=True)
    named_weights = {f"weights{number}": text.weigh.detach().numpy().copy()}
    return {**image.arrays(f"cells{number}"), **text.arrays(f"words{number}"), **named_weights}


def banks(parts: list[Seen], left_out: Rows, seed: int = 0) -> dict[str, Floats]:
    """Captions and pictures that stand for what will be asked, drawn from what is learned from."""
    random, found = np.random.default_rng(seed), {}
    words, pictures = [], []
    total = sum(len(one.cells) for one in parts)
    for number, part in enumerate(parts):
        own = np.setdiff1d(np.unique(part.owner), left_out if number == 0 else [])
        share = len(part.cells) / total
        asked = np.flatnonzero(np.isin(part.owner, own))
        words += [part.words(row) for row in random.choice(asked, int(CAPTIONS * share), replace=False)]
        rows = random.choice(own, min(int(PICTURES * share), len(own)), replace=False)
        pictures.append([one[rows] for one in (part.cells, part.features, part.logits)])
    cells, features, logits = (np.concatenate(one).astype(np.float32) for one in zip(*pictures, strict=True))
    found = {"bank_cells": cells, "bank_features": features, "bank_logits": logits}
    lengths = np.array([len(one) for one in words])
    return {**found, "bank_words": np.concatenate(words), "bank_lengths": lengths}


@dataclass(frozen=True)
class Held:
    """Held-out pictures and their captions as a search and a re-ranker see them.

    Args:
        owner: (t,) place of each caption's picture.
        cosine, near: (t, n) of texts and pictures.
        of_images, of_texts: (n, bank) and (t, bank), both the cosine and the late interaction.
    """

    owner: Rows
    cosine: Floats
    near: Floats
    of_images: tuple[Floats, Floats]
    of_texts: tuple[Floats, Floats]

    @classmethod
    def of(cls, scorer: Late, part: Seen, rows: Rows) -> Held:
        """That of some pictures of a split."""
        captions = np.flatnonzero(np.isin(part.owner, rows))
        cells, features, logits = of_rows(part, rows)
        vectors, cells, states = (
            scorer.image(features, logits),
            scorer.cells(cells),
            map(part.words, captions),
        )
        near, texts, bank = [], [], []
        for one in states:
            words = scorer.words(one)
            texts.append(scorer.vector(one))
            near.append(late(cells, words))
            bank.append(late(scorer._bank_cells, words))
        asked = np.stack(texts)
        own = np.stack([late(cells, one) for one in scorer._said], axis=1)
        return cls(
            np.searchsorted(rows, part.owner[captions]),
            asked @ vectors.T,
            np.stack(near),
            (vectors @ scorer._asked.T, own),
            (asked @ scorer._bank_vectors.T, np.stack(bank)),
        )

    def scores(self, weight: float, share: float) -> Floats:
        """Scores (t, n) of all pairs."""
        image, text = (hubs(one + weight * two, share) for one, two in (self.of_images, self.of_texts))
        return self.cosine + weight * self.near - image - text[:, None]

    def right(self) -> Floats:
        """(t, n), whether a picture is the caption's."""
        return self.owner[:, None] == np.arange(self.cosine.shape[1])


def chosen(held: Held) -> tuple[float, float]:
    """The weight of the late interaction and the share of hubs with which held-out matches rank best."""
    found = {}
    for weight in WEIGHTS:
        for share in SHARES:
            scores, right = held.scores(weight, share), held.right()
            ranks = []
            for one, match in ((scores, right), (scores.T, right.T)):
                best = np.where(match, one, -np.inf).max(axis=1, keepdims=True)
                ranks.append(1 + ((one >= best) & ~match).sum(axis=1))
            found[weight, share] = float(np.mean([(1 / one).mean() for one in ranks]))
            print(f"weight {weight}, share {share}: {found[weight, share]:.4f}", flush=True)
    return max(found, key=lambda one: found[one])


def together(scorer: Late, held: Held, part: Seen, rows: Rows, model: Any) -> dict[str, Floats]:
    """The weights against the search, and the line that gives what was ranked anew its percentile."""
    scores, weights = held.scores(scorer.weight, scorer.share), []
    for search, pairs, right in (
        (held.cosine, scores, held.right()),
        (held.cosine.T, scores.T, held.right().T),
    ):
        weights.append(weighed(first(search, pairs), taken(search, right)) or EQUAL["image"])
    pictures = scorer.pictures(*of_rows(part, rows))
    captions = [str(text) for text in open_data(DATA[0]).split("train").text]
    share = named(things(), [[captions[row]] for row in np.flatnonzero(np.isin(part.owner, rows)).tolist()])
    absent = [thing for thing, part in zip(things(), share, strict=True) if part < 0.5]
    random = np.random.default_rng(0)
    absent = [absent[row] for row in random.permutation(len(absent))[:QUERIES].tolist()]
    states = model.text_tower.states(absent)
    every = np.stack(
        [axis.ravel() for axis in np.meshgrid(np.arange(len(rows)), np.arange(len(absent)))], axis=1
    )
    wrong = scorer.scores(pictures, states, every).reshape(len(absent), len(rows))
    asked = np.stack([scorer.vector(one) for one in states])
    vectors = scorer.image(*of_rows(part, rows)[1:])
    own = random.permutation(len(held.owner))[:QUERIES]
    texts = np.stack(
        [scorer.vector(part.words(row)) for row in np.flatnonzero(np.isin(part.owner, rows))[own]]
    )
    best = []
    for queries, search, pairs in ((texts, held.cosine[own], scores[own]), (asked, asked @ vectors.T, wrong)):
        looked = first(search, pairs)
        told = model.calibrate(queries, looked.search.astype(np.float32), to="image", entries=len(rows))
        mixed = weights[0] * standardised(looked.pairs) + (1 - weights[0]) * standardised(looked.search)
        at = mixed.argmax(axis=1)[:, None]
        best.append(tuple(np.take_along_axis(one, at, 1)[:, 0] for one in (told, looked.pairs)))
    line = SecondLine.of(*best)
    print(f"weights {weights}, line {line}", flush=True)
    found = {"rerank_weights": np.array(weights)}
    return found if line is None else {**found, "rerank_line_image": np.array(list(line.as_dict().values()))}


def of_rows(part: Seen, rows: Rows) -> list[Floats]:
    """Cells, features and logits of some pictures."""
    return [np.asarray(one[rows], np.float32) for one in (part.cells, part.features, part.logits)]


def first(search: Floats, pairs: Floats) -> Looked:
    """The first hits of a search, (q, n), and what both say of them."""
    rows = np.argsort(-search, axis=1, kind="stable")[:, :DEPTH]
    return Looked(rows, *(np.take_along_axis(one, rows, 1).astype(float) for one in (search, pairs)))


def taken(search: Floats, right: Floats) -> NDArray[np.bool_]:
    """Which of the first hits are matches."""
    return np.take_along_axis(right, np.argsort(-search, axis=1, kind="stable")[:, :DEPTH], 1)


def tower() -> NDArray[np.int64]:
    """The image tower that all this is of, as the beginning of its hash."""
    return np.array([int(hashlib.sha256((TOWERS / "image.onnx").read_bytes()).hexdigest()[:6], 16)])


def spaces(model: Any) -> tuple[Any, Any]:
    """How the built-in model brings pictures and texts into its space."""
    return model._space.image, model._space.text


def write(path: Path, arrays: dict[str, Floats]) -> None:
    """Store the arrays as they are shipped."""
    content = io.BytesIO()
    np.savez_compressed(content, **compact(arrays))
    files.write(path, content.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--cache", type=Path, help="folder that keeps what the towers give")
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--heads", type=Path, help="take heads from this file, and fit the rest anew")
    options = parser.parse_args()
    os.environ["DIPTYCH_DATA"] = str(options.data)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as passing:
        cache = options.cache or Path(passing)
        parts = [seen(name, "train", cache) for name in DATA]
        rows = held_out(len(parts[0].cells))
        if options.heads:
            with np.load(options.heads) as kept:
                arrays = expanded(dict(kept))
            heads = ("cells", "words", "weights", "members")
            arrays = {name: one for name, one in arrays.items() if name.startswith(heads)}
        else:
            model = load("builtin", threads=1)
            vectors = np.concatenate(
                [model._space.image(*(np.asarray(a, np.float32) for a in (one.features, one.logits)))
                 for one in parts]
            )  # fmt: skip
            arrays = {"members": np.array(options.members)}
            for number in range(options.members):
                arrays |= member(Lesson(parts, rows, vectors, number), number, options.epochs)
            write(cache / "heads.npz", arrays)
        arrays |= banks(parts, rows)
        arrays = expanded(compact(arrays)) | {"tower": tower()}  # as they will be read
        model = load("builtin", threads=1)
        trial = Late({**arrays, "weight": np.array(1.0), "share": np.array(0.0)}, *spaces(model))
        held = Held.of(trial, parts[0], rows)
        weight, share = chosen(held)
        arrays |= {"weight": np.array(weight), "share": np.array(share)}
        arrays |= together(Late(arrays, *spaces(model)), held, parts[0], rows, model)
        write(options.out, arrays)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB, {GRID}x{GRID} cells")


if __name__ == "__main__":
    main()
