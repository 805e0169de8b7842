"""What an opened collection holds, to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diptych import similarity
from diptych.core import SIDES, Floats, Item, Rows, Side
from diptych.engine import ignoring
from diptych.engine.conditions import Condition
from diptych.engine.filters import checked, known_field
from diptych.engine.gallery import Gallery, gallery_of, item_of_rows, limited, rows_named
from diptych.engine.homes.names import path_or_id
from diptych.engine.opening import Opened
from diptych.engine.plan import LOOSE
from diptych.engine.query import check_side
from diptych.engine.results import ModelFacts
from diptych.errors import UsageError
from diptych.media.metadata import Value
from diptych.media.report import counted

__all__ = ["Contents"]


class Contents(Opened):
    """The pictures and texts of a collection.

    Has a length, their number, and gives them one after the other as `Item`s.
    """

    def __len__(self) -> int:
        return self.count("image") + self.count("text")

    def __iter__(self) -> Iterator[Item]:
        for side in SIDES:
            yield from self.gallery(side)

    def __repr__(self) -> str:
        counts = f"{counted(self.count('image'), 'pictures')}, {counted(self.count('text'), 'texts')}"
        return f"<Collection of {self.folder}: {counts}, {self.model}>"

    def count(self, side: Side = "image", *, where: str | Condition | None = None) -> int:
        """How many pictures or texts there are, exactly.

        Args:
            side: "image" or "text".
            where: Counts those whose fields fulfil this, in the folder that was opened; as for
                `Collection.search`. None counts all of the whole collection.

        Raises:
            UsageError: it is no side, or the filter is none.
        """
        check_side("side", side)
        if where is None:
            return self.home.count(side)
        with self.home.snapshot():
            found = self._limited(side, where)
            assert found is not None, "a filter limits"
            return len(found)

    def facets(
        self, name: str, *, where: str | Condition | None = None, side: Side = "image"
    ) -> dict[Value | None, int]:
        """How many pictures have each value of a field, exactly, the most frequent first.

        Those without any value are counted last, under None. A picture with several, such as tags, counts for
        each of them.

        Args:
            name: Of the field; "year" counts the years of the dates.
            where: Counts only those whose fields fulfil this; as for `Collection.search`.
            side: "image", or "text" for the texts of the files.

        Raises:
            UsageError: there is no such field, each picture has a value of its own of it, or the filter is
                none.
        """
        check_side("side", side)
        found = known_field(name, self.home.field_names())
        if found in ("size", "modified", "name"):
            raise UsageError(f"nearly every file has a {found} of its own; count by what many share")
        with self.home.snapshot():
            return dict(self.home.facets(side, found, self._limited(side, where)))

    def _limited(self, side: Side, where: str | Condition | None) -> Rows | None:
        condition = None if where is None else checked(where, self.home.field_names())
        return limited(self, side, condition)

    def get(self, name: str | Path) -> Item | None:
        """The item of a file, a picture with its captions or a list of texts, one a line; None if unknown.

        Args:
            name: The file, or its `id` in results: its path from the collection's folder, or that which a
                program gave it.
        """
        with self.home.snapshot():  # a file's rows and what they hold are of one moment
            rows = rows_named(self.home, name)
            return item_of_rows(self.home, rows) if rows else None

    def vectors(self, side: Side) -> tuple[list[str], Floats]:
        """The `id` of every item of a side that has a vector, and these (n, d); of binary codes, +1 and -1.

        Raises:
            UsageError: it is no side.
        """
        check_side("side", side)
        with self.home.snapshot():
            _, kept = self.home.vectors_now(side).stored()
            column = self.home.column
            codes = column is not None and column.type == "bits"
            return self.home.ids(side), similarity.unpack(kept) if codes else kept.astype(np.float32)

    def gallery(self, to: Side) -> Gallery:
        """The items of a side as they are now, with what searches them; see `diptych.pipeline.over`.

        Raises:
            UsageError: it is no side.
        """
        check_side("to", to)
        return gallery_of(self, to)

    @property
    def excludes(self) -> tuple[str, ...]:
        """The patterns of files and folders that are left out; see `Collection.exclude`."""
        return ignoring.kept(self.home)

    def models(self) -> list[ModelFacts]:
        """The models that it has vectors of, the default first."""
        with self.home.snapshot():
            return [
                ModelFacts(
                    column.model,
                    column.name == "main",
                    column.fingerprint,
                    column.similarity,
                    column.dimensions,
                    home.count_vectors("image"),
                    home.count_vectors("text"),
                    home.codes,
                )
                for column in self.home.columns()
                if (home := self.home.using(column))
            ]

    def info(self) -> Mapping[str, Any]:
        """What it holds: folder, models, counts, size in bytes, skipped files, its verdict on itself."""
        column = self.home.column
        return {
            "folder": str(self.folder),
            "place": self.home.name,
            "model": self.model,
            "fingerprint": None if column is None else column.fingerprint or None,
            "models": [model.as_dict() for model in self.models()],
            "images": self.count("image"),
            "texts": self.count("text"),
            "bytes": self.home.size,
            "codes": self.home.codes,
            "excludes": list(self.excludes),
            "skipped": {
                str(path_or_id(self.home, key)): reason
                for key, reason, *_ in self.home.skipped()
                if reason != LOOSE
            },
            "check": self.home.check(),
        }
