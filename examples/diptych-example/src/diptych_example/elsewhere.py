"""Elsewhere: the collection of a folder, kept in another folder, whose path is the address.

Address: example:///FOLDER
Needs: nothing

A home that does as the one in SQLite does, at an address of its own. One on a server has the same methods,
those of `diptych.engine.homes.base.Home`, and does each in its own way, as the home in PostgreSQL shows.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from diptych.engine.homes.address import Address
from diptych.engine.homes.local.home import Local
from diptych.engine.place import DATABASE

__all__ = ["Elsewhere", "is_there"]

_FOLDER = "example_folder"  # the setting that says whose pictures these are


def is_there(address: Address) -> bool:
    """Whether there is a collection at an address."""
    return (_place(address) / DATABASE).is_file()


class Elsewhere(Local):
    """A `Home` in a folder apart.

    Args:
        address: Of the folder and the collection.
        places: Where homes keep what else belongs to a collection; not needed, as there is a folder.
        root: The folder that names of a new collection are relative to.
    """

    def __init__(self, address: Address, places: Path, root: Path) -> None:
        place = _place(address)
        place.mkdir(parents=True, exist_ok=True)
        super().__init__(place / DATABASE, root)
        if (known := self.get(_FOLDER)) is None:
            with self.batch(changes=False):
                self.set(_FOLDER, str(root))
        else:
            self.root = address.folder or Path(known)

    @property
    def name(self) -> str:
        """What it is called where people read it."""
        return f"example://{self.place}"


def _place(address: Address) -> Path:
    return Path(unquote(urlsplit(address.url).path)) / address.collection
