"""Collections: pictures and texts of a folder, kept current and searched.

Example:
    >>> with open_collection(pictures, model=model) as collection:
    ...     summary = collection.add(pictures)
    ...     [result.path.name for result in collection.search("green", k=1)]
    ['green.png']
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from diptych import similarity
from diptych.core import SIDES, Encoder, Floats, Item, Side, checked_k, offered
from diptych.engine.gallery import Gallery, item_of_file
from diptych.engine.homes.base import Home
from diptych.engine.homes.local.home import Local
from diptych.engine.model import DEFAULT_MODEL, Model, adopt, check_fingerprint, check_name, named_in
from diptych.engine.place import DATABASE, absolute, default_home, discard, find, place_of, writing
from diptych.engine.results import Progress, Result, Results, Skipped, Summary
from diptych.engine.search import answers, as_item, check_recall, check_score, composed, decoded, sides_of
from diptych.engine.trust import believe, check_model, check_origin, is_believed
from diptych.errors import MissingData, UsageError
from diptych.pipeline import Remembered, encode

if TYPE_CHECKING:
    from diptych.media.pictures import Source

__all__ = [
    "Collection",
    "Gallery",
    "Progress",
    "Result",
    "Results",
    "Skipped",
    "Summary",
    "default_home",
    "discard",
    "find",
    "open_collection",
]


def open_collection(
    path: str | Path, *, model: str | Encoder | None = None, create: bool = True, trust: bool = False
) -> Collection:
    """The collection of a folder, or of the nearest folder above it that has one.

    Args:
        path: A folder.
        model: A system's name, or an `Encoder`; needed only for a new collection (default: "builtin") or for
            an encoder that has no name. A name must be the one the collection was indexed with.
        create: Whether a collection may be made where there is none. Nothing is written before something is
            added to it.
        trust: Whether to believe a collection that was not made by this user on this machine, from now on: it
            says which model is loaded and where its files lie.

    Raises:
        MissingData: there is no collection and none may be made, or no such folder.
        WrongModel: the collection was indexed with another model.
        TooNew: it was written by a later version of Diptych.
        CollectionError: its file is damaged, or it is somebody else's and not trusted.
    """
    folder = find(path)
    start = absolute(path)
    if start != folder and not start.is_dir():
        what = "is not a folder" if os.path.lexists(start) else "does not exist"
        raise MissingData(f"{path} {what}; give the folder whose pictures are meant")
    if folder is None:
        if not create:
            raise MissingData(f"{path} has not been indexed; do so with: diptych index {path}")
        folder = start
    return Collection(folder, model=model, below=start if start != folder else None, trust=trust)


class Collection:
    """Pictures and texts of a folder, with the vectors that one model made of them.

    Has a length, the number of its pictures and texts, and gives them one after the other as `Item`s.

    Args:
        folder: The folder that is indexed.
        model: As for `open_collection`.
        below: Limit searches to this folder inside it.
        place: Where it lives, if not where collections of that folder do.
        trust: As for `open_collection`.

    Raises:
        UsageError: a new collection is asked for with a model that does not encode pictures.
        WrongModel, TooNew, CollectionError: as for `open_collection`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        model: Any = None,
        below: Path | None = None,
        place: Path | None = None,
        trust: bool = False,
    ) -> None:
        self.folder, self.below, self._given_place = folder, below, place
        new = find(folder) != folder if place is None else not (place / DATABASE).is_file()
        # A name is loaded when it is needed; what a new collection gets is tried before anything is founded.
        self._model = model if isinstance(model, Model) else None
        if self._model is None and model is not None and (new or not isinstance(model, str)):
            self._model = Model(model)
        if new and self._model is not None:
            self._model.try_pictures()
        self._named = isinstance(model, str)
        # Until something is added, a new collection is an empty one that is nowhere.
        self._nowhere = tempfile.TemporaryDirectory(prefix="diptych-") if new else None
        home = Local(
            (Path(self._nowhere.name) if self._nowhere else place or place_of(folder)) / DATABASE, folder
        )
        self._home: Home = home
        self._believed = new or trust or is_believed(home)
        try:
            if trust and not new:
                believe(home)
            elif not self._believed:
                check_origin(home, folder)
                home.believed = False
            if isinstance(model, str):
                check_name(home, folder, model)
            if self._model is not None and home.column is None:
                adopt(home, self._model)
        except BaseException:
            self.close()
            raise

    @property
    def home(self) -> Home:
        """Where it lives; once somebody has founded a new collection, there."""
        if self._nowhere is not None and self._is_there():
            self._found()
        return self._home

    def _is_there(self) -> bool:
        if self._given_place is not None:
            return (self._given_place / DATABASE).is_file()
        return find(self.folder) == self.folder

    def _found(self) -> None:
        """Make a new collection one that is somewhere."""
        if self._nowhere is None:
            return
        new = not self._is_there()
        home = Local((self._given_place or place_of(self.folder)) / DATABASE, self.folder)
        if new:
            believe(home)
        elif not is_believed(home):
            self._believed = home.believed = False
        column = self._home.column
        if column is not None and home.column is None:
            with home.batch(changes=False):
                home.put_column(
                    column.name, column.model, column.fingerprint, column.similarity, column.dimensions
                )
        self._home.close()
        self._home = home
        self._nowhere.cleanup()
        self._nowhere = None

    @property
    def place(self) -> Path:
        """The folder that holds it; a passing one before anything was added to a new collection."""
        return self.home.place

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.count("image") + self.count("text")

    def __iter__(self) -> Iterator[Item]:
        for side in SIDES:
            yield from self.gallery(side)

    def __repr__(self) -> str:
        counts = f"{self.count('image')} pictures, {self.count('text')} texts"
        return f"<Collection of {self.folder}: {counts}, {self.model}>"

    def close(self) -> None:
        """Let go of the files; whatever is asked afterwards is refused with a `CollectionError`."""
        self.home.close()
        if self._nowhere is not None:
            self._nowhere.cleanup()

    @property
    def model(self) -> str:
        """Name of the system that made the vectors."""
        column = self.home.column
        return DEFAULT_MODEL if column is None else column.model

    @property
    def encoder(self) -> Any:
        """The system that makes the vectors, loaded when first needed.

        Raises:
            WrongModel: the system of that name now gives other vectors than those stored.
        """
        return self._loaded().encoder

    def _loaded(self) -> Model:
        if self._model is None:
            if not self._believed and not self._named:
                check_model(self.model, self.folder)
            self._model = named_in(self.folder, self.model)
        check_fingerprint(self.home, self.folder, self._model)
        return self._model

    # What it holds

    def count(self, side: Side) -> int:
        """How many pictures or texts there are."""
        return self.home.count(side)

    def get(self, name: str | Path) -> Item | None:
        """The item of a file: a picture with its captions, or a list of texts, one a line.

        Args:
            name: The file, or its `id` in results: its path from the collection's folder.

        Returns:
            None if no such file is indexed.
        """
        keys = os.fsencode(Path(name).as_posix()), self.home.key(absolute(name))
        with self.home.snapshot():  # a file's rows and what they hold are of one moment
            return next((item for item in (item_of_file(self.home, key) for key in keys) if item), None)

    def vectors(self, side: Side) -> tuple[list[str], Floats]:
        """The `id` of every item of a side, and their vectors (n, d); of binary codes, +1 and -1."""
        with self.home.snapshot():
            _, kept = self.home.vectors_now(side).stored()
            column = self.home.column
            codes = column is not None and column.type == "bits"
            return self.home.ids(side), similarity.unpack(kept) if codes else kept.astype(np.float32)

    def gallery(self, to: Side) -> Gallery:
        """The items of a side as they are now, with what searches them; see `diptych.pipeline.over`."""
        vectors, within = self.home.vectors_now(to), None
        if self.below is not None:
            within = np.array(self.home.rows(to, under=self.home.key(self.below)), np.int64)
        return Gallery(self.home, vectors, to, fits=self._made_them, within=within)

    def _made_them(self, encoder: Any) -> bool:
        """Whether an encoder is the one that made the vectors."""
        model, column = self._model, self.home.column
        if model is not None and encoder is model.encoder:
            return True
        return column is not None and column.fingerprint == offered(encoder, "fingerprint")

    def info(self) -> Mapping[str, Any]:
        """What it holds: folder, model, counts, size in bytes, skipped files, its verdict on itself."""
        column = self.home.column
        return {
            "folder": str(self.folder),
            "place": str(self.place),
            "model": self.model,
            "fingerprint": None if column is None else column.fingerprint or None,
            "images": self.count("image"),
            "texts": self.count("text"),
            "bytes": sum(file.stat().st_size for file in self.place.rglob("*") if file.is_file()),
            "codes": self.home.codes,
            "skipped": {str(self.home.path(key)): reason for key, reason, *_ in self.home.skipped()},
            "check": self.home.check(),
        }

    # Filling

    def add(
        self,
        *paths: str | Path,
        recursive: bool = True,
        texts: bool = False,
        follow_links: bool = False,
        check: bool = False,
        forget_missing: bool = False,
        batch_size: int | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Summary:
        """Bring the collection up to date with folders, files and patterns.

        Unchanged files are not read, moved ones not encoded, and those that were deleted from the folders
        given are forgotten; but not those whose whole folder is gone, empty or cannot be read, as when a disk
        is away. May be interrupted at any moment; the next call goes on.

        Args:
            paths: Folders, pictures, ``.txt`` files or patterns; none for the collection's own folder.
            recursive: Also the folders below.
            texts: Also ``.txt`` files in the folders that belong to no picture, each line a text. They are
                notes and letters as often as texts to be found, so that only those are taken that are given
                by name or asked for here; those that the collection has are kept up to date.
            follow_links: Also links that lead out of the folders given, and out of the collection's own.
            check: Read every file, to find those that changed though their size and time are the same.
            forget_missing: Also forget the files whose folder is away.
            batch_size: Pictures encoded and stored at a time; the encoder's own choice if None.
            on_progress: Called after every batch.

        Raises:
            UsageError: a path that does not exist.
            CollectionBusy: another process is writing.
        """
        from diptych.engine.scan import expand
        from diptych.engine.update import How, update

        given = expand(paths or (self.folder,))
        started = time.perf_counter()
        with self.writing():
            model, column = self._loaded(), self.home.column
            if column is None or not column.fingerprint:
                adopt(self.home, model)
            summary = update(
                self.home,
                model,
                given,
                how=How(recursive, texts, follow_links, check, forget_missing),
                batch_size=batch_size or int(offered(model.encoder, "batch_size", 16)),
                on_progress=on_progress,
            )
            self.home.keep_codes(model.encode_texts)
        summary.seconds = time.perf_counter() - started
        return summary

    def remove(self, *paths: str | Path) -> int:
        """Forget files, and all files of folders; returns how many. The files themselves stay.

        They are not taken again, nor what comes into these folders, until they are given to `add` themselves,
        or what lies in these folders is.
        """
        from diptych.engine.update import remove

        with self.writing():
            return remove(self.home, paths)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the writer's lock; a new collection is founded with it.

        Raises:
            CollectionBusy: another process holds it; says which.
        """
        self._found()
        with writing(self.place, self.folder):
            yield

    def watch(
        self,
        *paths: str | Path,
        recursive: bool = True,
        texts: bool = False,
        follow_links: bool = False,
        batch_size: int | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Iterator[Summary]:
        """Keep current for ever: yields the summary of the first run, and of each run after a change.

        Args:
            paths, recursive, texts, follow_links, batch_size, on_progress: As for `add`.

        Raises:
            MissingExtra: the package that watches is not installed.
        """
        from diptych.engine.scan import expand
        from diptych.engine.watch import changes

        def added() -> Summary:
            return self.add(
                *paths,
                recursive=recursive,
                texts=texts,
                follow_links=follow_links,
                batch_size=batch_size,
                on_progress=on_progress,
            )

        yield added()
        for _ in changes(expand(paths or (self.folder,)), ignore=self.place):
            yield added()

    # Searching

    def search(
        self,
        query: Source | Item | None = None,
        *,
        image: Source | Sequence[Source] = (),
        negative: str | Sequence[str] = (),
        text_weight: float = 1.0,
        image_weight: float = 1.0,
        negative_weight: float = 0.5,
        to: Side = "image",
        k: int = 10,
        min_score: float | None = None,
        exact: bool = False,
        recall: float | None = None,
    ) -> Results:
        """The k best matches, best first.

        Args:
            query: Words (a `str` always is), a picture (a `Path`, the bytes of a file, a PIL picture or an
                array), or a ready `Item`.
            image: Pictures to look like, also: as above, but a `str` is a path; or a list of these.
            negative: Words to keep away from.
            text_weight, image_weight, negative_weight: Weights of the words, of each picture, and of each
                of the words to keep away from.
            to: "image" or "text".
            k: Most results wanted.
            min_score: Leave out results that score lower.
            exact: Compare with every picture even if there are codes.
            recall: With codes, the share of the ten best that must be found; 0.98 if None.

        Raises:
            UsageError: nothing was asked or nothing that can be, k is not positive, or a recall is asked of
                a collection without codes.
            ImageError: a picture of the query cannot be read.
        """
        item = composed(
            query,
            image,
            negative,
            text_weight=text_weight,
            image_weight=image_weight,
            negative_weight=negative_weight,
        )
        return self.search_many([item], to=to, k=k, min_score=min_score, exact=exact, recall=recall)[0]

    def search_many(
        self,
        queries: Sequence[Source | Item],
        *,
        to: Side = "image",
        k: int = 10,
        min_score: float | None = None,
        exact: bool = False,
        recall: float | None = None,
    ) -> list[Results]:
        """The k best matches of each query, each as the first argument of `search`.

        A system that makes the lists of both directions agree sees the queries together.
        """
        if to not in ("image", "text"):
            raise UsageError(f"to must be image or text, not {to!r}")
        if isinstance(queries, str | bytes):
            raise UsageError("search_many takes a list of queries; a single one goes to search")
        check_recall(self.home, exact, recall)
        check_score(min_score)
        checked_k(k)
        items = [as_item(query) for query in queries]
        if not items:
            return []
        with self._getting_ready(to):
            model = self._loaded()
            started = time.perf_counter()
            asked = Remembered([decoded(item, model.encoder) for item in items])
            with model.named("the query" if len(items) == 1 else f"{len(items)} queries"):
                encode(model.encoder, asked)
        with self.home.snapshot():
            gallery, sides = self.gallery(to), sides_of(items)

            def searched(count: int) -> Gallery:
                if to != "image" or self.below is not None or sides is None or exact:
                    return gallery
                return gallery.searched_by(self.home.quick(sides, recall, count))

            return answers(model.encoder, searched, asked, k=k, min_score=min_score, started=started)

    @contextlib.contextmanager
    def _getting_ready(self, to: Side) -> Iterator[None]:
        """Before the first search of a side, open its search files while the block loads the model."""
        if self._model is not None:
            yield
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as beside:
            ready = beside.submit(self.home.get_ready, to)
            yield
            ready.result()

    def make_codes(self, by: int | str) -> Mapping[str, Any]:
        """Give the pictures binary codes, so that large collections are searched in two stages.

        Codes are learned from the pictures and from texts (the collection's captions, or else
        everyday ones), and how many candidates each recall needs is calibrated on texts and pictures
        that were held out. `search` uses them from then on.

        Args:
            by: Code length, a multiple of 8; as many as the vectors have dimensions is a good choice. Or the
                run folder of a hashing system that learned from vectors of this collection's model, which
                then makes the codes instead of a learned rotation.

        Returns:
            What the collection records of them.

        Raises:
            UsageError: nothing is indexed yet, the bits are no multiple of 8, the model has codes itself,
                or the hashing system learned from something else.
            MissingData: there is no such run folder.
        """
        column = self.home.column
        if column is not None and column.similarity != "cosine":
            raise UsageError(
                f"codes are made of vectors that compare by cosine; {self.model} has {column.similarity}"
            )
        with self.writing():
            return self.home.make_codes(by, self._loaded().encode_texts)


open = open_collection  # as `diptych.open`; it shadows the builtin, so nothing here calls it
