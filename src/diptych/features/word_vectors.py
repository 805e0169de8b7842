"""Word vectors: mean of the vectors of a text's words.

Inputs: texts
Learns from: nothing (the vectors come from a file)

Reads the text format of GloVe and word2vec (a word and its numbers a line), or an ``.npz`` with ``words`` and
``vectors``: ``word_vectors@glove.6B.50d.txt``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import Floats
from diptych.errors import BadData, MissingData
from diptych.features._words import words

__all__ = ["WordVectors"]


class WordVectors:
    """Means of word vectors.

    Args:
        weights: The file.

    Raises:
        MissingData: it is not there.
        BadData: it holds something else.
    """

    similarity = "cosine"
    side = "text"

    def __init__(self, *, weights: str) -> None:
        path = Path(weights).expanduser().resolve()
        self.weights = str(path)  # a run may be loaded from another folder
        if not path.is_file():
            raise MissingData(
                f"there is no file {path} of word vectors; give GloVe's or word2vec's text file, or an .npz"
            )
        self._row, self._vectors = _npz(path) if path.suffix == ".npz" else _text(path)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What the constructor was given."""
        return {"weights": self.weights}

    @cached_property
    def fingerprint(self) -> str:
        """Equal only for the same words and vectors."""
        digest = hashlib.sha256("\n".join(self._row).encode() + self._vectors.tobytes())
        return f"word_vectors:{digest.hexdigest()[:24]}"

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Means (n, d) float32; zero for a text without known words."""
        found = np.zeros((len(texts), self._vectors.shape[1]), np.float32)
        for row, text in enumerate(texts):
            known = [self._row[word] for word in words(text) if word in self._row]
            if known:
                found[row] = self._vectors[known].mean(axis=0)
        return found


def _npz(path: Path) -> tuple[Mapping[str, int], Floats]:
    try:
        with np.load(path, allow_pickle=False) as file:
            names, vectors = file["words"].tolist(), file["vectors"].astype(np.float32)
    except (KeyError, ValueError, OSError) as error:
        raise BadData(f"{path} must hold the arrays words and vectors ({error})") from error
    if vectors.ndim != 2 or len(names) != len(vectors):
        raise BadData(f"{path} has {len(names)} words and vectors of shape {vectors.shape}")
    return {str(name): row for row, name in enumerate(names)}, vectors


def _text(path: Path) -> tuple[Mapping[str, int], Floats]:
    rows: dict[str, int] = {}
    vectors: list[Floats] = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines):
            word, _, rest = line.rstrip().partition(" ")
            if number == 0 and word.isdigit() and rest.isdigit():
                continue  # word2vec begins with the number of words and dimensions
            try:
                vector = np.array(rest.split(), np.float32)
            except ValueError as error:
                raise BadData(f"{path}, line {number + 1}: not a word and its numbers ({error})") from error
            if not len(vector) or (vectors and len(vector) != len(vectors[0])):
                raise BadData(f"{path}, line {number + 1} has {len(vector)} numbers, unlike the lines before")
            if word not in rows:
                rows[word] = len(vectors)
                vectors.append(vector)
    if not vectors:
        raise BadData(f"{path} is empty")
    return rows, np.stack(vectors)
