"""Where a collection lives, or is to live: with a folder of pictures, or at an address on a server."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from diptych import catalogue
from diptych.engine.homes.address import Address, address_of
from diptych.engine.homes.base import Home
from diptych.engine.homes.local.home import Local
from diptych.engine.place import DATABASE, absolute, default_home, find, place_of
from diptych.errors import MissingData

__all__ = ["InMilvus", "OnDisk", "OnServer", "Where", "where_of"]

_NAMED = {"postgresql": "postgres"}  # homes that are not called as their addresses begin


class Where(Protocol):
    """A place for one collection."""

    @property
    def folder(self) -> Path:
        """The folder that names of a new collection are relative to."""
        ...

    def is_there(self) -> bool:
        """Whether it holds a collection."""
        ...

    def home(self) -> Home:
        """The collection's home; made, if it is not there."""
        ...


@dataclass(frozen=True, slots=True)
class OnDisk:
    """With a folder.

    Args:
        folder: Whose pictures it is of.
        place: The folder that holds it, if not where collections of that folder lie.
    """

    folder: Path
    place: Path | None = None

    def is_there(self) -> bool:
        """Whether there is a database."""
        if self.place is not None:
            return (self.place / DATABASE).is_file()
        return find(self.folder) == self.folder

    def home(self) -> Home:
        """The home in its SQLite file."""
        return Local((self.place or place_of(self.folder)) / DATABASE, self.folder)


@dataclass(frozen=True, slots=True)
class OnServer:
    """On a server, or wherever the home of a package keeps it.

    The home's module has `is_there(address)` and, first in its ``__all__``, a class that is made of the
    address, the folder of what belongs to such collections on this machine, and that of a new collection.

    Args:
        address: Of it.
        given: The folder that names of a new collection are relative to, if the address says none.
    """

    address: Address
    given: Path | None = None

    @property
    def folder(self) -> Path:
        """The folder of the address; else that given; else the one that we are in."""
        return self.address.folder or self.given or Path.cwd()

    def is_there(self) -> bool:
        """Whether the server has it."""
        there: bool = catalogue.module_of(self._card).is_there(self.address)
        return there

    def home(self) -> Home:
        """The home in its tables."""
        kind = catalogue.named_by(self._card)
        found: Home = kind(self.address, default_home() / "servers", self.folder)
        return found

    @property
    def _card(self) -> catalogue.Card:
        return catalogue.card("home", _NAMED.get(self.address.scheme, self.address.scheme))


@dataclass(frozen=True, slots=True)
class InMilvus:
    """Searched in Milvus, with a record elsewhere.

    Args:
        address: Of the server.
        record: Where the record is.
    """

    address: Address
    record: OnDisk | OnServer

    @property
    def folder(self) -> Path:
        """That of the record."""
        return self.record.folder

    def is_there(self) -> bool:
        """Whether the record is; what Milvus lacks it gets."""
        return self.record.is_there()

    def home(self) -> Home:
        """The record's home, which searches in Milvus."""
        from diptych.engine.homes.milvus.connecting import Server
        from diptych.engine.homes.milvus.home import Milvus

        return cast(Home, Milvus(self.record.home(), Server(self.address)))


def where_of(
    path: str | Path, *, create: bool, folder: str | Path | None = None
) -> tuple[Where, Path | None]:
    """Where the collection is that covers a path, and the folder inside it that is meant, if it is one.

    Args:
        path: A folder, or an address.
        create: Whether it may be one that has no collection yet.
        folder: That names of a new collection on a server are relative to.

    Raises:
        UsageError: it is an address, but none of a collection.
        MissingData: there is no collection and none may be made, or no such folder.
        ConnectionLost: the server does not answer.
    """
    address = address_of(path)
    if address is not None:
        there = _at(address, None if folder is None else absolute(folder))
        if not create and not there.is_there():
            raise MissingData(
                f"{address.shown} holds no collection yet; index a folder into it, which makes one"
            )
        return there, None
    found = find(path)
    start = absolute(path)
    if start != found and not os.path.isdir(start):
        what = "is not a folder" if os.path.lexists(start) else "does not exist"
        raise MissingData(f"{path} {what}; give the folder whose pictures are meant")
    if found is None and not create:
        raise MissingData(f"{path} has not been indexed; do so with: diptych index {path}")
    return OnDisk(found or start), start if found is not None and start != found else None


def _at(address: Address, folder: Path | None) -> OnServer | InMilvus:
    """Where a collection is that has an address.

    Raises:
        MissingData: its record is to lie in a folder that does not exist.
    """
    if address.scheme != "milvus":
        return OnServer(address, folder)
    within = address_of(address.record)
    if within is not None:
        return InMilvus(address, OnServer(within, address.folder or folder))
    place = absolute(address.record)
    if not os.path.isdir(place):
        raise MissingData(f"{address.record}, where the record is to live, is not a folder; make it first")
    return InMilvus(address, OnDisk(place))
