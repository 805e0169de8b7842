"""What an opened collection holds, to look at."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diptych import similarity
from diptych.core import SIDES, Floats, Item, Side
from diptych.engine import ignoring
from diptych.engine.gallery import Gallery, gallery_of, item_of_file
from diptych.engine.opening import Opened
from diptych.engine.place import absolute
from diptych.engine.plan import LOOSE
from diptych.engine.query import check_side
from diptych.engine.results import ModelFacts
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

    def count(self, side: Side) -> int:
        """How many pictures or texts there are.

        Raises:
            UsageError: it is no side.
        """
        check_side("side", side)
        return self.home.count(side)

    def get(self, name: str | Path) -> Item | None:
        """The item of a file, a picture with its captions or a list of texts, one a line; None if unknown.

        Args:
            name: The file, or its `id` in results: its path from the collection's folder.
        """
        path = absolute(name)
        keys = os.fsencode(Path(name).as_posix()), self.home.key(path)
        with self.home.snapshot():  # a file's rows and what they hold are of one moment
            return next((item for item in (item_of_file(self.home, key) for key in keys) if item), None)

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
            "place": str(self.place),
            "model": self.model,
            "fingerprint": None if column is None else column.fingerprint or None,
            "models": [model.as_dict() for model in self.models()],
            "images": self.count("image"),
            "texts": self.count("text"),
            "bytes": sum(file.stat().st_size for file in self.place.rglob("*") if file.is_file()),
            "codes": self.home.codes,
            "excludes": list(self.excludes),
            "skipped": {
                str(self.home.path(key)): reason for key, reason, *_ in self.home.skipped() if reason != LOOSE
            },
            "check": self.home.check(),
        }
