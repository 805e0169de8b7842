"""A folder of pictures whose captions are in lists in folders inside it, or in themselves."""

from __future__ import annotations

import os
from pathlib import Path

from diptych.data.readers.folder import Folder
from diptych.media.pictures import is_picture, own_captions
from diptych.media.tables import is_list, may_be_list

__all__ = ["FORM", "read", "recognises"]

FORM = "a folder of pictures with lists of captions in it, or with captions in their own fields"


def recognises(path: Path) -> bool:
    """Whether the folder, or one inside it, has a list of captions, or a picture that says what it shows."""
    if not path.is_dir():
        return False
    files = [Path(home, file) for home, _, files in os.walk(path) for file in files]
    return any(may_be_list(file.name) and is_list(file) for file in files) or any(
        is_picture(file.name) and own_captions(file) for file in files
    )


def read(path: Path) -> Folder:
    """The folder as a data set."""
    return Folder(path)
