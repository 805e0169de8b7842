"""The home on one machine: an SQLite file that holds everything, and disposable search files beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.core import Floats, Searchable, Side
from diptych.engine.homes.base import VectorColumn
from diptych.engine.homes.local.record import Record
from diptych.engine.homes.local.search_files import SearchFiles
from diptych.engine.homes.local.snapshot import Snapshot

if TYPE_CHECKING:
    from diptych.engine.homes.local.coded import Coded

__all__ = ["Local"]

_TEXTS = 2000  # captions that codes learn from and are calibrated on, at most


class Local(Record):
    """A `Home` in a folder; see `Record`."""

    def __init__(self, path: Path, root: Path) -> None:
        super().__init__(path, root)
        self._files: dict[tuple[Side, VectorColumn | None], SearchFiles] = {}
        self._coded: Coded | None = None

    @property
    def search_folder(self) -> Path:
        """Where the search files are; deleting it loses nothing."""
        return self.place / "search"

    def search_files(self, side: Side) -> SearchFiles:
        """The search files of a side, for the column that searches use now."""
        column = self.column
        if (side, column) not in self._files:
            kind = "cosine" if column is None else column.similarity
            self._files[side, column] = SearchFiles(self, side, kind=kind, folder=self.search_folder)
        return self._files[side, column]

    def vectors_now(self, side: Side) -> Snapshot:
        """The vectors of a side as this thread sees them now."""
        return self.search_files(side).snapshot()

    def get_ready(self, side: Side) -> None:
        """Load what the next search of a side needs."""
        if self.column is not None:
            self.search_files(side).get_ready()

    def tidy(self) -> None:
        """Remove what was left of search files by those who were killed while they wrote them.

        One that is being written now is missed by nobody: who does serves from memory, and the next makes it.
        """
        for part in self.search_folder.glob("*.part"):
            with contextlib.suppress(OSError):
                part.unlink()

    # Codes

    @property
    def codes(self) -> Mapping[str, Any] | None:
        """What is known of the pictures' binary codes; None if there are none, or nothing sensible is."""
        told = self.get("codes")
        return None if told is None else self.coded(told).facts or None

    def coded(self, told: str) -> Coded:
        """Search over codes.

        Args:
            told: What the record says of them, which another process may have made again.
        """
        from diptych.engine.homes.local.coded import Coded

        if self._coded is None or self._coded.told != told:
            self._coded = Coded(self, self.search_files("image"), self.search_folder)
        return self._coded

    def quick(self, sides: Sequence[Side], recall: float | None, k: int) -> Searchable | None:
        """What searches pictures in two stages; None if only exact search promises the recall."""
        told = self.get("codes")
        return None if told is None else self.coded(told).asked(sides, recall, k)

    def make_codes(self, by: int | str, encode_texts: Callable[[Sequence[str]], Floats]) -> Mapping[str, Any]:
        """Give the pictures binary codes; see `Collection.make_codes`."""
        from diptych.engine.homes.local.coded import make_codes

        texts = self._like_asked(encode_texts)
        return make_codes(self, self.search_files("image"), self.search_folder, by=by, texts=texts)

    def keep_codes(self, encode_texts: Callable[[Sequence[str]], Floats]) -> None:
        """Make codes of what came new; learn and calibrate them again where that is much."""
        told = self.get("codes")
        if told is None or not self.count("image"):
            return
        coded = self.coded(told)
        if coded.usable and coded.outgrown:
            self.make_codes(coded.facts.get("system", coded.facts["bits"]), encode_texts)
        elif coded.usable:
            coded.get_ready()

    def _like_asked(self, encode_texts: Callable[[Sequence[str]], Floats]) -> Floats:
        """Vectors of texts like those that are asked for: the captions, or everyday ones."""
        from diptych.engine.homes.local.coded import FEWEST, everyday_queries

        _, captions = self.vectors_now("text").stored()
        if len(captions) >= 2 * FEWEST:  # half of them teach, half calibrate
            return np.asarray(captions[:: max(1, len(captions) // _TEXTS)], np.float32)
        named = np.asarray(encode_texts(everyday_queries()), np.float32)
        return named if not len(captions) else np.concatenate([named, np.asarray(captions, np.float32)])
