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
from diptych.engine.results import By
from diptych.errors import UsageError
from diptych.printable import type_of
from diptych.towers.calibration import Kind

if TYPE_CHECKING:
    from diptych.engine.conditions import Condition
    from diptych.engine.homes.base import Home
    from diptych.engine.results import Word

__all__ = [
    "Options",
    "as_item",
    "check_side",
    "composed",
    "decoded",
    "kind_of",
    "picture_of",
    "sides_of",
]


# Single precision keeps a part of this weight beside one of the other.
_LIGHTEST, _HEAVIEST = 1e-3, 1e3


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

    def check(self, home: Home) -> None:
        """See that a home can be searched so.

        Raises:
            UsageError: a value is none that can be, or promises what the home cannot keep.
        """
        check_side("to", self.to)
        _check_recall(home, self.exact, self.recall)
        _check_score(self.min_score)
        checked_k(self.k)
        if self.by not in get_args(By):
            raise UsageError(f"a search is by words, vectors or both, not by {self.by!r}")


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
    image: Any,
    negative: str | Sequence[str],
    *,
    text_weight: float,
    image_weight: float,
    negative_weight: float,
) -> Item:
    """The query of words or a picture, further pictures, and words to keep away from.

    Args:
        query: As for `as_item`; None, or words without a letter, for none.
        image: A picture or a list of pictures to look like, also; here a `str` is a path.
        negative: Words to keep away from.
        text_weight, image_weight, negative_weight: Of the words, of each picture and of each of the words to
            keep away from.

    Raises:
        UsageError: nothing is asked, something is of no kind that can be asked, or a weight is no
            number that means something.
    """
    weights = {"text": text_weight, "image": image_weight, "negative": negative_weight}
    for name, weight in weights.items():
        if not isinstance(weight, int | float | np.number) or not math.isfinite(weight):
            raise UsageError(f"the weight of a query's {name} part must be a finite number, not {weight!r}")
        if not _LIGHTEST <= abs(weight) <= _HEAVIEST:
            raise UsageError(
                f"the weight of a query's {name} part must lie between {_LIGHTEST:g} and {_HEAVIEST:g}, not "
                f"{weight:g}; leave out a part that is not to count"
            )
    terms: list[tuple[float, Item]] = []
    if isinstance(query, str) and not query.strip():
        query = None
    if query is not None:
        item = as_item(query)
        own = image_weight if item.text is None and not isinstance(query, Item) else text_weight
        terms.append((1.0 if isinstance(query, Item) else own, item))
    for one in image if isinstance(image, list | tuple) else [image]:
        terms.append((image_weight, Item(image=picture_of(one, paths=(str, os.PathLike)))))
    if not terms:
        raise UsageError("nothing was asked; give words or a picture")
    for text in negative if isinstance(negative, Iterable) and not isinstance(negative, str) else [negative]:
        if not isinstance(text, str):
            raise UsageError(f"what to keep away from is said in words, not by {type_of(text)}")
        if text.strip():
            terms.append((-negative_weight, Item(text=_words(text))))
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
    if item.image is not None:
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
            f"{home.place} has no codes, so it is searched exactly and finds everything; ask for no recall, "
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
