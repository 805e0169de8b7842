"""Fits a calibration of relevance to captioned pictures; see `diptych.towers.calibration`.

What is not there is known by words: a thing that no caption names is shown by no picture, and a picture has
nothing to do with another if their captions share no word. Both are sometimes wrong, and then on the
careful side: a thing that is there unnamed makes what is asked for look less relevant, not more.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats, Rows, Side
from diptych.similarity import unit
from diptych.towers.calibration import Background, Kind, Line, Relevance, averaged, averages

__all__ = [
    "LEAST_PICTURES",
    "Asked",
    "Captioned",
    "calibrated",
    "content_words",
    "directions",
    "logistic",
    "named",
    "things",
]

LEAST_PICTURES = 200
"""Captioned pictures that a calibration needs: fewer say too little of what is not there."""

_LEAST_QUERIES = 50  # of each kind
_MOST_PICTURES, _MOST_QUERIES = 2_000, 600
_SMALLEST = 30  # entries, of the smallest part that is searched
_HIGH = 0.9  # quantile: beyond it there may be things that are there unnamed
_ROUNDS = 50  # of Newton's method
_EMPTY = frozenset(
    (
        "a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "full", "has", "have", "his",
        "her", "in", "into", "is", "it", "its", "of", "off", "on", "one", "or", "out", "over", "some",
        "that", "the", "their", "there", "they", "this", "three", "to", "two", "up", "very", "while",
        "who", "with",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Captioned:
    """Pictures with captions, encoded.

    Args:
        image: (n, d) unit vectors.
        text: (t, d) unit vectors of the captions.
        captions: Of length t.
        owner: (t,) row of each caption's picture.
    """

    image: Floats
    text: Floats
    captions: Sequence[str]
    owner: Rows

    def entries(self, side: Side) -> Floats:
        """The vectors of a side."""
        return self.image if side == "image" else self.text

    def sample(self, random: np.random.Generator) -> Captioned:
        """At most so many pictures, of those that have captions, that all pairs are few."""
        rows = np.unique(self.owner)
        if len(rows) > _MOST_PICTURES:
            rows = np.sort(random.choice(rows, _MOST_PICTURES, replace=False))
        kept = np.flatnonzero(np.isin(self.owner, rows))
        captions = [self.captions[one] for one in kept.tolist()]
        owner = np.searchsorted(rows, self.owner[kept])
        return Captioned(self.image[rows], self.text[kept], captions, owner)


@dataclass(frozen=True)
class Asked:
    """Queries (q, d), and which of n entries count for each, (q, n), or for all, (1, n)."""

    queries: Floats
    among: NDArray[np.bool_]

    def best(self, entries: Floats, width: int) -> Floats:
        """The best scores (q, width) among entries (n, d), descending; -inf where there are none."""
        scores = np.where(self.among, self.queries @ entries.T, -np.inf)
        width = min(width, scores.shape[1])
        return np.asarray(-np.sort(-np.partition(scores, -width, axis=1)[:, -width:], axis=1))


@functools.cache
def things() -> tuple[str, ...]:
    """Things as people ask for them, such as captions name wherever they are shown."""
    return tuple(Path(__file__).with_name("things.txt").read_text(encoding="utf-8").strip().split("\n"))


def content_words(text: str) -> frozenset[str]:
    """The words of an English text that name something, in lower case and in the singular."""
    return frozenset(map(_singular, re.findall(r"[^\W\d_]{2,}", text.lower()))) - _EMPTY


def named(texts: Iterable[str], captions: Sequence[Iterable[str]]) -> NDArray[np.float64]:
    """How much of each text (q,) the captions of that picture say which say most of it, from 0 to 1.

    Args:
        texts: q of them.
        captions: Those of each picture.
    """
    said = [content_words(" ".join(lines)) for lines in captions]
    holding: dict[str, set[int]] = {}
    for row, words in enumerate(said):
        for word in words:
            holding.setdefault(word, set()).add(row)
    shares = []
    for text in texts:
        words = content_words(text)
        rows = set().union(*(holding.get(word, ()) for word in words))
        shares.append(max((len(words & said[row]) / len(words) for row in rows), default=0.0))
    return np.array(shares)


def calibrated(
    given: Captioned, encode_texts: Callable[[Sequence[str]], Floats], *, seed: int = 0
) -> Relevance | None:
    """The calibration that captioned pictures give; None if they are too few.

    Args:
        given: What should not have been learned from.
        encode_texts: Gives unit vectors (n, d) of texts.
        seed: Of every draw.
    """
    random = np.random.default_rng(seed)
    few = given.sample(random)
    if len(few.image) < LEAST_PICTURES:
        return None
    backgrounds: dict[Side, Background] = {"image": Background.of(few.image), "text": Background.of(few.text)}
    lines = {}
    for (kind, side), (right, wrong) in directions(few, encode_texts, random).items():
        count = averaged(kind, side)
        line = _line(right, wrong, few.entries(side), backgrounds[side], count, random)
        if line is not None:
            lines[kind, side] = line
    return Relevance(backgrounds, lines) if lines else None


def directions(
    given: Captioned, encode_texts: Callable[[Sequence[str]], Floats], random: np.random.Generator
) -> dict[tuple[Kind, Side], tuple[Asked, Asked]]:
    """By kind of query and side searched, queries for what is there and queries for what is not.

    Args:
        given: Captioned pictures, each with a caption.
        encode_texts: Gives unit vectors (n, d) of texts.
        random: Draws the queries.
    """
    of_pictures: list[list[str]] = [[] for _ in given.image]
    for caption, row in zip(given.captions, given.owner.tolist(), strict=True):
        of_pictures[row].append(caption)
    absent = _absent(of_pictures, encode_texts)
    picture_words = [content_words(" ".join(lines)) for lines in of_pictures]
    foreign = _Foreign(picture_words, [content_words(caption) for caption in given.captions])
    asking, speaking = _drawn(len(given.image), random), _drawn(len(given.text), random)
    near, said = given.image[asking], given.text[speaking]
    of_caption = dict(zip(given.owner.tolist(), range(len(given.text)), strict=True))
    told = given.text[[of_caption[row] for row in asking.tolist()]]
    strange = absent[random.integers(len(absent), size=len(asking))] if len(absent) else told
    both, mixed = unit(near + told), unit(near + strange)
    others = np.arange(len(given.image)) != asking[:, None]
    every, every_text = np.ones((1, len(given.image)), bool), np.ones((1, len(given.text)), bool)
    pictures, texts = foreign.image_image(asking), foreign.image_text(asking)
    return {
        ("text", "image"): (Asked(said, every), Asked(absent, every)),
        ("image", "text"): (Asked(near, every_text), Asked(near, texts)),
        ("image", "image"): (Asked(near, others), Asked(near, pictures)),
        ("text", "text"): (
            Asked(said, given.owner != given.owner[speaking][:, None]),
            Asked(said, foreign.text_text(speaking)),
        ),
        ("composed", "image"): (Asked(both, others), Asked(mixed, pictures)),
        ("composed", "text"): (Asked(both, given.owner != asking[:, None]), Asked(mixed, texts)),
    }


def _absent(captions: Sequence[Sequence[str]], encode_texts: Callable[[Sequence[str]], Floats]) -> Floats:
    """Vectors of things that no picture shows."""
    said = named(things(), captions)
    absent = [thing for thing, share in zip(things(), said, strict=True) if share < 0.5]
    return unit(encode_texts(absent)) if absent else np.zeros((0, 1), np.float32)


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if re.search(r"(s|x|z|ch|sh)es$", word):
        return word[:-2]
    return word[:-1] if re.search(r"[^sui]s$", word) and len(word) > 3 else word


def _drawn(count: int, random: np.random.Generator) -> Rows:
    return np.sort(random.choice(count, min(count, _MOST_QUERIES), replace=False))


class _Foreign:
    """Which entries have nothing to do with which: those whose captions share no word."""

    def __init__(self, pictures: Sequence[frozenset[str]], texts: Sequence[frozenset[str]]) -> None:
        order = {word: at for at, word in enumerate(sorted(frozenset().union(*pictures)))}
        self._pictures, self._texts = (self._matrix(words, order) for words in (pictures, texts))

    @staticmethod
    def _matrix(words: Sequence[frozenset[str]], order: dict[str, int]) -> Floats:
        found = np.zeros((len(words), len(order)), np.float32)
        for row, own in enumerate(words):
            found[row, [order[word] for word in own]] = 1
        return found

    def image_image(self, rows: Rows) -> NDArray[np.bool_]:
        """(q, n) of pictures."""
        return np.asarray(self._pictures[rows] @ self._pictures.T == 0)

    def image_text(self, rows: Rows) -> NDArray[np.bool_]:
        """(q, t) of pictures and captions."""
        return np.asarray(self._pictures[rows] @ self._texts.T == 0)

    def text_text(self, rows: Rows) -> NDArray[np.bool_]:
        """(q, t) of captions."""
        return np.asarray(self._texts[rows] @ self._texts.T == 0)


def _line(
    right: Asked,
    wrong: Asked,
    entries: Floats,
    background: Background,
    count: int,
    random: np.random.Generator,
) -> Line | None:
    """The line of one direction; None if there are too few queries of either kind."""
    spreads = background.spread(right.queries), background.spread(wrong.queries)
    parts = _parts(len(entries), random)
    found = [_best(one, entries, count, np.arange(len(entries))) for one in (right, wrong)]
    enough = [np.isfinite(best) for best, _ in found]
    if min(map(np.sum, enough)) < _LEAST_QUERIES:
        return None
    features = [
        np.stack([best[kept], spread[kept]], axis=1)
        for (best, _), spread, kept in zip(found, spreads, enough, strict=True)
    ]
    slope, weight = logistic(features[0], features[1])
    weight = weight / slope if slope > 0 else 0.0
    r, n = [], []
    for rows in parts:
        best, counts = _best(wrong, entries, count, rows)
        kept = np.isfinite(best)
        r.append((best + weight * spreads[1])[kept])
        n.append(np.broadcast_to(counts, best.shape)[kept])
    return Line(count, float(weight), *_normal(np.concatenate(r), np.log(np.concatenate(n))))


def _normal(r: Floats, log_n: Floats) -> tuple[float, float, float]:
    """Mean at n = 1, growth with log(n), and deviation of r.

    By what matters of it: the middle and the quantile above which r says that something is there. Below the
    middle it lies wider, and in the outermost part are things that are there, after all, without being named.
    """
    growth, mean = np.polyfit(log_n, r, 1)
    middle, high = np.quantile(r - mean - growth * log_n, [0.5, _HIGH])
    deviation = (high - middle) / NormalDist().inv_cdf(_HIGH)
    return float(mean + middle), float(growth), max(float(deviation), 1e-6)


def _parts(count: int, random: np.random.Generator) -> Iterator[Rows]:
    """Rows of ever smaller random parts of so many entries, each half of the one before."""
    size = count
    while size >= min(_SMALLEST, count):
        yield random.permutation(count)[:size]
        size //= 2


def _best(asked: Asked, entries: Floats, count: int, rows: Rows) -> tuple[Floats, Rows]:
    """The mean score (q,) of the best hits among some entries, -inf for none, and how many count."""
    part = Asked(asked.queries, asked.among[:, rows])
    return averages(part.best(entries[rows], count), count)[:, 0], part.among.sum(axis=1)


def logistic(right: Floats, wrong: Floats) -> tuple[float, float]:
    """Slopes of the two features in a logistic regression in which both classes weigh the same."""
    x = np.concatenate([right, wrong]).astype(np.float64)
    scale = np.maximum(x.std(axis=0), 1e-9)
    x = np.column_stack([(x - x.mean(axis=0)) / scale, np.ones(len(x))])
    y = np.repeat([1.0, 0.0], [len(right), len(wrong)])
    weights = np.where(y > 0, 0.5 / len(right), 0.5 / len(wrong))
    ridge, beta = np.diag([1e-3, 1e-3, 0]), np.zeros(3)
    for _ in range(_ROUNDS):
        chance = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        gradient = x.T @ (weights * (y - chance)) - ridge @ beta
        curvature = (x * (weights * chance * (1 - chance))[:, None]).T @ x + ridge + 1e-9 * np.eye(3)
        beta += np.linalg.solve(curvature, gradient)
    return float(beta[0] / scale[0]), float(beta[1] / scale[1])
