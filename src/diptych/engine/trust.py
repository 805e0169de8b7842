"""What is believed of a collection that somebody else may have made.

A collection says which model is loaded for it and which files are its own. One that came with a downloaded
folder, or that lies where others write, would so choose what is loaded and shown here. Those that were
founded by this user on this machine are noted in the user's own home; any other gets the built-in model only,
and is refused if it is of another owner or names files outside of its folder, also through links, unless the
user trusts it.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path

from diptych.engine.homes.base import Home
from diptych.engine.model import DEFAULT_MODEL
from diptych.engine.place import DATABASE, default_home
from diptych.errors import CollectionError

__all__ = ["believe", "check_model", "check_origin", "is_believed"]

_IDENTITY = re.compile(r"[0-9a-f]{32}")


def believe(home: Home) -> None:
    """Note that a collection is this user's own, or trusted as if it were."""
    if note := _note(home):
        # Where nothing can be noted, the collection is taken for another's, and the user is asked.
        with contextlib.suppress(OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()
    home.believed = True


def is_believed(home: Home) -> bool:
    """Whether a collection was founded by this user on this machine, or trusted before."""
    note = _note(home)
    return note is not None and note.is_file()


def check_origin(home: Home, folder: Path) -> None:
    """See that a collection which is not known to be this user's own can be read as if it were.

    Raises:
        CollectionError: it is of another owner, or names files outside of its folder.
    """
    file = home.place / DATABASE  # which a home on a server has not
    if file.exists() and (owner := _other_owner(file)) is not None:
        raise CollectionError(
            f"the collection of {folder} belongs to another user ({owner}), who may change what it names; "
            "say that you trust it if you do",
            argument="trust",
        )
    if outside := home.first_outside():
        raise CollectionError(
            f"the collection of {folder} was not made here and names files outside of that folder, such as "
            f"{outside}; rebuild it, or say that you trust it",
            argument="trust",
        )


def check_model(name: str, folder: Path) -> None:
    """See that the model of a collection which is not known to be this user's own may be loaded.

    Raises:
        CollectionError: it is not the built-in one, so a run folder or a download.
    """
    if "@" in name or name.split(":")[0] != DEFAULT_MODEL:
        raise CollectionError(
            f"the collection of {folder} was not made here and asks for the model {name}, which is not "
            "loaded unasked; name that model yourself, or say that you trust the collection",
            argument="trust",
        )


def _note(home: Home) -> Path | None:
    """The file that stands for a collection in the user's home; None if it has no proper identity."""
    identity = home.get("id") or ""
    return default_home() / "founded" / identity if _IDENTITY.fullmatch(identity) else None


def _other_owner(path: Path) -> str | None:
    """Who else a file belongs to; None if to this user, to the one who became root, or to root."""
    if sys.platform == "win32":
        return None  # which keeps others out of a user's folders by itself
    import pwd

    owner, me = path.stat().st_uid, os.geteuid()
    if owner in (0, me) or (me == 0 and str(owner) == os.environ.get("SUDO_UID")):
        return None
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return f"number {owner}"
