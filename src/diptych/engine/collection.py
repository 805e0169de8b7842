"""A collection of pictures and texts that can be searched both ways: the main thing a user holds.

SQLite is the record of everything (`diptych.engine.record`); what makes searching fast is a disposable cache
(`diptych.engine.search_files`). A search is the same `diptych.pipeline` stage that the benchmark runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from diptych.core import Index, Item, Rows, Scorer, Stage
from diptych.engine.results import Progress, Result, Results, Skipped, Summary

__all__ = ["Collection", "Gallery", "Progress", "Result", "Results", "Skipped", "Summary", "find", "open"]

Side = Literal["image", "text"]
Query = str | Path | Item


def find(path: str | Path) -> Path | None:
    """The database that `open` would use for a path: its own, or that of the nearest folder above; or None."""
    raise NotImplementedError


def open(
    path: str | Path, *, model: Any = None, create: bool = True, switch: bool = False
) -> Collection:
    """The collection of a folder: its own, that of the nearest folder above, or a new and empty one.

    The database is ``.diptych/collection.sqlite`` inside the folder; where that cannot be written, a folder
    of the user's data directory (environment variable DIPTYCH_HOME moves that).

    Args:
        path: A folder, or the collection file itself (ending in ``.sqlite``).
        model: An encoder or its name; None for the one the collection was indexed with, or the built-in one.
        create: Make a new collection where there is none.
        switch: Use `model` although the collection was indexed with another one; the next `add` encodes
            everything anew, and the old vectors stay beside the new.

    Raises:
        CollectionError: there is none and `create` is false, or it cannot be read.
        WrongModel: it was indexed with another model, and `switch` is false.
        TooNew: a later version of Diptych wrote it.
    """
    raise NotImplementedError


class Collection:
    """Pictures and texts under a folder, with their vectors. Made by `open`; close it or use `with`.

    Attributes:
        path: The database.
        root: The folder it belongs to; None if it was opened by its file and belongs to none.
        within: Results are limited to this folder (set when a sub-folder was opened); None for no limit.
    """

    path: Path
    root: Path | None
    within: Path | None

    @property
    def encoder(self) -> Any:
        """The model, loaded on first use."""
        raise NotImplementedError

    def add(
        self,
        *sources: str | Path | Item | Iterable[str | Path | Item],
        recursive: bool = True,
        on_progress: Callable[[Progress], None] | None = None,
        batch_size: int | None = None,
    ) -> Summary:
        """Take in what is new or changed, and let go of what is no longer there.

        Unchanged files are not read; moved, renamed and copied ones not encoded. A file that cannot be
        taken is skipped and listed. Each batch is one transaction: when the process is killed, at most the
        batch in flight is lost and the next call goes on.

        Args:
            sources: Folders, files, globs, or items (with a text, or with a picture and an id); also
                iterables of these. Nothing: the collection's own folder.
            recursive: Go into folders inside folders.
            on_progress: Called after each file.
            batch_size: Pictures encoded at once; None for the model's own choice.

        Raises:
            UsageError: a path or glob that names nothing.
            CollectionBusy: another process is writing.
            WrongModel: the collection holds vectors of another model.
        """
        raise NotImplementedError

    def remove(self, *paths: str | Path) -> int:
        """Forget files, folders or ids (the files themselves stay); returns how many entries went."""
        raise NotImplementedError

    def search(
        self,
        query: Query | None = None,
        *,
        image: Any = None,
        negative: Query | Sequence[Query] = (),
        text_weight: float = 1.0,
        image_weight: float = 1.0,
        negative_weight: float = 0.5,
        to: Side | Literal["any"] = "image",
        k: int = 10,
        min_score: float | None = None,
        min_probability: float | None = None,
        within: str | Path | Sequence[str | Path] | None = None,
        words: str | None = None,
        rerank: Scorer | None = None,
        depth: int = 100,
    ) -> Results:
        """The k entries that match best.

        Args:
            query: A text, the `Path` of a picture, or an `Item` (perhaps composed of weighted terms).
            image: A picture (path, PIL picture) to search with, alone or together with `query`.
            negative: What the results should not be like.
            text_weight, image_weight, negative_weight: Weights of the three parts.
            to: Find pictures ("image"), texts ("text") or both ("any").
            k: How many.
            min_score, min_probability: Leave out hits below.
            within: Only entries under these folders or files.
            words: Only entries whose caption or name contains these words (SQLite FTS5 query).
            rerank: A scorer that puts the best `depth` hits in a new order.
            depth: See `rerank`.

        Raises:
            UsageError: there is nothing to search with, or `k` is not positive.
            ImageError: a query picture cannot be read.
        """
        raise NotImplementedError

    def search_many(self, queries: Sequence[Query], *, to: Side = "image", k: int = 10) -> list[Results]:
        """`search` of many queries at once, which is faster than one by one."""
        raise NotImplementedError

    def stage(self, k: int, *, to: Side = "image", within: Rows | None = None) -> Stage:
        """The pipeline stage that a search runs."""
        raise NotImplementedError

    def gallery(self, to: Side = "image") -> Gallery:
        """The entries of one side, in the order of the index's rows."""
        raise NotImplementedError

    def search_index(self, to: Side) -> Index:
        """The index of one side; its rows are positions in `gallery(to)`."""
        raise NotImplementedError

    def items(self, side: Side | None = None) -> Iterator[Item]:
        """Every entry (of one side), in the order it was added."""
        raise NotImplementedError

    def skipped(self) -> list[Skipped]:
        """Files that could not be taken so far."""
        raise NotImplementedError

    def info(self) -> dict[str, Any]:
        """Facts for people and machines.

        Keys: "path", "root", "schema", "model", "fingerprint", "similarity", "dim", "images", "texts",
        "files", "skipped", "bytes" (database), "cache_bytes" (search files), "updated" (seconds since 1970).
        """
        raise NotImplementedError

    def watch(
        self,
        *sources: str | Path,
        on_update: Callable[[Summary], None] | None = None,
        stop: Any = None,
    ) -> None:
        """Keep the collection current until interrupted or `stop` (a `threading.Event`) is set.

        Raises:
            MissingExtra: the package that watches folders is not installed.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the database."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Gallery(Sequence[Item]):
    """One side of a collection as a sequence of items, read from the record when looked at."""
