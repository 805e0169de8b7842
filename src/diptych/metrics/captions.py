"""How near captions are to those that people wrote: BLEU, ROUGE-L and CIDEr-D, as the COCO server has them.

Papineni et al. (ACL 2002), Lin (ACL workshop 2004), Vedantam et al. (CVPR 2015); the arithmetic is that of
pycocoevalcap. Texts are cut into words by a rule of our own, `words`, which leaves out punctuation as the
server's tokeniser does; it differs from that one in rare cases, such as abbreviations.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from math import exp, log, sqrt

import numpy as np

from diptych.errors import UsageError

__all__ = ["Cider", "bleu", "caption_scores", "rouge_l", "words"]

Words = Sequence[Hashable]
_WORD = re.compile(r"[^\W_]+(?=n't)|n't|'[a-z]+|[^\W_]+(?:-[^\W_]+)*")
_ORDERS = (1, 2, 3, 4)
_SIGMA = 6.0  # of lengths, in words
_BETA = 1.2  # weight of recall in ROUGE-L


def words(text: str) -> list[str]:
    """The words of a text, in lower case and without punctuation.

    Example:
        >>> words("A man's t-shirt, and a dog .")
        ['a', 'man', "'s", 't-shirt', 'and', 'a', 'dog']
    """
    return _WORD.findall(text.lower())


def caption_scores(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """BLEU-4, ROUGE-L and CIDEr of captions, one a picture.

    Args:
        captions: n of them.
        references: What people said of each of the n pictures, at least one text each.

    Raises:
        UsageError: their numbers differ, or a picture has no reference.
    """
    if len(captions) != len(references):
        raise UsageError(
            f"{len(captions)} captions cannot be compared with those of {len(references)} pictures"
        )
    lost = next((row for row, texts in enumerate(references) if not len(texts)), None)
    if lost is not None:
        raise UsageError(f"picture {lost} has no caption to compare with; leave it out")
    said, wanted = (
        [words(text) for text in captions],
        [[words(text) for text in texts] for texts in references],
    )
    cider = Cider(wanted)
    return {
        "BLEU-4": bleu(said, wanted)[-1],
        "ROUGE-L": float(np.mean([rouge_l(one, texts) for one, texts in zip(said, wanted, strict=True)])),
        "CIDEr": float(np.mean([cider(one, row) for row, one in enumerate(said)])),
    }


def bleu(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> list[float]:
    """BLEU-1 to BLEU-4 of a whole set, with the length of the nearest reference (the shorter of two)."""
    right, all_of = np.zeros(len(_ORDERS)), np.zeros(len(_ORDERS))
    length, wanted = 0, 0
    for said, texts in zip(captions, references, strict=True):
        length += len(said)
        wanted += min((abs(len(text) - len(said)), len(text)) for text in texts)[1]
        for at, n in enumerate(_ORDERS):
            most: Counter[Words] = Counter()
            for text in texts:
                most |= _grams(text, n)
            found = _grams(said, n)
            right[at] += sum((found & most).values())
            all_of[at] += sum(found.values())
    tiny, small = 1e-15, 1e-9  # so that an order without a hit leaves a number
    precision = (right + tiny) / (all_of + small)
    means = np.exp(np.cumsum(np.log(precision)) / np.arange(1, len(_ORDERS) + 1))
    ratio = (length + tiny) / (wanted + small)
    return [float(value) for value in means * (exp(1 - 1 / ratio) if ratio < 1 else 1.0)]


def rouge_l(said: Words, references: Sequence[Words]) -> float:
    """ROUGE-L of one caption: best precision and best recall over the references, as F with beta 1.2."""
    common = [_common(text, said) for text in references]
    precision = max(n / max(len(said), 1) for n in common)
    recall = max(n / max(len(text), 1) for n, text in zip(common, references, strict=True))
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


class Cider:
    """CIDEr-D against fixed references, whose n-grams are weighted by how few pictures have them.

    Args:
        references: Of each picture, each a sequence of words, or of anything that is equal or not.
    """

    def __init__(self, references: Sequence[Sequence[Words]]) -> None:
        seen: Counter[Words] = Counter()
        for texts in references:
            seen.update({gram for text in texts for n in _ORDERS for gram in _grams(text, n)})
        self._all, self._seen = log(max(len(references), 1)), seen
        self._told = [[self._weighted(text) for text in texts] for texts in references]

    def __call__(self, said: Words, row: int) -> float:
        """Of one caption of the picture in a row; from 0 to 10."""
        weights, norms, length = self._weighted(said)
        total = 0.0
        for others, other_norms, other_length in self._told[row]:
            near = exp(-((length - other_length) ** 2) / (2 * _SIGMA**2))
            for mine, theirs, a, b in zip(weights, others, norms, other_norms, strict=True):
                both = sum(
                    min(value, theirs[gram]) * theirs[gram] for gram, value in mine.items() if gram in theirs
                )
                total += both * near / (a * b) if a and b else both * near
        return 10 * total / (len(_ORDERS) * max(len(self._told[row]), 1))

    def _weighted(self, text: Words) -> tuple[list[dict[Words, float]], list[float], int]:
        """For each n the n-grams with their weights, and the length of that vector; the number of words."""
        weights = [
            {
                gram: count * (self._all - log(max(self._seen[gram], 1)))
                for gram, count in _grams(text, n).items()
            }
            for n in _ORDERS
        ]
        return weights, [sqrt(sum(value**2 for value in one.values())) for one in weights], len(text)


def _grams(text: Words, n: int) -> Counter[Words]:
    return Counter(tuple(text[at : at + n]) for at in range(len(text) - n + 1))


def _common(one: Words, other: Words) -> int:
    """Length of the longest common subsequence."""
    last = [0] * (len(other) + 1)
    for word in one:
        row = [0]
        for at, known in enumerate(other):
            row.append(last[at] + 1 if word == known else max(row[at], last[at + 1]))
        last = row
    return last[-1]
