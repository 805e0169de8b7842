"""What a search asks for: words, pictures and weights, checked and made an item."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from diptych.core import SIDES, Item, Side, checked_k, offered
from diptych.engine.hubness import Hubness
from diptych.engine.listing import Fold
from diptych.engine.place import absolute
from diptych.engine.results import By
from diptych.engine.weights import check_weight, weighted
from diptych.errors import UsageError
from diptych.pipeline import DEPTH
from diptych.printable import type_of
from diptych.towers.calibration import Kind

if TYPE_CHECKING:
    from diptych.engine.conditions import Condition
    from diptych.engine.homes.base import Home
    from diptych.engine.results import Word

__all__ = [
    "Options",
    "as_item",
    "asked_rows",
    "check_side",
    "composed",
    "decoded",
    "kind_of",
    "picture_of",
    "sides_of",
]


@dataclass(frozen=True, slots=True)
class Options:
    """How a collection is searched, whatever is asked; see `Collection.search`."""

    to: Side = "image"
    k: int = 10
    min_score: float | Word | None = None
    exact: bool = False
    recall: float | None = None
    model: Any = None
    where: str | Condition | None = None
    by: By = "both"
    offset: int = 0
    fold: Fold | None = "exact"
    itself: bool = False
    diverse: float | None = None
    hubness: Hubness | None = None
    rerank: Any = None
    depth: int = DEPTH

    def check(self, home: Home) -> None:
        """See that a home can be searched so.

        Raises:
            UsageError: a value is none that can be, or promises what the home cannot keep.
        """
        check_side("to", self.to)
        _check_recall(home, self.exact, self.recall)
        _check_score(self.min_score)
        checked_k(self.k)
        _check_listing(self.offset, self.fold)
        _check_order(self.diverse, self.hubness)
        if self.by not in get_args(By):
            raise UsageError(f"a search is by words, vectors or both, not by {self.by!r}")
        if self.by == "words" and (self.diverse or self.hubness or self.fold == "near"):
            raise UsageError(
                "what is diverse, a hub or nearly the same, vectors say; search by both, or leave these out"
            )
        _check_rerank(self.rerank, self.depth, self.by, self.hubness)

    @property
    def needed(self) -> int:
        """Entries that are listed up to the end of the page."""
        return self.offset + self.k


def as_item(query: Any) -> Item:
    """A single thing that is asked for: words as a `str`, or a picture as a path, bytes, PIL or an array.

    Raises:
        UsageError: it is nothing of these, or words without a letter.
    """
    if isinstance(query, Item):
        return query
    if isinstance(query, str):
        if not query.strip():
            raise UsageError("nothing was asked; give words or a picture")
        return Item(text=_words(query))
    return Item(image=picture_of(query, paths=(os.PathLike,)))


def composed(
    query: Any,
    *,
    text: Any = (),
    image: Any = (),
    like: Sequence[tuple[float, Item]] = (),
    negative: Any = (),
    text_weight: float = 1.0,
    image_weight: float = 1.0,
    negative_weight: float = 0.5,
) -> Item:
    """The query of words or a picture, further words and pictures, and words to keep away from.

    Args:
        query: As for `as_item`; None, or words without a letter, for none.
        text: Words or a list of them, also.
        image: A picture or a list of pictures to look like, also; here a `str` is a path.
        like: What the collection has, also, with its weights.
        negative: Words to keep away from.
        text_weight, image_weight, negative_weight: Of words, of each picture and of each of the words to keep
            away from, where a part is no pair of its own weight and what it is.

    Raises:
        UsageError: nothing is asked, something is of no kind that can be asked, or a weight is no
            number that means something.
    """
    for name, weight in (("text", text_weight), ("image", image_weight), ("negative", negative_weight)):
        check_weight(weight, name)
    terms: list[tuple[float, Item]] = []
    if isinstance(query, str) and not query.strip():
        query = None
    if query is not None:
        item = as_item(query)
        own = image_weight if item.text is None and not isinstance(query, Item) else text_weight
        terms.append((1.0 if isinstance(query, Item) else own, item))
    for weight, words in weighted(text, text_weight, "text"):
        if not isinstance(words, str) or not words.strip():
            raise UsageError(f"a text to look for is words, not {words!r}")
        terms.append((weight, Item(text=_words(words))))
    for weight, one in weighted(image, image_weight, "image"):
        terms.append((weight, Item(image=picture_of(one, paths=(str, os.PathLike)))))
    terms.extend(like)
    if not terms:
        raise UsageError("nothing was asked; give words or a picture")
    several = isinstance(negative, Iterable) and not isinstance(negative, str | tuple)
    parts = list(negative) if several else negative
    for weight, words in weighted(parts, negative_weight, "negative"):
        if not isinstance(words, str):
            raise UsageError(f"what to keep away from is said in words, not by {type_of(words)}")
        if words.strip():
            terms.append((-weight, Item(text=_words(words))))
    return terms[0][1] if len(terms) == 1 and terms[0][0] > 0 else Item(terms=tuple(terms))


def _words(text: str) -> str:
    """Words without the blanks around them."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the words {text!r} hold bytes that are not UTF-8; type them again") from error
    return text.strip()


