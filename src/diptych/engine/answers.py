"""From hits to results: what is there of them, which are good enough, and what is told of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.core import Rows
from diptych.engine import calibration
from diptych.engine.fusion import Fused, InWords
from diptych.engine.gallery import Gallery
from diptych.engine.homes.base import Home
from diptych.engine.homes.entries import Stored
from diptych.engine.listing import Listed
from diptych.engine.opening import Opened
from diptych.engine.presence import Presence
from diptych.engine.results import Result, Word
from diptych.errors import UsageError
from diptych.media.metadata import shown

__all__ = ["Missing", "best_of", "good_enough", "results_of"]

_LOOKED_AT = 64  # hits that are read at a time


def best_of(
    home: Home, gallery: Gallery, every: Fused, missing: Missing, words: InWords | None
) -> list[Result]:
    """The first entry that is there, if there is any."""
    first = next(missing.here(gallery, every.rows, 1), None)
    return [] if first is None else results_of(home, every, [Listed(*first)], words)


def results_of(home: Home, found: Fused, listed: Sequence[Listed], words: InWords | None) -> list[Result]:
    """Results in the order of what is listed.

    Args:
        home: Says where words stand.
        found: All entries.
        listed: Those to show.
        words: What was looked for as words.
    """
    home.check_shown(entry for one in listed for entry in (one.entry, *one.copies))
    named = [one.entry.row for one in listed if found.by[one.place] != "vectors"]
    sources = home.words_from(named, words.text) if named and words is not None else {}
    results = []
    for rank, one in enumerate(listed, 1):
        at, entry = one.place, one.entry
        percentile = None if np.isnan(found.relevance[at]) else float(found.relevance[at])
        result = Result(
            rank,
            float(found.scores[at]),
            percentile,
            calibration.word(percentile),
            entry.side,
            entry.id,
            entry.path,
            "\n".join(entry.captions) or None if entry.side == "image" else entry.text,
            shown(entry.fields) | ({"source": entry.source} if entry.source else {}),
            found.by[at],
            float(found.shares[at]),
            sources.get(entry.row, ""),
            tuple(copy.id for copy in one.copies),
            entry.row,
        )
        results.append(result)
    return results


def good_enough(found: Fused, least: float | Word | None) -> NDArray[np.bool_]:
    """Which entries (n,) score enough, or are relevant enough or have all words that were asked for.

    Raises:
        UsageError: a word is asked for and hits have none.
    """
    real = np.isfinite(found.scores)  # what has no vector has no score
    if isinstance(least, str):
        if np.isnan(found.relevance[real]).any():
            raise UsageError(
                f"these results are not calibrated, so none is known to be {least}; give the lowest score as "
                "a number"
            )
        return np.asarray(real & ((found.relevance >= calibration.LEAST[least]) | (found.shares == 1)))
    return np.asarray(real & (found.scores >= (-np.inf if least is None else least)))


class Missing:
    """Passes over entries whose files are not there; of a whole folder that is away it looks at one only.

    Args:
        opened: Of which collection.
        gallery: Its entries.
    """

    def __init__(self, opened: Opened, gallery: Gallery) -> None:
        self._presence, self._root = Presence(), opened.folder
        self._folders: set[Path] = set()
        self._away = np.zeros(len(gallery), np.bool_)

    @property
    def away(self) -> int:
        """How many entries are known to be in folders that are away."""
        return int(np.count_nonzero(self._away))

    def is_here(self, stored: Stored) -> bool:
        """Whether an entry's file is there, or it has none."""
        return stored.path is None or self._presence.of(stored.path) == "here"

    def here(self, gallery: Gallery, hits: Rows, k: int) -> Iterator[tuple[int, Stored]]:
        """Places among the hits (m,) of those that are there, in order, and what is stored of them.

        Args:
            gallery: Their entries.
            hits: Best first.
            k: How many are likely to be asked for.
        """
        at = 0
        while at < len(hits):
            part = at + np.flatnonzero(~self._away[hits[at:]])[: max(k, _LOOKED_AT)]
            for place, stored in zip(part.tolist(), gallery.stored(hits[part], shown=False), strict=True):
                if self._away[hits[place]]:
                    continue
                if self.is_here(stored):
                    yield place, stored
                elif stored.path is not None and self._presence.of(stored.path) == "away":
                    self._leave_out(gallery, stored.path)
            at = int(part[-1]) + 1 if len(part) else len(hits)

    def _leave_out(self, gallery: Gallery, path: Path) -> None:
        folder = self._presence.folder_away(path, below=self._root)
        if folder is not None and folder not in self._folders:
            self._folders.add(folder)
            self._away[gallery.below(folder)] = True
