"""Collections: pictures and texts of a folder, kept current and searched.

Example:
    >>> with open_collection(pictures, model=model) as collection:
    ...     summary = collection.add(pictures)
    ...     [result.path.name for result in collection.search("green", k=1)]
    ['green.png']
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from diptych.core import Item, Side, offered
from diptych.engine.gallery import Gallery
from diptych.engine.homes.local.record import Record
from diptych.engine.homes.local.search_files import SearchFiles
from diptych.engine.model import DEFAULT_MODEL, Model, model_name
from diptych.engine.place import DATABASE, absolute, default_home, discard, find, place_of, writing
from diptych.engine.results import Progress, Result, Results, Skipped, Summary
from diptych.engine.search import answers, as_item, composed, decoded, sides_of
from diptych.errors import MissingData, UsageError, WrongModel
from diptych.pipeline import Remembered, encode

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from diptych.engine.homes.local.coded import Asked, Coded

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

_SAMPLE = 2000  # entries a query is compared with to tell how far a score stands out


def open_collection(path: str | Path, *, model: Any = None, create: bool = True) -> Collection:
    """The collection of a folder, or of the nearest folder above it that has one.

    Args:
        path: A folder.
        model: A system's name, or an `Encoder`; needed only for a new collection (default: "builtin") or for
            an encoder that has no name. A name must be the one the collection was indexed with.
        create: Whether a collection may be made where there is none.

    Raises:
        MissingData: there is no collection and none may be made, or no such folder.
        WrongModel: the collection was indexed with another model.
        TooNew: it was written by a later version of Diptych.
        CollectionError: its file is damaged.
    """
    folder = find(path)
    start = absolute(path)
    if folder is None:
        if not start.is_dir():
            raise MissingData(f"{path} is not a folder; give the folder whose pictures are meant")
        if not create:
            raise MissingData(f"{path} has not been indexed; do so with: diptych index {path}")
        folder = start
    return Collection(folder, model=model, below=start if start != folder else None)


class Collection:
    """Pictures and texts with their vectors, in one SQLite file.

    A gallery for `diptych.pipeline.over`: `gallery(to)` gives the items of a side and brings its index.

    Args:
        folder: The folder that is indexed.
        model: As for `open`.
        below: Limit searches to this folder inside it.
    """

    def __init__(self, folder: Path, *, model: Any = None, below: Path | None = None) -> None:
        self.folder, self.below = folder, below
        new = find(folder) != folder
        # A name is loaded when it is needed; what a new collection gets is tried before anything is founded.
        self._model = Model(model) if model is not None and (new or not isinstance(model, str)) else None
        if new and self._model is not None:
            self._model.try_pictures()
        self.place = place_of(folder)
        self.record = Record(self.place / DATABASE, folder)
        self._indexes: dict[Side, SearchFiles] = {}
        self._coded: Coded | None = None
        try:
            self._agree(model)
        except BaseException:
            self.record.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        self.record.close()

    @property
    def model(self) -> str:
        """Name of the system that made the vectors."""
        column = self.record.column
        return DEFAULT_MODEL if column is None else column.model

    @property
    def encoder(self) -> Any:
        """The system that makes the vectors, loaded when first needed.

        Raises:
            WrongModel: the system of that name now gives other vectors than those stored.
        """
        return self._loaded().encoder

    def _loaded(self) -> Model:
        column = self.record.column
        if self._model is None:
            self._model = Model(DEFAULT_MODEL if column is None else column.model)
        if column is not None and column.fingerprint not in ("", self._model.fingerprint):
            raise WrongModel(
                f"{self.folder} was indexed with {column.model} ({column.fingerprint}), which now is "
                f"{self._model.fingerprint}; their vectors do not compare, so rebuild the collection"
            )
        return self._model

    def _agree(self, asked: Any) -> None:
        """Give a new collection its model; see that an older one has the model that is asked for."""
        column = self.record.column
        if asked is None:
            return
        if column is None:
            self._give(self._model or Model(asked))
        elif isinstance(asked, str) and model_name(asked) != column.model:
            raise WrongModel(
                f"{self.folder} was indexed with {column.model}, not {asked}; search it without naming a "
                f"model, or rebuild it with {asked}"
            )

    def _give(self, model: Model) -> None:
        """Make a model that of the collection, which has no vectors yet."""
        dimensions = model.try_pictures()
        self._model = model
        with self.record.batch(changes=False):
            self.record.put_column("main", model.name, model.fingerprint, model.similarity, dimensions)

    # Filling

    def add(
        self,
        *paths: str | Path,
        recursive: bool = True,
        batch_size: int | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Summary:
        """Bring the collection up to date with folders, files and patterns.

        Unchanged files are not read, moved ones not encoded, and those that were removed from the folders
        given are forgotten. May be interrupted at any moment; the next call goes on.

        Args:
            paths: Folders, pictures, ``.txt`` files or patterns; none for the collection's own folder.
            recursive: Also the folders below.
            batch_size: Pictures encoded and stored at a time; the encoder's own choice if None.
            on_progress: Called after every batch.

        Raises:
            UsageError: a path that does not exist.
            CollectionBusy: another process is writing.
        """
        from diptych.engine.scan import expand
        from diptych.engine.update import update

        given = expand(paths or (self.folder,))
        started = time.perf_counter()
        with self.writing():
            model, column = self._loaded(), self.record.column
            if column is None or not column.fingerprint:
                self._give(model)
            summary = update(
                self.record,
                model,
                given,
                recursive=recursive,
                batch_size=batch_size or int(offered(model.encoder, "batch_size", 16)),
                on_progress=on_progress,
            )
            self._keep_codes(changed=bool(summary.added or summary.changed))
        summary.seconds = time.perf_counter() - started
        return summary

    def remove(self, *paths: str | Path) -> int:
        """Forget files, and all files of folders; returns how many. The files themselves stay."""
        from diptych.engine.update import remove

        with self.writing():
            return remove(self.record, paths)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the writer's lock.

        Raises:
            CollectionBusy: another process holds it; says which.
        """
        with writing(self.place, self.folder):
            yield

    def watch(self, *paths: str | Path, **how: Any) -> Iterator[Summary]:
        """Keep current for ever: yields the summary of the first run, and of each run after a change.

        Raises:
            MissingExtra: the package that watches is not installed.
        """
        from diptych.engine.scan import expand
        from diptych.engine.watch import changes

        yield self.add(*paths, **how)
        for _ in changes(expand(paths or (self.folder,)), ignore=self.place):
            yield self.add(*paths, **how)

    # Searching

    def search(
        self,
        query: str | Path | bytes | Item | NDArray[Any] | Image | None = None,
        *,
        image: Any = (),
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
        queries: Sequence[str | Path | bytes | Item | NDArray[Any] | Image],
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
        self._check_recall(exact, recall)
        items = [as_item(query) for query in queries]
        if not items:
            return []
        with self._getting_ready(to):
            encoder = self.encoder
            started = time.perf_counter()
            asked = Remembered([decoded(item, encoder) for item in items])
            encode(encoder, asked)
        with self.record.snapshot():
            gallery = self.gallery(to)
            coded = None if exact else self._coded_for(items, to, k, recall)
            if coded is not None:
                gallery = gallery.searched_by(coded)
            return answers(encoder, gallery, asked, k=k, min_score=min_score, started=started)

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
        from diptych.engine.homes.local.coded import make_codes

        column = self.record.column
        if column is not None and column.similarity != "cosine":
            raise UsageError(
                f"codes are made of vectors that compare by cosine; {self.model} has {column.similarity}"
            )
        with self.writing():
            files = self._search_files("image")
            return make_codes(self.record, files, self.place / "search", by=by, texts=self._asked_texts())

    def _codes_now(self) -> Coded:
        """The codes as the record has them now, which another process may have made again."""
        from diptych.engine.homes.local.coded import Coded

        if self._coded is None or self._coded.told != self.record.get("codes"):
            self._coded = Coded(self.record, self._search_files("image"), self.place / "search")
        return self._coded

    def _keep_codes(self, *, changed: bool) -> None:
        """After indexing: codes of what came new; learned and calibrated again where that is much."""
        if self.record.get("codes") is None or not self.record.count("image"):
            return
        from diptych.engine.homes.local.coded import make_codes

        coded = self._codes_now()
        if coded.outgrown and coded.usable:
            by = coded.facts.get("system", coded.facts["bits"])
            files = self._search_files("image")
            make_codes(self.record, files, self.place / "search", by=by, texts=self._asked_texts())
        elif changed and coded.usable:
            coded.get_ready()

    def _asked_texts(self) -> Any:
        """Vectors of texts like those that are asked for: the captions, or everyday ones."""
        _, captions = self._search_files("text").stored()
        from diptych.engine.homes.local.coded import FEWEST, everyday_queries

        if len(captions) >= 2 * FEWEST:  # half of them teach, half calibrate
            return np.asarray(captions[:: max(1, len(captions) // _SAMPLE)], np.float32)
        named = np.asarray(self.encoder.encode_text(everyday_queries()), np.float32)
        return named if not len(captions) else np.concatenate([named, np.asarray(captions, np.float32)])

    def _check_recall(self, exact: bool, recall: float | None) -> None:
        if recall is None:
            return
        if exact:
            raise UsageError("exact search finds everything, so give either exact or a recall")
        if not 0 < recall <= 1:
            raise UsageError(f"a recall lies above 0 and at most at 1, such as 0.98, not {recall}")
        if self.record.get("codes") is None:
            raise UsageError(
                f"{self.folder} has no codes, so it is searched exactly; make them with "
                f"diptych index {self.folder} --codes 512"
            )

    def _coded_for(self, queries: Sequence[Item], to: Side, k: int, recall: float | None) -> Asked | None:
        """What searches these queries in two stages; None where exact search must do it."""
        from diptych.engine.homes.local.coded import DEFAULT_RECALL

        sides = sides_of(queries)
        if to != "image" or self.below is not None or sides is None or self.record.get("codes") is None:
            return None
        return self._codes_now().asked(sides, recall or DEFAULT_RECALL, k)

    @contextlib.contextmanager
    def _getting_ready(self, to: Side) -> Iterator[None]:
        """Before the first search of a side, open its search files while the block loads the model."""
        if to in self._indexes or self.record.column is None:
            yield
            return
        from concurrent.futures import ThreadPoolExecutor

        index = self._search_files(to)
        with ThreadPoolExecutor(1) as beside:
            ready = beside.submit(index.get_ready)
            yield
            ready.result()

    def gallery(self, to: Side) -> Gallery:
        """The items of a side as they are now, with what searches them; see `diptych.pipeline.over`."""
        snapshot = self._search_files(to).snapshot()
        within = None
        if self.below is not None:
            within = np.array(self.record.rows(to, under=self.record.key(self.below)), np.int64)
        return Gallery(self.record, snapshot, to, fits=self._made_them, within=within)

    def _made_them(self, encoder: Any) -> bool:
        """Whether an encoder is the one that made the vectors."""
        model, column = self._model, self.record.column
        if model is not None and encoder is model.encoder:
            return True
        return column is not None and column.fingerprint == offered(encoder, "fingerprint")

    def _search_files(self, to: Side) -> SearchFiles:
        if to not in self._indexes:
            self._indexes[to] = SearchFiles(
                self.record,
                to,
                kind=self._kind(),
                folder=self.place / "search",
            )
        return self._indexes[to]

    def _kind(self) -> str:
        column = self.record.column
        return self._loaded().similarity if column is None else column.similarity

    def info(self) -> Mapping[str, Any]:
        """What it holds: folder, model, counts, size in bytes, skipped files, SQLite's verdict."""
        place, column = self.place, self.record.column
        return {
            "folder": str(self.folder),
            "place": str(place),
            "model": self.model,
            "fingerprint": None if column is None else column.fingerprint or None,
            "images": self.record.count("image"),
            "texts": self.record.count("text"),
            "bytes": sum(file.stat().st_size for file in place.rglob("*") if file.is_file()),
            "codes": json.loads(self.record.get("codes") or "null"),
            "skipped": {str(self.record.path(key)): reason for key, reason, *_ in self.record.skipped()},
            "check": self.record.check(),
        }


open = open_collection  # as `diptych.open`; it shadows the builtin, so nothing here calls it
