"""Names of items in a home, and what they are called outside of it."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.engine.homes.entries import Known, Stored
from diptych.errors import CollectionError

if TYPE_CHECKING:
    from diptych.engine.homes.base import Home

__all__ = ["PAGE", "Names", "is_own", "key_of", "name_of", "own_key", "path_or_id"]

PAGE = 1_000
"""Files that are read at a time, in a moment, so that no reader keeps a writer waiting."""


def own_key(name: str) -> bytes:
    """The name in a home of an item that a program gave under an id of its own; no file has such a name."""
    return b"\0" + name.encode("utf-8", "surrogatepass")  # a file's odd name may be asked for as an id


def is_own(key: bytes) -> bool:
    """Whether a name is that of an item of a program, which has no file."""
    return isinstance(key, bytes) and key.startswith(b"\0")  # a damaged record holds anything


def name_of(key: bytes) -> str:
    """The `id` of what has a name in a home: the path of a file, or what a program called its own item."""
    return key[1:].decode("utf-8", "replace") if is_own(key) else os.fsdecode(key)


def key_of(home: Home, stored: Stored) -> bytes:
    """The name in a home of an item's file, or of the item itself where a program gave it."""
    return own_key(stored.id) if stored.path is None else home.key(stored.path)


def path_or_id(home: Home, key: bytes) -> Path | str:
    """The file that has a name in a home; of what a program gave its `id`."""
    return name_of(key) if is_own(key) else home.path(key)


class Names(ABC):
    """How a home names files: as bytes, relative to the collection's folder where they lie in it.

    So any name that a file system allows survives, and the whole folder may be moved.

    Attributes:
        root: The folder that names are relative to.
        believed: Whether the run folders that the home names may be loaded, and files shown that are links
            out of the collection's folder.
    """

    root: Path
    believed = True

    def key(self, path: Path) -> bytes:
        """How a path is stored: relative where it lies in the collection's folder."""
        with contextlib.suppress(ValueError):
            path = path.relative_to(self.root)
        return os.fsencode(path.as_posix())

    def path(self, key: bytes) -> Path:
        """The path that was stored.

        Raises:
            CollectionError: it can be none.
        """
        if not isinstance(key, bytes) or b"\0" in key:
            raise self.damaged(f"{key!r} is no name of a file")
        return self.root / os.fsdecode(key)

    @abstractmethod
    def damaged(self, why: str) -> CollectionError:
        """What to say of a home that is no whole collection."""

    def files(self, under: Path | None = None) -> Iterator[Known]:
        """The files, or those below a folder, in the order of their names.

        Read page by page: what is stored meanwhile may show.
        """
        every = under is None or under == self.root or under in self.root.parents
        first = b"\1" if under is None or every else self.key(under).rstrip(b"/") + b"/"
        last = (
            b"\xff" * 8 if every or under is None else first[:-1] + b"0"
        )  # "0" comes after "/", and no name begins with the other
        after = first
        while page := self.page(after, last):
            for known in page:
                name = os.fsdecode(known.key)
                if not every or under is None or not os.path.isabs(name) or under in Path(name).parents:
                    yield known
            after = page[-1].key

    @abstractmethod
    def page(self, after: bytes, before: bytes) -> list[Known]:
        """Some of the files with names above one and below another, in their order."""

    def check_shown(self, items: Iterable[Stored]) -> None:
        """See that items may be shown: a stranger would else choose what is shown of the whole disk.

        Raises:
            CollectionError: the collection is not believed, and one is a link out of its folder.
        """
        if self.believed:
            return
        root = self.root.resolve()
        for path in {one.path for one in items if one.path is not None}:
            if not Path(os.path.realpath(path)).is_relative_to(root):
                raise CollectionError(
                    f"the collection of {self.root} was not made here, and {path} is a link out of that "
                    "folder; remove it from there, or say that you trust the collection",
                    argument="trust",
                )
