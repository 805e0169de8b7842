"""In which order hits are listed, where that is not by score alone, and which are nearly the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diptych import similarity
from diptych.core import Floats, Rows, Side
from diptych.engine import diversity, hubness
from diptych.engine.duplicates import NEAR_AMONG, alike
from diptych.engine.gallery import Gallery
from diptych.engine.homes.base import Home
from diptych.engine.listing import Alike, Listed
from diptych.engine.looks import Looks
from diptych.engine.query import Options

__all__ = ["Arrangement"]


class Arrangement:
    """How the hits of a search are arranged, block by block, so that pages are parts of one list.

    Args:
        home: What is searched.
        options: What is asked for.
        sides: What each query is; None where one has several parts.

    Attributes:
        among: Hits that are looked at, at least.
        needed: Entries that are listed before they are ordered, at least.

    Raises:
        UsageError: hubness is to be corrected of vectors that do not compare by cosine, or with too few.
    """

    def __init__(self, home: Home, options: Options, sides: Sequence[Side] | None) -> None:
        self._options, self._sides, self._looks = options, sides, Looks()
        self.needed = options.needed
        if options.diverse:
            self.needed = -(-options.needed // diversity.AMONG) * diversity.AMONG
        self.among = max(
            diversity.AMONG if options.diverse else options.k,
            NEAR_AMONG if options.fold == "near" else 0,
            hubness.AMONG if options.hubness else 0,
        )
        self._banks: dict[Side, Floats] = {}
        if options.hubness:
            asked: Sequence[Side] = sides or ("text",)
            for side in dict.fromkeys(asked):
                self._banks[side] = hubness.bank_of(home, side)

    def of_hits(self, query: int, gallery: Gallery, places: Rows, scores: Floats) -> Rows:
        """The order (m,) of a query's hits without what hubs gain by being hubs; scores (m,) are cosines."""
        if not self._banks or not len(places):
            return np.arange(len(places))
        bank = self._banks["text" if self._sides is None else self._sides[query]]
        first = places[: hubness.AMONG]
        lower = hubness.bias(bank, similarity.unit(gallery.vectors(first)))
        order = np.argsort(-(scores[: len(first)] - lower), kind="stable")
        return np.concatenate([order, np.arange(len(first), len(places))])

    def alike(self, gallery: Gallery, places: Rows) -> Alike | None:
        """What finds nearly the same among hits (m,), where they are folded."""
        return alike(gallery, places, self._looks) if self._options.fold == "near" else None

    def of_entries(
        self, entries: Sequence[Listed], gallery: Gallery, places: Rows, scores: Floats
    ) -> list[Listed]:
        """What is listed, with entries that are unlike those before sooner.

        Args:
            entries: Best first.
            gallery: Holds the vectors.
            places, scores: (m,) of the hits that they are of.
        """
        if not self._options.diverse:
            return list(entries)
        ordered: list[Listed] = []
        for start in range(0, len(entries), diversity.AMONG):
            block = entries[start : start + diversity.AMONG]
            at = np.array([one.place for one in block])
            vectors = similarity.unit(gallery.vectors(places[at]))
            order = diversity.diversified(scores[at], vectors, self._options.diverse)
            ordered += [block[one] for one in order.tolist()]
        return ordered
