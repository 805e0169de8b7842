"""Plain words for hits: whether they show what was asked, and whether anything does at all.

A cosine means nothing by itself. So a hit is told by its percentile among queries for things that nothing
in a collection of this size shows (`diptych.towers.calibration`): by the model's own calibration, or by one
that was made of the collection's own pictures and captions while it was indexed. Where there is neither,
nothing of the kind is said.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats, Item, Rows, Side, offered
from diptych.engine.homes.base import Home
from diptych.engine.homes.names import key_of
from diptych.engine.model import Model
from diptych.engine.query import kind_of
from diptych.engine.results import Word
from diptych.towers.calibrating import LEAST_PICTURES, Captioned, calibrated
from diptych.towers.calibration import Relevance

__all__ = [
    "LEAST",
    "SETTING",
    "UNKNOWN",
    "WORDS",
    "calibration_of",
    "captioned",
    "keep_calibration",
    "percentiles",
    "remark",
    "unknown_words",
    "word",
]

WORDS: tuple[tuple[float, Word], ...] = ((99.5, "strong"), (98.0, "good"), (96.0, "fair"), (0.0, "weak"))
"""Lowest percentile of each word."""

LEAST: Mapping[str, float] = {name: least for least, name in WORDS}
"""The lowest percentile of a word."""

UNKNOWN: Word = "not calibrated"
"""The word for a hit that has no percentile."""

SETTING = "relevance:"
"""Begins the name of the setting that keeps a calibration; the fingerprint of its model follows."""

_SAMPLE = 2_000  # captions, with whose pictures a calibration is made
_GROWN = 2  # times as many texts as it was made with: it is made anew


def calibration_of(home: Home, model: Model) -> Any:
    """What tells how relevant hits are, as `diptych.core.Capabilities.calibrate`; None if nothing does."""
    own = offered(model.encoder, "calibrate")
    if own is not None:
        return own
    kept = home.get(SETTING + model.fingerprint)
    packed = None if kept is None else json.loads(kept)["arrays"]
    if packed is None:
        return None
    with np.load(io.BytesIO(base64.b64decode(packed)), allow_pickle=False) as arrays:
        return Relevance.of_arrays(dict(arrays))


def keep_calibration(home: Home, model: Model) -> None:
    """Make a calibration of the collection's pictures and captions, for a model without its own.

    Once they are enough, and again when they are twice as many; the caller may write.
    """
    if offered(model.encoder, "calibrate") is not None or model.similarity != "cosine":
        return
    count, kept = home.count("text"), home.get(SETTING + model.fingerprint)
    if count < LEAST_PICTURES:
        return
    if kept is not None and count < _GROWN * json.loads(kept)["texts"]:
        return
    given = _captioned(home)
    found = None if given is None else calibrated(given, model.encode_texts)
    facts = {"texts": count, "arrays": None if found is None else _packed(found.arrays())}
    with home.batch(changes=False):
        home.set(SETTING + model.fingerprint, json.dumps(facts))


def _packed(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Arrays as text, matrices in half precision."""
    file = io.BytesIO()
    small: dict[str, Any] = {
        name: one.astype(np.float16) if one.ndim > 1 else one for name, one in arrays.items()
    }
    np.savez(file, **small)
    return base64.b64encode(file.getvalue()).decode()


def captioned(home: Home, texts: Rows, most: int) -> Iterator[tuple[int, list[int]]]:
    """The first row, of a picture if there is one, and the others of the files of texts drawn at random.

    Args:
        home: Holds them.
        texts: (n,) rows of texts.
        most: How many of these are drawn.
    """
    drawn = np.sort(np.random.default_rng(0).permutation(texts)[:most])
    for key in dict.fromkeys(key_of(home, one) for one in home.items(drawn.tolist())):
        first, *others = home.rows_of(key)
        yield first, others


def _captioned(home: Home) -> Captioned | None:
    """Some of the captioned pictures, drawn at random; None if there are none."""
    of_texts, of_images = home.vectors_now("text"), home.vectors_now("image")
    rows, image_rows = of_texts.rows, of_images.rows
    pictures: list[int] = []
    texts: list[int] = []
    owner: list[int] = []
    for first, others in captioned(home, rows, _SAMPLE):
        found = [row for row in others if _holds(rows, row)]
        if found and _holds(image_rows, first):
            owner += [len(pictures)] * len(found)
            pictures.append(first)
            texts += found
    if not pictures:
        return None
    captions = [one.text or "" for one in home.items(texts)]
    image, text = of_images.of(np.array(pictures)), of_texts.of(np.array(texts))
    return Captioned(image, text, captions, np.array(owner, np.int64))


def _holds(rows: Rows, row: int) -> bool:
    """Whether a row is one of ascending rows."""
    at = int(np.searchsorted(rows, row))
    return at < len(rows) and int(rows[at]) == row


def percentiles(
    calibration: Any, items: Sequence[Item], queries: Floats, scores: Floats, *, to: Side, entries: int
) -> Floats:
    """How relevant each hit is, (q, k) in [0, 100]; NaN where that is not known.

    Args:
        calibration: From `calibration_of`.
        items: What is asked.
        queries: Its vectors (q, d).
        scores: (q, k) of the hits; -inf for none.
        to: Side that was searched.
        entries: How many were searched: the best of many scores higher, though none shows what was asked.
    """
    found = np.full(scores.shape, np.nan, np.float32)
    if calibration is None or not scores.size:
        return found
    kinds = np.array([kind_of(item) for item in items])
    for kind in dict.fromkeys(kinds.tolist()):
        rows = kinds == kind
        more = {"of": kind} if isinstance(calibration, Relevance) else {}
        found[rows] = calibration(queries[rows], scores[rows], to=to, entries=entries, **more)
    return 100 * found


@runtime_checkable
class KnowsWords(Protocol):
    """An encoder that knows which words mean nothing to it."""

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Those of a text, in lower case."""
        ...


def unknown_words(encoder: Any, query: Item) -> tuple[str, ...]:
    """Words of a query that mean nothing to the encoder; none if it does not know them."""
    return encoder.unknown_words(_words(query)) if isinstance(encoder, KnowsWords) else ()


@runtime_checkable
class KnowsLanguages(Protocol):
    """An encoder that knows which languages it reads."""

    def remark(self, text: str) -> str:
        """What is to be known of a text's language, in a sentence; "" for nothing."""
        ...


def remark(encoder: Any, query: Item) -> str:
    """What an encoder has to say of the language of a query; "" for nothing."""
    words = _words(query)
    return encoder.remark(words) if words and isinstance(encoder, KnowsLanguages) else ""


def _words(query: Item) -> str:
    """All words of a query and of its parts."""
    texts = [query.text or "", *(_words(term) for _, term in query.terms)]
    return " ".join(filter(None, texts))


def word(percentile: float | None) -> Word:
    """The word for a percentile, or for none."""
    if percentile is None:
        return UNKNOWN
    return next(name for least, name in WORDS if percentile >= least)
