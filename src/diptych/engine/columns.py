"""The further models of a collection: added beside the first, kept current with it, chosen and dropped.

Each has a column of vectors of its own. What it lacks is found by asking, so that whatever ended an earlier
run is gone on with; at most the batch in flight is done again. Pictures are read once more for it: only
those whose content is still what was indexed.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from diptych.core import SIDES, encodes, offered
from diptych.engine import storage
from diptych.engine.calibration import keep_calibration
from diptych.engine.decoding import AHEAD, THREADS, ahead, digest_of, prepared, vector_of
from diptych.engine.homes.base import Home
from diptych.engine.homes.entries import Lacking, VectorColumn
from diptych.engine.homes.names import is_own, path_or_id
from diptych.engine.model import Model
from diptych.engine.opening import Opened
from diptych.engine.reading import Reading
from diptych.engine.results import Filled, Progress, Skipped
from diptych.errors import DiptychError, ImageError, UsageError, WrongModel
from diptych.media.pictures import read_file

__all__ = ["add_model", "drop_model", "fill", "fill_all", "set_default", "take_over"]

_TEXTS = 256  # that are encoded and stored at a time
_PAGE = 1_000  # items that are asked for at a time

Told = Callable[[Progress], None]


def add_model(
    opened: Opened,
    model: Any,
    *,
    batch_size: int | None = None,
    max_pixels: int | None = None,
    on_progress: Told | None = None,
) -> Filled:
    """Make the vectors of a further model; see `Collection.add_model`."""
    opened = opened.default
    if not opened.home.columns():
        raise UsageError(
            f"nothing is indexed in {opened.folder} yet; index it first, then add a further model"
        )
    chosen = model if isinstance(model, Model) else Model(model)
    with opened.writing():
        column = _column_for(opened, chosen)
        view = opened.beside(column)
        view.lend(chosen)
        return fill(view, batch_size=batch_size, max_pixels=max_pixels, on_progress=on_progress)


def _column_for(opened: Opened, model: Model) -> VectorColumn:
    """The column of a further model, made if it is new."""
    home = opened.home
    columns = home.columns()
    for column in columns:
        if model.fingerprint != column.fingerprint:
            if model.name == column.model:
                raise WrongModel(
                    f"{opened.folder} has vectors of {column.model} ({column.fingerprint}), which now is "
                    f"{model.fingerprint}; their vectors do not compare, so "
                    + ("rebuild the collection" if column is columns[0] else "drop them, then add it anew")
                )
        elif model.name != column.model:
            raise UsageError(
                f"{model.name} compares with the vectors of {column.model}, which {opened.folder} has; "
                "search with it, or make it the default"
            )
        elif column is columns[0]:
            raise UsageError(f"{column.model} is the default model of {opened.folder} already")
        else:
            return column
    return _put(home, model.name, model.fingerprint, model.similarity, model.try_pictures())


def _put(home: Home, model: str, fingerprint: str, similarity: str, dimensions: int) -> VectorColumn:
    """A new column beside the main one."""
    with home.batch(changes=False):
        home.put_column(f"beside:{model}", model, fingerprint, similarity, dimensions)
    return next(one for one in home.columns() if one.name == f"beside:{model}")


def set_default(opened: Opened, model: Any) -> None:
    """Make one of the models that which searches use; see `Collection.set_default_model`."""
    opened = opened.default
    with opened.writing():
        chosen = opened.using(model)
        column = chosen.home.column
        assert column is not None, "it was found by its model"
        with opened.home.batch(changes=False):
            if chosen.model != column.model:  # it reads vectors that another one made
                opened.home.put_column(
                    column.name, chosen.model, column.fingerprint, column.similarity, column.dimensions
                )
            opened.home.make_main(column)


def drop_model(opened: Opened, model: Any) -> None:
    """Forget the vectors of a further model; see `Collection.drop_model`."""
    opened = opened.default
    with opened.writing():
        chosen = opened.using(model)
        column = chosen.home.column
        if column is not None and chosen.model != column.model:
            raise UsageError(
                f"{chosen.model} has no vectors of its own in {opened.folder}; it compares with those of "
                f"{column.model}"
            )
        if column is None or column == opened.home.column:
            raise UsageError(
                f"{opened.model} is the default model of {opened.folder}; make another the default, then "
                "drop it"
            )
        with opened.home.batch(changes=False):
            opened.home.drop_column(column)
        opened.home.tidy()
        opened.home.compact()


def take_over(opened: Opened, old: Home) -> None:
    """Take the vectors of further models from another home, by content, and make those that are lacking.

    Args:
        opened: The collection to fill; the caller may write.
        old: Where the vectors are. What it has of models that the collection has already is left.
    """
    home = opened.home
    for column in old.columns()[1:]:
        same = next((one for one in home.columns() if one.model == column.model), None)
        if same is not None and (same.name == "main" or same.fingerprint != column.fingerprint):
            continue
        if same is None:  # else an earlier run began with it
            same = _put(home, column.model, column.fingerprint, column.similarity, column.dimensions)
        mine, theirs = home.using(same), old.using(column)
        for side in SIDES:
            last = 0
            while page := mine.lacking(side, after=last, most=_PAGE):
                last = page[-1].row
                if side == "text":
                    known = theirs.text_vectors({str(one.text) for one in page})
                    found = {one.row: known[str(one.text)] for one in page if str(one.text) in known}
                else:
                    found = {one.row: vector for one in page if (vector := vector_of(theirs, one.hash))}
                with mine.batch():
                    mine.put_vectors(found, among=False)
        mine.take_codes(theirs)
    fill_all(opened, batch_size=None, max_pixels=None, on_progress=None)


def fill_all(
    opened: Opened, *, batch_size: int | None, max_pixels: int | None, on_progress: Told | None
) -> list[Filled]:
    """Make what the models of a collection lack; the caller may write.

    A model that cannot be loaded, or is not to be loaded unasked, is told and left behind.

    Returns:
        What was made, of each that lacked anything.
    """
    columns = opened.home.columns()
    if len(columns) == 1 and columns[0].id == 1:
        return []  # what is stored has a vector of the default model
    found = []
    for column in columns:
        view = opened if column is columns[0] else opened.beside(column)
        lacking = sum(map(view.home.count_lacking, SIDES))
        if not lacking:
            continue
        try:
            view.loaded()
        except DiptychError as error:
            found.append(Filled(column.model, lacking=lacking, reason=str(error)))
            continue
        found.append(fill(view, batch_size=batch_size, max_pixels=max_pixels, on_progress=on_progress))
    return found


def fill(
    opened: Opened,
    *,
    batch_size: int | None = None,
    max_pixels: int | None = None,
    on_progress: Told | None = None,
) -> Filled:
    """Make the vectors that the model of an opened collection lacks; the caller may write.

    Args:
        opened: The collection, as one of its models sees it.
        batch_size: Pictures encoded and stored at a time; the encoder's own choice if None.
        max_pixels: As for `diptych.media.pictures.open_picture`.
        on_progress: Called after every batch.

    Raises:
        WrongModel, CollectionError: the model cannot be loaded, or fails.
    """
    model, home = opened.loaded(), opened.home
    filled = Filled(opened.model)
    sides = [side for side in SIDES if encodes(model.encoder, side)]
    total, done, started = sum(map(home.count_lacking, sides)), 0, time.perf_counter()
    filling = _Filling(opened, model, filled, max_pixels)
    batch_size = batch_size or int(offered(model.encoder, "batch_size", 16))
    for count, last in itertools.chain(
        filling.texts() if "text" in sides else (), filling.pictures(batch_size)
    ):
        done += count
        if on_progress is not None:
            seconds = time.perf_counter() - started
            on_progress(Progress(done, total, len(filled.skipped), path_or_id(home, last.key), seconds))
    filled.lacking = sum(map(home.count_lacking, sides))
    if filled.encoded:
        home.keep_codes(model.encode_texts)
        keep_calibration(home, model)
    return filled


@dataclass(frozen=True, slots=True)
class _Read:
    """A picture that lacks a vector.

    Args:
        item: The picture.
        vector: That of another file of the same content, if there is one.
        prepared: Else what the encoder takes.
        why: Else why it could not be read.
    """

    item: Lacking
    vector: bytes | None = None
    prepared: Any = None
    why: str = ""


class _Filling:
    """One run for one model."""

    def __init__(self, opened: Opened, model: Model, filled: Filled, max_pixels: int | None) -> None:
        self.home, self.model, self.filled, self.max_pixels = opened.home, model, filled, max_pixels

    def texts(self) -> Iterator[tuple[int, Lacking]]:
        """Store the vectors of all texts, batch by batch; yields how many each had, and the last."""
        home, after, last = self.home, 0, self.home.last_row("text")
        while page := home.lacking("text", after=after, most=_TEXTS):
            vectors, new = self.model.text_vectors(home, (str(one.text) for one in page))
            self.filled.encoded += new
            with home.batch():
                home.put_vectors({one.row: vectors[str(one.text)] for one in page}, among=page[0].row < last)
            after = page[-1].row
            last = max(last, after)
            yield len(page), page[-1]

    def pictures(self, batch_size: int) -> Iterator[tuple[int, Lacking]]:
        """The same of pictures."""
        home, last = self.home, self.home.last_row("image")
        self._reading = Reading(home.place, "reading-beside")
        try:
            with ThreadPoolExecutor(THREADS, thread_name_prefix="decode") as pool:
                read = ahead(pool, self._read, self._waiting(), batch_size * AHEAD)
                try:
                    while batch := tuple(itertools.islice(read, batch_size)):
                        vectors = self._vectors(batch)
                        if vectors:
                            with home.batch():
                                home.put_vectors(vectors, among=min(vectors) < last)
                            last = max(last, *vectors)
                        self._reading.done(one.item.key for one in batch if not one.why)
                        yield len(batch), batch[-1].item
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        finally:
            self._reading.close(self._dealt_with)

    def _waiting(self) -> Iterator[Lacking]:
        after = 0
        while page := self.home.lacking("image", after=after, most=_PAGE):
            for one in page:
                self._reading.begin(one.key)
                yield one
            after = page[-1].row

    def _dealt_with(self, key: bytes) -> bool:
        """Whether a file that was in flight has a vector now, or is gone."""
        file = self.home.file(key)
        return file is None or self.home.image_vector(file.id) is not None

    def _read(self, item: Lacking) -> _Read:
        """Decode a picture whose content is what was indexed; in a thread."""
        if (vector := vector_of(self.home, item.hash)) is not None:
            return _Read(item, vector)
        name = str(path_or_id(self.home, item.key))
        stored = is_own(item.key) and storage.is_address(name)
        if is_own(item.key) and not stored:
            return _Read(item, why="was given by a program, without a file to read")
        encoder = self.model.encoder
        try:
            content = storage.read(name) if stored else None
            if item.key in self._reading.suspects:
                size = offered(encoder, "image_size")
                if why := self._reading.trial.of(name, content, size, self.max_pixels):
                    return _Read(item, why=why)
            content = read_file(name) if content is None else content
            if digest_of(content) != item.hash:
                return _Read(item, why="changed since it was indexed")
            found, *_ = prepared(encoder, content, name=name, max_pixels=self.max_pixels)
        except ImageError as error:
            return _Read(item, why=error.reason)
        except OSError as error:
            return _Read(item, why=f"cannot be read ({error.strerror or error})")
        return _Read(item, prepared=found)

    def _vectors(self, batch: tuple[_Read, ...]) -> dict[int, bytes]:
        """By row, of those that could be read."""
        new = [one for one in batch if one.vector is None and not one.why]
        encoded = self.model.stored("image", [one.prepared for one in new])
        self.filled.encoded += len(new)
        self.filled.skipped += [
            Skipped(path_or_id(self.home, one.item.key), one.why) for one in batch if one.why
        ]
        vectors = {one.item.row: one.vector for one in batch if one.vector is not None}
        return vectors | {one.item.row: vector for one, vector in zip(new, encoded, strict=True)}
