"""Opens a collection: where it lives, whether it is believed, and its model."""

from __future__ import annotations

import contextlib
import copy
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from diptych import catalogue
from diptych.core import space_of
from diptych.engine.homes.base import Home
from diptych.engine.homes.entries import VectorColumn
from diptych.engine.homes.local.home import Local
from diptych.engine.model import (
    DEFAULT_MODEL,
    Model,
    adopt,
    check_fingerprint,
    model_name,
    named_in,
    reading_the_same,
    refuse_name,
)
from diptych.engine.place import DATABASE
from diptych.engine.trust import believe, check_model, check_origin, is_believed
from diptych.engine.where import Where
from diptych.errors import UsageError

__all__ = ["Opened"]


class Opened:
    """A home with the model of its vectors; to be closed.

    A new one is an empty home that is nowhere until `writing` founds it. One that somebody else may have made
    is read with the built-in model only; see `diptych.engine.trust`.

    Args:
        where: Where it lives, or is to live.
        model: A system's name, an `Encoder` or a `Model`; needed only for a new collection (default:
            "builtin") or for an encoder that has no name.
        below: Limit searches to this folder inside it.
        trust: Whether to believe, from now on, a collection that this user did not make on this machine.

    Attributes:
        folder: The folder that names of files are relative to.

    Raises:
        UsageError: a new collection is asked for with a model that does not encode pictures.
        WrongModel: the collection was indexed with another model.
        TooNew: it was written by a later version of Diptych.
        CollectionError: its file is damaged, or it is somebody else's and not trusted.
    """

    def __init__(
        self,
        where: Where,
        *,
        model: Any = None,
        below: Path | None = None,
        trust: bool = False,
    ) -> None:
        self._where, self.below = where, below
        new = not where.is_there()
        # A name is loaded when it is needed; what a new collection gets is tried before anything is founded.
        self._model = model if isinstance(model, Model) else None
        if self._model is None and model is not None and (new or not isinstance(model, str)):
            self._model = Model(model)
        if new and self._model is not None:
            self._model.try_pictures()
        self._named = isinstance(model, str)
        self._reader: str | None = None  # name of a model that reads the vectors of another one
        self._models: dict[str, Model] = {}  # loaded by the names that the collection has for them
        self._scorers: dict[str, Any] = {}  # what ranks hits anew, by name
        self.galleries: tuple[Any, ...] = ()  # those of the last filters; see `gallery_of`
        self._default: Self | None = None
        # Until something is added, a new collection is an empty one that is nowhere.
        self._nowhere = _Passing() if new else None
        self._left: list[tuple[Home, _Passing]] = []  # what was nowhere; other threads may be in it
        self._founding = threading.Lock()
        home = Local(Path(self._nowhere.name) / DATABASE, where.folder) if self._nowhere else where.home()
        self._home: Home = home
        self.folder = folder = home.root
        self._believed = new or trust or is_believed(home)
        try:
            if trust and not new:
                believe(home)
            elif not self._believed:
                check_origin(home, folder)
                home.believed = False
            if isinstance(model, str):
                self._call(model)
            if self._model is not None and home.column is None:
                adopt(home, self._model)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files; whatever is asked afterwards is refused with a `CollectionError`."""
        self.home.close()
        for home, nowhere in self._left:
            home.close()
            nowhere.cleanup()
        if self._nowhere is not None:
            self._nowhere.cleanup()

    # Where it lives

    @property
    def home(self) -> Home:
        """Where it lives; once somebody has founded a new collection, there."""
        if self._nowhere is not None and self._where.is_there():
            self._found()
        return self._home

    @property
    def place(self) -> Path:
        """The folder that holds it; a passing one before anything was added to a new collection."""
        return self.home.place

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the writer's lock; a new collection is founded with it.

        Raises:
            CollectionBusy: another process holds it; says which.
        """
        self._found()
        with self.home.writing():
            yield

    def _found(self) -> None:
        """Make a new collection one that is somewhere."""
        with self._founding:
            if self._nowhere is not None:
                self._found_now(self._nowhere)

    def _found_now(self, nowhere: _Passing) -> None:
        new = not self._where.is_there()
        home = self._where.home()
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
        self._left.append((self._home, nowhere))
        self._home, self._nowhere = home, None

    # Its model

    @property
    def model(self) -> str:
        """Name of the system that made the vectors, or that reads them in its place."""
        column = self.home.column
        return self._reader or (DEFAULT_MODEL if column is None else column.model)

    @property
    def encoder(self) -> Any:
        """The system that makes the vectors, loaded when first needed.

        Raises:
            WrongModel: the system of that name now gives other vectors than those stored.
        """
        return self.loaded().encoder

    @property
    def is_loaded(self) -> bool:
        """Whether `loaded` has been asked for, or the model was given."""
        return self._model is not None or self.model in self._models

    def loaded(self) -> Model:
        """The model, loaded when first needed; errors as for `encoder`."""
        column = self.home.column
        model = self._model or self._models.get(self.model)
        if model is None:
            if not self._believed and not self._named:
                check_model(self.model, self.folder)
            model = self._models[self.model] = named_in(self.folder, self.model)
        check_fingerprint(self.home, self.folder, model)
        model.dimensions = None if column is None else column.dimensions
        return model

    def scorer(self, name: str) -> Any:
        """The system of that name that ranks hits anew, loaded when first asked for."""
        if name not in self._scorers:
            self._scorers[name] = catalogue.load(name)
        return self._scorers[name]

    def made_them(self, encoder: Any) -> bool:
        """Whether an encoder is the one that made the vectors."""
        column = self.home.column
        if self.is_loaded and encoder is (self._model or self._models[self.model]).encoder:
            return True
        return column is not None and column.fingerprint == space_of(encoder)

    # Its further models

    @property
    def default(self) -> Self:
        """The same with its default model, which is what is filled; this one itself, but after `using`."""
        return self._default or self

    def using(self, model: Any) -> Self:
        """The same collection, whose vectors are those of one of its models, whichever is the default.

        It shares its files with this one, and is closed with it.

        Args:
            model: Name of the system, or the `Encoder`.

        Raises:
            UsageError: there are no vectors of that model.
        """
        reader = None
        if isinstance(model, str):
            name = model_name(model)
            found = [column for column in self.home.columns() if column.model == name]
            if not found and (other := reading_the_same(self.home.columns(), name)) is not None:
                found, model, reader = [other[0]], other[1], name
        else:
            model = model if isinstance(model, Model) else Model(model)
            name = model.name
            found = [column for column in self.home.columns() if column.fingerprint == model.fingerprint]
        if not found:
            there = ", ".join(column.model for column in self.home.columns()) or "none yet"
            raise UsageError(
                f"{self.folder} has no vectors of {name}, but of {there}; add it to them first",
                argument="add_model",
            )
        view = self.beside(found[0])
        view._named = True
        if isinstance(model, Model):
            view._read_by(model, reader)
        return view

    def _call(self, name: str) -> None:
        """See that a name is that of the model that the collection has, or of one that reads its vectors.

        Raises:
            WrongModel: it is another.
        """
        column = self._home.column
        if column is None or model_name(name) == column.model:
            return
        other = reading_the_same([column], model_name(name))
        if other is None:
            raise refuse_name(self.folder, column, name)
        self._read_by(other[1], other[1].name)

    def _read_by(self, model: Model, name: str | None) -> None:
        """Let a model compare with the vectors; its name, if it has one and did not make them."""
        self._reader = name
        self._model, self._models = None, {**self._models, self.model: model}

    def lend(self, model: Model) -> None:
        """Use a model that is loaded already."""
        self._models[self.model] = model

    def beside(self, column: VectorColumn) -> Self:
        """The same collection, whose vectors are those of one column; its model is not loaded unasked."""
        view = copy.copy(self)
        view._home = self.home.using(column)
        fits = self._model is not None and self._model.fingerprint == column.fingerprint
        view._model, view._named = self._model if fits else None, False
        view._reader = None
        view._default = self.default
        return view


class _Passing:
    """A folder that is gone when it is cleaned up, or forgotten."""

    def __init__(self) -> None:
        self.name = tempfile.mkdtemp(prefix="diptych-")
        self.cleanup = weakref.finalize(self, shutil.rmtree, self.name, ignore_errors=True)
