"""The built-in re-ranker: cells of a picture against words of a text, by late interaction.

For each word of a text the cell of the picture that fits it best counts (ColBERT, Khattab and Zaharia, SIGIR
2020), with a weight of the word. Cells are those of a map of the image tower, pooled to 4 x 4, and their
mean; words are the states of the text tower; small networks bring both into one space. A pair scores

    cosine + w late - hub(picture) - hub(text)

with the cosine of the search, and less what each side gains by being near to everything: a share of the mean
of its best scores with a bank of captions, or of pictures (nearest neighbour normalisation, Chowdhury et al.,
EMNLP 2024). `tools/train_reranker.py` makes all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import SIDES, Floats, Rows, Side
from diptych.towers.heads import project
from diptych.towers.second_look import SecondLine

__all__ = ["GRID", "NEAREST", "Late", "hubs", "late", "pooled_cells"]

GRID = 4
"""Cells a side, of which one more is the mean of all."""

NEAREST = 16
"""Best scores with the bank whose mean counts."""

_EDGES = [(at * 7 // GRID, -(-(at + 1) * 7 // GRID)) for at in range(GRID)]


def pooled_cells(maps: Floats) -> Floats:
    """Cells (n, GRID ** 2 + 1, c) of maps (n, c, 7, 7), row by row, and their mean last."""
    cells = [
        maps[:, :, top:bottom, left:right].mean(axis=(2, 3))
        for top, bottom in _EDGES
        for left, right in _EDGES
    ]
    found: Floats = np.stack([*cells, maps.mean(axis=(2, 3))], axis=1).astype(np.float32)
    return found


def late(cells: Floats, words: Floats) -> Floats:
    """Late interaction (n,) of pictures with one text: for each word its best cell, summed.

    Args:
        cells: (n, members, r, d) of unit vectors.
        words: (members, length, d), each as long as it weighs; the weights of a text sum to 1.
    """
    found = np.zeros(len(cells), np.float32)
    for member, word in enumerate(words):
        flat = cells[:, member].reshape(-1, cells.shape[-1])
        found += (word @ flat.T).reshape(len(word), len(cells), -1).max(axis=2).sum(axis=0)
    return np.asarray(found / len(words), np.float32)


def hubs(scores: Floats, share: float) -> Floats:
    """What is taken from entries (n,) for their scores (n, bank) with a bank."""
    count = min(NEAREST, scores.shape[1])
    best = np.partition(scores, scores.shape[1] - count, axis=1)[:, -count:]
    return np.asarray(share * best.mean(axis=1), np.float32)


class Late:
    """Scores pairs of what the towers give for pictures and texts.

    Args:
        arrays: Heads ``cells0``, ``words0`` and so on, as `diptych.towers.heads.project` takes them, the
            weights of words, the banks, `weight` and `share`, and how all this goes with the search.
        image: Vectors (n, dim) of the search, of features (n, 1280) and logits (n, 1000).
        text: Those of text vectors (n, 384).
    """

    def __init__(
        self,
        arrays: Mapping[str, NDArray[Any]],
        image: Callable[[Floats, Floats], Floats],
        text: Callable[[Floats], Floats],
    ) -> None:
        self.arrays, self.image, self.text = arrays, image, text
        self.members = range(int(arrays["members"]))
        self.weight, self.share = float(arrays["weight"]), float(arrays["share"])

    @property
    def weights(self) -> Mapping[Side, float]:
        """Of these scores against the search's, by the side that is searched."""
        return dict(zip(SIDES, map(float, self.arrays["rerank_weights"]), strict=True))

    @property
    def lines(self) -> Mapping[Side, SecondLine]:
        """How relevant hits are that are ranked anew, by the side that is searched."""
        numbers = self.arrays.get("rerank_line_image")
        return {} if numbers is None else {"image": SecondLine(*map(float, numbers))}

    def pictures(self, cells: Floats, features: Floats, logits: Floats) -> Floats:
        """States (n, s) float16 of pictures: vector, cells, and what the hub takes.

        Args:
            cells: (n, r, 320), of `pooled_cells`.
            features, logits: As for `image`.
        """
        seen, vectors = self.cells(cells), self.image(features, logits)
        scores = vectors @ self._asked.T
        for at, words in enumerate(self._said):
            scores[:, at] += self.weight * late(seen, words)
        hub = hubs(scores, self.share)[:, None]
        return np.concatenate([vectors, seen.reshape(len(seen), -1), hub], axis=1).astype(np.float16)

    def cells(self, cells: Floats) -> Floats:
        """(n, r, 320) to (n, members, r, d)."""
        flat = cells.reshape(-1, cells.shape[-1]).astype(np.float32)
        heads = [project(flat, self.arrays, f"cells{member}") for member in self.members]
        return np.stack([head.reshape(*cells.shape[:2], -1) for head in heads], axis=1)

    def words(self, states: Floats) -> Floats:
        """States (length, 384) to (members, length - 1, d), as long as they weigh; the last only ends it."""
        states, found = states[:-1].astype(np.float32), []
        for member in self.members:
            scaled = (states - self.arrays[f"words{member}.mean"]) / self.arrays[f"words{member}.scale"]
            weights = np.exp(np.minimum(scaled @ self.arrays[f"weights{member}"], 30))
            vectors = project(states, self.arrays, f"words{member}")
            found.append(vectors * (weights / weights.sum())[:, None])
        return np.stack(found).astype(np.float32)

    def scores(self, pictures: Floats, texts: Sequence[Floats], pairs: Rows) -> Floats:
        """Scores (p,) of the pairs (p, 2).

        Args:
            pictures: (n, s), of `pictures`.
            texts: States (length, 384) of each text.
            pairs: Picture row and text row.
        """
        found = np.zeros(len(pairs), np.float32)
        vectors, cells, hub = self._parts(pictures)
        for row in np.unique(pairs[:, 1]):
            own = np.flatnonzero(pairs[:, 1] == row)
            words, vector = self.words(texts[row]), self.vector(texts[row])
            of_text = self.weight * late(self._bank_cells, words) + self._bank_vectors @ vector
            rows = pairs[own, 0]
            found[own] = vectors[rows] @ vector + self.weight * late(cells[rows], words) - hub[rows]
            found[own] -= hubs(of_text[None], self.share)
        return found

    def vector(self, states: Floats) -> Floats:
        """The search's vector (dim,) of a text's states (length, 384)."""
        mean = states.mean(axis=0, keepdims=True)
        found: Floats = self.text(mean / np.linalg.norm(mean))[0]
        return found

    def _parts(self, pictures: Floats) -> tuple[Floats, Floats, Floats]:
        """Vectors (n, dim), cells (n, members, r, d) and hubs (n,) of states."""
        states = np.asarray(pictures, np.float32)
        dim = self._bank_vectors.shape[1]
        shape = (len(states), len(self.members), GRID**2 + 1, -1)
        return states[:, :dim], states[:, dim:-1].reshape(shape), states[:, -1]

    @cached_property
    def _bank_states(self) -> list[Floats]:
        """States of the bank's captions."""
        ends = np.cumsum(self.arrays["bank_lengths"].astype(np.int64))
        return np.split(self.arrays["bank_words"].astype(np.float32), ends[:-1])

    @cached_property
    def _said(self) -> list[Floats]:
        return [self.words(states) for states in self._bank_states]

    @cached_property
    def _asked(self) -> Floats:
        return np.stack([self.vector(states) for states in self._bank_states])

    @cached_property
    def _bank_cells(self) -> Floats:
        return self.cells(self.arrays["bank_cells"].astype(np.float32))

    @cached_property
    def _bank_vectors(self) -> Floats:
        return self.image(
            self.arrays["bank_features"].astype(np.float32), self.arrays["bank_logits"].astype(np.float32)
        )
