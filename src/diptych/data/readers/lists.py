"""A folder of pictures whose captions are in lists in folders inside it, as a collection would find them."""

from __future__ import annotations

import os
from pathlib import Path

from diptych.data.readers.folder import Folder
from diptych.media.tables import is_list, may_be_list

__all__ = ["FORM", "read", "recognises"]

FORM = "a folder of pictures with lists of captions in it"


def recognises(path: Path) -> bool:
    """Whether the folder, or one inside it, has a list of captions."""
    if not path.is_dir():
        return False
    return any(
        may_be_list(file) and is_list(Path(home, file)) for home, _, files in os.walk(path) for file in files
    )


def read(path: Path) -> Folder:
    """The folder as a data set."""
    return Folder(path)
