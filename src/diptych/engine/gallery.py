"""One side of a collection as a gallery: its entries numbered from 0, and what searches them."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats, Hits, Item, Rows, Searchable, Side
from diptych.engine.conditions import Condition
from diptych.engine.homes.base import Home, Vectors
from diptych.engine.homes.entries import Stored, Worded
from diptych.engine.homes.names import own_key
from diptych.engine.opening import Opened
from diptych.engine.place import absolute
from diptych.index.flat import among, places_of

__all__ = ["Gallery", "Unseen", "gallery_of", "item_of", "item_of_rows", "limited", "rows_named"]

_KEPT = 4  # filtered galleries
_READ = 256  # entries that are read at a time while all are looked through


class Gallery(Sequence[Item]):
    """One side of a collection as it was at one moment: entries 0 .. n - 1, in the order in which they came.

    For `diptych.pipeline.over`, which asks it for what searches it. An entry of the image side is a picture's
    path with its captions, one a line; one of the text side a text with its picture's path in `meta`. Entries
    that were removed since are not there any more: looking at one raises `CollectionError`.

    Args:
        home: Holds the entries.
        snapshot: Their vectors.
        side: Which side of the collection.
        fits: Whether an encoder is the one whose vectors these are.
        within: Rows (m,) of the home, ascending, that the gallery is limited to; all, if None.
    """

    def __init__(
        self,
        home: Home,
        snapshot: Vectors,
        side: Side,
        *,
        fits: Callable[[Any], bool],
        within: Rows | None = None,
    ) -> None:
        self.side = side
        self._home, self._snapshot, self._fits, self._within = home, snapshot, fits, within
        self._limited = within is not None
        self._rows: Rows = snapshot.rows
        if within is not None:
            self._rows = self._rows[places_of(self._rows, within)]
            self._rows.flags.writeable = False  # so that what searches them may remember them
        self._searched_by: Searchable = snapshot

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(f"there is no entry {place} of {len(self)}")
        return item_of(self._home.items([int(self._rows[place])])[0])

    def __iter__(self) -> Iterator[Item]:
        for start in range(0, len(self), _READ):
            yield from map(item_of, self._home.items(self._rows[start : start + _READ].tolist()))

    def __repr__(self) -> str:
        return f"<Gallery: {len(self)} {self.side}s in {self._home.name}>"

    def words(self, text: str, *, without: Sequence[str] = (), also: Rows | None = None) -> Worded:
        """The entries that share words with a text; see `Home.words`. Rows are places, in and out."""
        found = self._home.words(
            self.side,
            text,
            without=without,
            within=self._rows if self._limited else None,
            also=None if also is None else np.sort(self._rows[also]),
        )
        known = among(found.rows, self._rows)
        places = np.searchsorted(self._rows, found.rows[known])
        return Worded(places, found.shares[known], found.phrases[known])

    def scores(self, encoder: Any, vector: Floats, places: Rows) -> Floats:
        """Scores (m,) of a query's vector (d,) with entries (m,), ascending; -inf without a vector."""
        assert self._fits(encoder), "an encoder compares with its own vectors"
        rows = self._rows[places]
        found = self._snapshot.search(vector[None], max(len(rows), 1), rows)
        scores = np.full(len(rows), -np.inf, np.float32)
        real = found.rows[0] >= 0
        scores[np.searchsorted(rows, found.rows[0][real])] = found.scores[0][real]
        return scores

    def stored(self, places: Rows, *, shown: bool = True) -> list[Stored]:
        """What the home holds of entries (m,); `shown` as for `Home.items`.

        Raises:
            CollectionError: one was removed since.
        """
        return self._home.items(self._rows[places].tolist(), shown=shown)

    def below(self, folder: Path) -> Rows:
        """The entries whose files lie below a folder, ascending."""
        rows = np.array(self._home.rows(self.side, under=self._home.key(folder)), np.int64)
        return places_of(self._rows, rows)

    @property
    def rows(self) -> Rows:
        """The home's rows (n,) of the entries, ascending."""
        return self._rows

    def vectors(self, places: Rows) -> Floats:
        """The stored vectors (m, d) of entries (m,)."""
        return self._snapshot.of(self._rows[places])

    def searchable(self, encoder: Any) -> Searchable | None:
        """What searches the vectors that an encoder made of the entries; None if none are kept.

        Its rows are places in the gallery.
        """
        return _ByPlace(self._searched_by, self._rows, limited=self._limited) if self._fits(encoder) else None

    def sees(self, snapshot: Vectors) -> bool:
        """Whether it was made of this very snapshot."""
        return self._snapshot is snapshot

    def is_of(self, home: Home, within: Rows, fits: Callable[[Any], bool]) -> bool:
        """Whether it was made of this very home and these very rows, for the same encoders."""
        return self._home is home and self._within is within and self._fits == fits

    def searched_by(self, index: Searchable | None) -> Gallery:
        """The same gallery, searched by another index over the same rows of the home, if there is one."""
        if index is None:
            return self
        changed = copy.copy(self)
        changed._searched_by = index
        return changed


