"""What is served: collections by name, and one warm model for all that share it."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from diptych.engine.collection import Collection
from diptych.engine.homes.entries import Stored
from diptych.engine.homes.names import own_key
from diptych.engine.model import Model
from diptych.errors import CollectionError
from diptych.server.errors import Refused
from diptych.server.together import join_calls

__all__ = ["Holding", "Served", "Warm"]


class Warm:
    """The models that are loaded, each once, whichever collections use it.

    Args:
        told: Called with the size of each batch that one encodes.
    """

    def __init__(self, told: Callable[[int], None] | None = None) -> None:
        self._told = told
        self._lock = threading.Lock()
        self._models: dict[str, Model] = {}

    def lend(self, view: Collection) -> Model:
        """The model of a collection, or of a view of it, loaded if it is not.

        Raises:
            WrongModel, CollectionError, MissingData, MissingExtra: it cannot be loaded.
        """
        if view.is_loaded:
            model = view.loaded()
            if self._models.get(model.fingerprint) is model:
                return model
        with self._lock:
            if not view.is_loaded:
                known = next((one for one in self._models.values() if one.name == view.model), None)
                if known is not None:
                    view.lend(known)
            model = view.loaded()
            known = self._models.get(model.fingerprint)
            if known is None:
                join_calls(model.encoder, told=self._told)
                self._models[model.fingerprint] = known = model
            elif known is not model:
                view.lend(known)
                known = view.loaded()  # one that a program gave with the collection stays
                join_calls(known.encoder, told=self._told)
            return known

    def has(self, fingerprint: str) -> bool:
        """Whether a model is loaded."""
        return fingerprint in self._models


class Served:
    """A collection under the name that it is served by.

    Args:
        name: Unique among those of the server.
        collection: Opened; of one that was opened for a folder inside it, only what lies there is served.
        warm: Lends its model.
    """

    def __init__(self, name: str, collection: Collection, warm: Warm) -> None:
        self.name, self.collection, self._warm = name, collection, warm

    def view(self, *, folder: str | None = None, model: str | None = None) -> Collection:
        """The collection as a search sees it.

        Args:
            folder: Inside it; None for all that is served.
            model: One of its models; None for the default.

        Raises:
            UsageError: there are no vectors of the model.
            Refused: the folder does not lie in what is served.
        """
        view = self.collection if model is None else self.collection.using(model)
        if folder is not None:
            view = copy.copy(view)
            view.below = self.inside(folder)
        return view

    def warmed(self, *, folder: str | None = None, model: str | None = None) -> Collection:
        """The same with its model loaded, which is the one that others with such vectors have."""
        view = self.view(folder=folder, model=model)
        self._warm.lend(view)
        return view

    def inside(self, folder: str) -> Path:
        """A folder of what is served, by its path in the collection; it is not looked for on the disk.

        Raises:
            Refused: it would lie outside.
        """
        parts = PurePosixPath(folder).parts
        if "\0" in folder or ".." in parts or folder.startswith(("/", "\\")) or ":" in folder[:3]:
            raise Refused("BadRequest", "a folder is named by its path inside the collection", part="folder")
        found = self.collection.folder.joinpath(*parts)
        below = self.collection.below
        if below is not None and not found.is_relative_to(below):
            if below.is_relative_to(found):
                return below
            raise Refused("NotFound", "there is no such folder here", part="folder")
        return found

    def stored(self, item: int) -> Stored:
        """An item by its number.

        Raises:
            Refused: there is none of that number, or it is not among what is served.
        """
        home = self.collection.home
        try:
            found = home.items([item])[0]
        except CollectionError as error:
            if error.argument:  # it may not be shown
                raise Refused("Forbidden", "that item lies outside of its collection's folder") from error
            raise Refused(
                "NotFound",
                f"there is no item {item} here; it was removed, or its file has changed",
                part="item",
            ) from error
        below = self.collection.below
        if below is not None and (found.path is None or not found.path.is_relative_to(below)):
            raise Refused("NotFound", f"there is no item {item} here", part="item")
        return found

    def named(self, name: str) -> str:
        """The `id` of an item that is among what is served; it is looked for in the collection only.

        Raises:
            Refused: there is none.
        """
        self.stored(self.row_of(name))
        return name

    def row_of(self, name: str) -> int:
        """The number of an item by its `id`: of a file's picture, or else of its first text.

        Raises:
            Refused: there is none.
        """
        home = self.collection.home
        keys = [] if "\0" in name else [os.fsencode(PurePosixPath(name).as_posix()), own_key(name)]
        try:
            rows = next((rows for key in keys if (rows := home.rows_of(key))), None)
        except UnicodeEncodeError:
            rows = None
        if not rows:
            raise Refused("NotFound", f"there is no item {name[:200]!r} here", part="id")
        return rows[0]

    def picture_of(self, found: Stored) -> Stored | None:
        """The picture of an item's file: itself, or what a text describes; None if there is none."""
        if found.side == "image":
            return found
        if found.path is None:
            return None
        home = self.collection.home
        rows = home.rows_of(home.key(found.path))
        first = home.items(rows[:1])[0] if rows else None
        return first if first is not None and first.side == "image" else None


class Holding:
    """The collections of a server, in the order in which they were given.

    Args:
        collections: Opened ones; they are closed with this.
        told: Called with the size of each batch that a model encodes.
    """

    def __init__(self, collections: Sequence[Collection], told: Callable[[int], None] | None = None) -> None:
        self.warm = Warm(told)
        self._served: dict[str, Served] = {}
        for one in collections:
            base = (one.below or one.folder).name or "collection"
            name, number = base, 1
            while name in self._served:
                number += 1
                name = f"{base}-{number}"
            self._served[name] = Served(name, one, self.warm)

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served.values())

    def __len__(self) -> int:
        return len(self._served)

    def get(self, name: str | None) -> Served:
        """A collection by its name; None for the first.

        Raises:
            Refused: there is none of that name.
        """
        if name is None:
            return next(iter(self))
        if name not in self._served:
            known = ", ".join(self._served)
            raise Refused("NotFound", f"there is no collection {name!r} here, but {known}", part="collection")
        return self._served[name]

    @property
    def folders(self) -> list[Path]:
        """That are served."""
        return [one.collection.folder for one in self]

    @property
    def ready(self) -> bool:
        """Whether searches need not wait for a model."""
        return all(one.collection.is_loaded for one in self)

    def close(self) -> None:
        """Let go of the files."""
        for one in self:
            one.collection.close()
