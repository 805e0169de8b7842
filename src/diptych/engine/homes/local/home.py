"""local: an SQLite file on one machine that holds everything, and disposable search files beside it.

Address: a folder
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats, Rows, Searchable, Side
from diptych.engine.homes.base import Home
from diptych.engine.homes.entries import VectorColumn
from diptych.engine.homes.local.record import Record
from diptych.engine.homes.local.search_files import SearchFiles
from diptych.engine.homes.local.snapshot import Snapshot
from diptych.engine.place import writing

if TYPE_CHECKING:
    from diptych.engine.homes.local.coded import Coded

__all__ = ["Local"]

T = TypeVar("T")

_BESIDE = re.compile(r"(?:image|text)-(\d+)\..*")  # names of search files of further columns


class Local(Record):
    """A `Home` in a folder; see `Record`."""

    def __init__(self, path: Path, root: Path) -> None:
        super().__init__(path, root)
        self._files: dict[tuple[Side, VectorColumn | None], SearchFiles] = {}
        self._coded: dict[str, Coded] = {}

    @property
    def name(self) -> str:
        """What it is called where people read it."""
        return str(self.place)

    @property
    def size(self) -> int:
        """Bytes of its files."""
        found = (Path(folder, name) for folder, _, names in os.walk(self.place) for name in names)
        return sum(map(_bytes, found))

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock of the one who may write."""
        with writing(self.place, self.root):
            yield

    def again(self, action: Callable[[], T]) -> T:
        """What a function gives that only reads; a file has no connection that could be lost."""
        return action()

    @property
    def search_folder(self) -> Path:
        """Where the search files are; deleting it loses nothing."""
        return self.place / "search"

    def search_files(self, side: Side) -> SearchFiles:
        """The search files of a side, for the column that searches use now."""
        column = self.column
        if (side, column) not in self._files:
            kind = "cosine" if column is None else column.similarity
            # They stay with their column, should another be made the main one.
            record = self if column is None else self.using(column)
            self._files[side, column] = SearchFiles(record, side, kind=kind, folder=self.search_folder)
        return self._files[side, column]

    def vectors_now(self, side: Side) -> Snapshot:
        """The vectors of a side as this thread sees them now."""
        return self.search_files(side).snapshot()

    def get_ready(self, side: Side) -> None:
        """Load what the next search of a side needs."""
        if self.column is not None:
            self.search_files(side).get_ready()

    def tidy(self) -> None:
        """Remove what was left of search files: of dropped columns, or by those who were killed meanwhile.

        One that is being written now is missed by nobody: who does serves from memory, and the next makes it.
        """
        there = {str(column.id) for column in self.columns()}
        dropped = (
            path
            for path in self.search_folder.glob("*-*")
            if (named := _BESIDE.fullmatch(path.name)) and named[1] not in there
        )
        for path in (*self.search_folder.glob("*.part"), *dropped):
            with contextlib.suppress(OSError):
                path.unlink()

    # Codes

    @property
    def codes(self) -> Mapping[str, Any] | None:
        """What is known of the pictures' binary codes; None if there are none, or nothing sensible is."""
        told = self.get(self.of_column("codes"))
        return None if told is None else self.coded(told).facts or None

    def coded(self, told: str) -> Coded:
        """Search over codes.

        Args:
            told: What the record says of them, which another process may have made again.
        """
        from diptych.engine.homes.local.coded import Coded

        name = self.of_column("codes")
        if name not in self._coded or self._coded[name].told != told:
            files = self.search_files("image")
            self._coded[name] = Coded(files.record, files, self.search_folder)
        return self._coded[name]

    def packed(self) -> tuple[Rows, NDArray[np.uint8]] | None:
        """Rows (n,) of the pictures, ascending, and their codes (n, bits / 8); None if there are none."""
        column, told = self.column, self.get(self.of_column("codes"))
        if column is not None and column.type == "bits":
            return self.vectors_now("image").stored()
        coded = None if told is None else self.coded(told)
        return coded.packed() if coded is not None and coded.usable else None

    def quick(self, sides: Sequence[Side], recall: float | None, k: int) -> Searchable | None:
        """What searches pictures in two stages; None if only exact search promises the recall."""
        told = self.get(self.of_column("codes"))
        return None if told is None else self.coded(told).asked(sides, recall, k)

    def make_codes(self, by: int | str, encode_texts: Callable[[Sequence[str]], Floats]) -> Mapping[str, Any]:
        """Give the pictures binary codes; see `Collection.make_codes`."""
        from diptych.engine.homes.local.coded import like_asked, make_codes

        texts = like_asked(self, encode_texts)
        files = self.search_files("image")
        return make_codes(files.record, files, self.search_folder, by=by, texts=texts)

    def keep_codes(self, encode_texts: Callable[[Sequence[str]], Floats]) -> None:
        """Make codes of what came new; learn and calibrate them again where that is much."""
        told = self.get(self.of_column("codes"))
        if told is None or not self.last_row("image"):
            return
        coded = self.coded(told)
        if coded.usable and coded.outgrown:
            self.make_codes(coded.facts.get("system", coded.facts["bits"]), encode_texts)
        elif coded.usable:
            coded.get_ready()

    def take_codes(self, other: Home) -> None:
        """Have codes as another home has them, whose vectors are of the same model; the caller may write."""
        facts = other.codes
        if facts is None or not facts["bits"] or self.codes is not None:
            return  # nothing, or a graph, which is the other home's own
        rotation = other.get(other.of_column("codes_rotation")) or ""
        with self.batch(changes=False):
            self.set(self.of_column("codes"), json.dumps({**facts, "last_row": self.last_row("image")}))
            self.set(self.of_column("codes_rotation"), rotation)


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # search files come and go while others look
        return 0
