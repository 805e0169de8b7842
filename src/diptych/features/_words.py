"""The words of texts, and the vocabulary that bag of words, TF-IDF and LSA share."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats
from diptych.errors import BadParameter, UsageError

__all__ = ["Bag", "words"]

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_CHUNK = 512  # texts that are counted at once


def words(text: str) -> list[str]:
    """The words of a text, in lower case, without punctuation."""
    return _WORD.findall(text.lower())


class Bag:
    """Counts of the words of a vocabulary, which `fit` takes from the training texts.

    Args:
        size: Words kept at most: those in the most texts, ties by alphabet.
        min_texts: Texts in which a word must occur at least.
        max_share: Share of the texts in which it may occur at most, 0 to 1.
    """

    similarity = "cosine"
    side = "text"

    def __init__(self, *, size: int = 5000, min_texts: int = 1, max_share: float = 1.0) -> None:
        if size < 1 or min_texts < 1 or not 0 < max_share <= 1:
            raise BadParameter(
                f"size and min_texts must be at least 1 and max_share in (0, 1], "
                f"not {size}, {min_texts} and {max_share}"
            )
        self.size, self.min_texts, self.max_share = size, min_texts, max_share
        self._column: dict[str, int] = {}
        self._texts_with = np.zeros(0, np.int64)
        self._texts = 0

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What the constructor was given."""
        return {"size": self.size, "min_texts": self.min_texts, "max_share": self.max_share}

    @property
    def vocabulary(self) -> list[str]:
        """The word of each column."""
        return list(self._column)

    @property
    def fitted(self) -> bool:
        """Whether there is a vocabulary."""
        return bool(self._column)

    @property
    def fingerprint(self) -> str:
        """Equal only for the same parameters and the same fit."""
        digest = hashlib.sha256(f"{sorted(self.hyperparameters.items())}".encode())
        for name, array in sorted(self.arrays().items()):
            digest.update(f"{name}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return f"{type(self).__name__.lower()}:{digest.hexdigest()[:24]}"

    def fit(self, texts: Sequence[str]) -> None:
        """Choose the vocabulary.

        Raises:
            UsageError: no word is left.
        """
        found: Counter[str] = Counter()
        for text in texts:
            found.update(set(words(text)))
        most = self.max_share * len(texts)
        kept = [(word, count) for word, count in found.items() if self.min_texts <= count <= most]
        kept = sorted(kept, key=lambda pair: (-pair[1], pair[0]))[: self.size]
        if not kept:
            raise UsageError(
                f"no word of {len(texts)} texts is in at least {self.min_texts} and at most "
                f"{self.max_share:.0%} of them; lower min_texts or raise max_share"
            )
        self._column = {word: column for column, (word, _) in enumerate(sorted(kept))}
        self._texts_with = np.array([count for _, count in sorted(kept)], np.int64)
        self._texts = len(texts)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """What `fit` learned."""
        joined = "\n".join(self._column).encode()
        return {
            "words": np.frombuffer(joined, np.uint8),
            "texts_with": self._texts_with,
            "texts": np.array(self._texts),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `arrays` gave."""
        joined = arrays["words"].tobytes().decode()
        self._column = {word: column for column, word in enumerate(joined.split("\n"))}
        self._texts_with, self._texts = arrays["texts_with"], int(arrays["texts"])

    def counts(self, texts: Sequence[str]) -> Floats:
        """How often each word occurs, (n, words) float32.

        Raises:
            UsageError: there was no `fit`.
        """
        if not self.fitted:
            raise UsageError(f"{type(self).__name__} has no vocabulary yet; call fit with training texts")
        found = np.zeros((len(texts), len(self._column)), np.float32)
        for row, text in enumerate(texts):
            for word in words(text):
                column = self._column.get(word)
                if column is not None:
                    found[row, column] += 1
        return found

    def weighted(self, texts: Sequence[str]) -> Floats:
        """Unit rows of count times ln((1 + n) / (1 + n_word)) + 1, n texts in all; else zero."""
        weight = np.log((1 + self._texts) / (1 + self._texts_with)) + 1
        found = self.counts(texts) * weight.astype(np.float32)
        return unit(found)


def unit(rows: Floats) -> Floats:
    """Rows of length 1; rows of zeros stay."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(length > 0, length, 1)).astype(np.float32)


def chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts, some hundred at a time."""
    for start in range(0, len(texts), _CHUNK):
        yield texts[start : start + _CHUNK]
