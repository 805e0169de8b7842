"""Which hits of a query are listed: files that are there, copies under the first of them, page by page.

What is listed before an entry never depends on how many hits were looked at after it, so that pages of one
size neither repeat an entry nor leave one out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from diptych.core import Rows
from diptych.engine.homes.base import Home
from diptych.engine.homes.entries import Stored
from diptych.index.flat import among

__all__ = ["Alike", "Fold", "Listed", "Listing", "in_order", "listing", "with_copies"]

Fold = Literal["exact", "near"]
"""Copies that are told under the best: files of the same content, or nearly the same pictures, too."""


@dataclass(slots=True)
class Listed:
    """A hit that is listed.

    Args:
        place: Among the hits that were looked at.
        entry: What it is.
        copies: What is told under it: hits nearly the same, and what has the same content.
    """

    place: int
    entry: Stored
    copies: list[Stored] = field(default_factory=list)


Alike = Callable[[int, Stored, Sequence[Listed]], Listed | None]
"""Given the place of a hit, what it is, and what is listed, which of these it is nearly the same as."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What is listed of a query's hits.

    Args:
        entries: Best first.
        missing: Hits, as good as these, whose files are not there.
        complete: Whether further hits change nothing in it.
    """

    entries: list[Listed]
    missing: int
    complete: bool


def listing(
    hits: Iterable[tuple[int, Stored]],
    count: int,
    needed: int,
    *,
    without: Set[int] = frozenset(),
    fold: Fold | None = "exact",
    alike: Alike | None = None,
) -> Listing:
    """What is listed of a query's hits, copies of the same content left out; see `with_copies`.

    Args:
        hits: Place and entry of those whose files are there, best first; no more are asked for than it takes.
        count: Hits altogether.
        needed: Entries that are wanted.
        without: Rows that are left out.
        fold: Which copies are folded.
        alike: Finds what a hit is nearly the same as, for `fold` "near".
    """
    entries: list[Listed] = []
    known: set[Hashable] = set()
    seen = missing = 0
    for place, hit in hits:
        full = len(entries) == needed
        if full and alike is None:
            return Listing(entries, missing, True)
        seen += 1
        if hit.row in without:
            continue
        if fold and _content(hit) in known:
            continue
        first = alike(place, hit, entries) if alike is not None and hit.side == "image" else None
        if first is not None:
            first.copies.append(hit)
            known.add(_content(hit))
        elif not full:
            entries.append(Listed(place, hit))
            known.add(_content(hit))
            missing = place + 1 - seen
    full = len(entries) == needed
    return Listing(entries, missing if full else count - seen, full)


def with_copies(
    home: Home, listed: Sequence[Listed], within: Rows, is_here: Callable[[Stored], bool], without: Set[int]
) -> list[Listed]:
    """What is listed, with what has the same content as any of it: however far behind that was found.

    Args:
        home: Knows of what content things are.
        listed: Gets them.
        within: (n,) rows, ascending, that are searched.
        is_here: Whether the file of an entry is there.
        without: Rows that are left out.
    """
    twins = home.copies([one.row for of in listed for one in (of.entry, *of.copies)])
    for of in listed:
        known = {of.entry.row, *(one.row for one in of.copies)} | without
        rows = np.array(sorted({row for one in known for row in twins.get(one, ())} - known), np.int64)
        if len(rows):
            rows = rows[among(rows, within)]
            of.copies.extend(one for one in home.items(rows.tolist()) if is_here(one))
    return list(listed)


def in_order(before: list[int], hits: Rows) -> Rows:
    """Places (m,) of a query's hits in the order in which a search that went deeper and deeper gave them.

    Over codes, a deeper search may find better entries than a less deep one did; they come after those.

    Args:
        before: Entries that were found by now; gets the new ones.
        hits: (m,) entries, best first.
    """
    before.extend(hits[~np.isin(hits, before)].tolist())
    at = {entry: place for place, entry in enumerate(hits.tolist())}
    return np.array([at[entry] for entry in before if entry in at], np.int64)


def _content(hit: Stored) -> Hashable:
    """Equal for copies: files of the same content, of texts those with the same words."""
    return hit.hash, hit.text