def picture_of(value: Any, *, paths: tuple[type, ...]) -> Any:
    """What shows a picture, as it is; a path as a `Path`."""
    from PIL.Image import Image

    if isinstance(value, paths):
        path: Any = value
        if re.match(r"[a-z][a-z0-9+.-]+:/", str(path), re.IGNORECASE):
            raise UsageError(
                f"{path} is an address, and pictures are read from files; save it as a file first"
            )
        if os.path.isdir(path):
            raise UsageError(f"{path} is a folder; give one of its pictures")
        return Path(path)
    if isinstance(value, bytes | np.ndarray | Image):
        return value
    raise UsageError(
        f"{type_of(value)} cannot be searched for; give words, or a picture as a path, bytes, a PIL "
        "picture or an array"
    )


def decoded(item: Item, encoder: Any) -> Item:
    """The query with its pictures read as the collection's pictures were.

    Raises:
        ImageError: a picture cannot be read.
        UsageError: an array is no picture.
    """
    from diptych.media.raw import open_any

    if item.terms:
        return Item(item.id, terms=tuple((weight, decoded(term, encoder)) for weight, term in item.terms))
    if item.image is not None and not item.meta.get("recalled"):
        picture = open_any(item.image, size=offered(encoder, "image_size"))
        return Item(item.id, image=picture, text=item.text, meta=item.meta)
    return item


def _check_recall(home: Home, exact: bool, recall: float | None) -> None:
    """See that a recall can be asked for.

    Raises:
        UsageError: it is none, or the home has no codes.
    """
    if recall is None:
        return
    if exact:
        raise UsageError("exact search finds everything, so give either exact or a recall")
    if not 0 < recall <= 1:
        raise UsageError(f"a recall lies above 0 and at most at 1, such as 0.98, not {recall}")
    if home.codes is None:
        raise UsageError(
            f"{home.name} has no codes, so it is searched exactly and finds everything; ask for no recall, "
            "or index it with codes first"
        )


def _check_score(min_score: float | Word | None) -> None:
    """See that results can be left out by a score or a word.

    Raises:
        UsageError: it is no finite number and none of the words.
    """
    if min_score is None or min_score in ("strong", "good", "fair"):
        return
    if not isinstance(min_score, int | float | np.number) or not math.isfinite(min_score):
        raise UsageError(
            f"the lowest score of a result is a finite number, or strong, good or fair, not {min_score!r}"
        )


def _check_listing(offset: Any, fold: Any) -> None:
    """See that a part of the results can be listed so.

    Raises:
        UsageError: it begins nowhere, or copies cannot be folded so.
    """
    if not isinstance(offset, int | np.integer) or isinstance(offset, bool) or offset < 0:
        raise UsageError(
            f"the offset is how many results are passed over, a whole number from 0 on, not {offset!r}"
        )
    if fold is not None and fold not in get_args(Fold):
        raise UsageError(f"copies are folded as exact or near, or not at all (None), not as {fold!r}")


def _check_order(diverse: Any, hubness: Any) -> None:
    """See that results can be ordered so.

    Raises:
        UsageError: a weight is none, or hubness is not corrected so.
    """
    if diverse is not None and (not isinstance(diverse, int | float | np.number) or not 0 <= diverse <= 1):
        raise UsageError(
            "diverse is the weight of being unlike the results before, from 0 (by score alone) to 1, such as "
            f"0.3, not {diverse!r}"
        )
    if hubness is not None and hubness not in get_args(Hubness):
        raise UsageError(f"hubness is corrected by nnn, or not at all (None), not by {hubness!r}")


def _check_rerank(rerank: Any, depth: Any, by: By, hubness: Hubness | None) -> None:
    """See that hits can be ranked anew.

    Raises:
        UsageError: the depth is none, or there are no hits of vectors, or these are corrected already.
    """
    if not isinstance(depth, int | np.integer) or isinstance(depth, bool) or depth < 1:
        raise UsageError(f"the depth is how many hits are ranked anew, at least 1, not {depth!r}")
    if rerank is None:
        return
    if by == "words":
        raise UsageError("what is ranked anew are hits of vectors; search by both or by vectors")
    if hubness:
        raise UsageError(
            "what a hub gains counts no more where hits are ranked anew; give either hubness or a re-ranker"
        )


def asked_rows(item: Item, home: Home, side: Side) -> set[int]:
    """Rows of a side that a query is, or has among its parts to look like; copies are not meant."""
    if item.terms:
        return set().union(*(asked_rows(term, home, side) for weight, term in item.terms if weight > 0))
    if "row" in item.meta:
        return {item.meta["row"]} if item.meta.get("side") == side else set()
    if side != "image" or not isinstance(item.image, str | os.PathLike):
        return set()
    path = absolute(Path(item.image))
    keys = {home.key(path), home.key(Path(os.path.realpath(path)))}
    found = (home.rows_of(key) for key in keys)
    return {rows[0] for rows in found if rows and home.items(rows[:1])[0].side == "image"}


def check_side(name: str, side: object) -> None:
    """See that an argument of that name says which of the two sides is meant.

    Raises:
        UsageError: it is neither.
    """
    if side not in SIDES:
        raise UsageError(f"{name} must be image or text, not {side!r}")


def sides_of(queries: Sequence[Item]) -> list[Side] | None:
    """What each query is; None if one has several parts, which lie neither where texts do nor pictures."""
    sides: list[Side] = []
    for query in queries:
        if query.terms or (query.image is not None and query.text is not None):
            return None
        sides.append("text" if query.image is None else "image")
    return sides


def kind_of(query: Item) -> Kind:
    """What asks: words, also with some to keep away from, one picture, or a picture beside something else."""
    if query.terms:
        kinds = {kind_of(term) for _, term in query.terms}
        return "text" if kinds == {"text"} else "composed"
    if query.image is None:
        return "text"
    return "image" if query.text is None else "composed"