class Unseen:
    """Items whose vectors nobody looks at, as `Vectors`.

    Args:
        rows: (n,) of them, ascending.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def of(self, rows: Rows) -> Floats:
        """Vectors of no dimensions."""
        return np.zeros((len(rows), 0), np.float32)

    def stored(self) -> tuple[Rows, NDArray[Any]]:
        """The rows, with vectors of no dimensions."""
        return self.rows, np.zeros((len(self.rows), 0), np.float16)

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> Hits:
        """None at all."""
        return Hits(np.full((len(vectors), k), -1, np.int64), np.full((len(vectors), k), -np.inf, np.float32))


def gallery_of(opened: Opened, side: Side, where: Condition | None = None) -> Gallery:
    """A side of an opened collection as it is now, limited to the folder that it was opened below.

    Args:
        opened: The collection.
        side: Of it.
        where: What the files must fulfil, checked.
    """
    home, fits, within = opened.home, opened.made_them, limited(opened, side, where)
    vectors = home.vectors_now(side)
    # A snapshot that is old holds files that may be deleted by now.
    current = [one for one in opened.galleries if one.side != side or one.sees(vectors)]
    made = next((one for one in current if within is not None and one.is_of(home, within, fits)), None)
    if made is None:
        made = Gallery(home, vectors, side, fits=fits, within=within)
        if within is not None and not within.flags.writeable:  # else the next search has another array
            current.insert(0, made)
    # Who types on or turns a page asks with the same filter, whose items are the same array then.
    opened.galleries = tuple(current[:_KEPT])
    return made


def limited(opened: Opened, side: Side, where: Condition | None) -> Rows | None:
    """The rows that a search of a side is limited to, ascending; None if it is to none.

    Args:
        opened, side, where: As for `gallery_of`.
    """
    home = opened.home
    within = None if where is None else home.matching(side, where)
    if opened.below is not None:
        below = np.array(home.rows(side, under=home.key(opened.below)), np.int64)
        within = below if within is None else within[among(within, below)]
    return within


def item_of(stored: Stored) -> Item:
    """An item of a collection as a query, or an entry to be ranked."""
    meta: dict[str, Any] = {"row": stored.row, "side": stored.side, "path": stored.path}
    if stored.side == "image":
        return Item(
            str(stored.path or stored.id),
            image=stored.path,
            text="\n".join(stored.captions) or None,
            meta=meta,
        )
    return Item(
        f"{stored.path or stored.id}#{stored.row}", text=stored.text, meta={**meta, "source": stored.source}
    )


def rows_named(home: Home, name: str | Path) -> list[int]:
    """The rows of what is called so, its picture first; none if it is not known.

    Args:
        home: Holds it.
        name: A file, or an `id` as results have it: a path from the collection's folder, or what a program
            called its item.

    Raises:
        UsageError: it is no name at all.
    """
    path = absolute(name)
    try:
        keys = os.fsencode(Path(name).as_posix()), home.key(path), own_key(os.fspath(name))
    except UnicodeEncodeError:  # half a character, which no name has
        return []
    return next((rows for key in keys if (rows := home.rows_of(key))), [])


def item_of_rows(home: Home, rows: Sequence[int]) -> Item:
    """The picture of a file with its captions, or its texts, one a line; `rows` are all that it has."""
    first, *others = home.items(rows)
    if first.side == "image":
        return item_of(first)
    text = "\n".join(str(one.text) for one in (first, *others))
    return Item(str(first.path or first.id), text=text, meta={"path": first.path})


class _ByPlace:
    """An index over rows of the home, asked for places in a gallery."""

    def __init__(self, index: Searchable, rows: Rows, *, limited: bool) -> None:
        self._index, self._rows, self._limited = index, rows, limited

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> Hits:
        """The k best places of each query (q, d), ties by place; only places of `within`, if given."""
        rows = self._rows if within is None else self._rows[within]
        hits = self._index.search(vectors, k, rows if self._limited or within is not None else None)
        places = np.searchsorted(self._rows, np.maximum(hits.rows, 0))
        return Hits(np.where(hits.rows < 0, -1, places), hits.scores)
