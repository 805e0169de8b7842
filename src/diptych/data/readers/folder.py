"""A folder of pictures, each with its captions in a text file of the same name beside it.

``dog.jpg`` is described by ``dog.txt`` (or ``dog.jpg.txt``), one caption a line, and by caption lists, as for
a collection (`diptych.media.captions`). Folders inside are walked too; if they are called train, val or test
they become the splits.
"""

from __future__ import annotations

import os
from pathlib import Path

from diptych.data.base import Loaded, Pictures, Split, captioned
from diptych.errors import BadData, MissingData
from diptych.media.captions import Sidecars
from diptych.media.pictures import is_picture

__all__ = ["FORM", "Folder", "read", "recognises"]

FORM = "a folder of pictures with a .txt of captions beside each"

_SPLITS = ("train", "val", "validation", "dev", "test")


class Folder(Loaded):
    """A user's captioned pictures.

    Pictures without a text file are left out and counted in `skipped`.

    Args:
        path: The folder.

    Raises:
        MissingData: there is no such folder.
        BadData: it holds no picture with a caption.
    """

    def __init__(self, path: str | Path) -> None:
        folder = Path(path).expanduser()
        if not folder.is_dir():
            raise MissingData(f"{folder} is not a folder; give one of pictures with a .txt beside each")
        self.skipped: list[Path] = []
        """Pictures that have no captions."""
        inside = {one.name: one for one in sorted(folder.iterdir()) if one.is_dir()}
        named = {name: inside[name] for name in _SPLITS if name in inside}
        parts = {name: self._read(one) for name, one in (named or {"all": folder}).items()}
        parts = {name: part for name, part in parts.items() if len(part)}
        if not parts:
            raise BadData(
                f"{folder} holds no picture with a caption ({len(self.skipped)} pictures without): "
                "dog.jpg needs a dog.txt beside it, one caption a line"
            )
        super().__init__(folder.resolve().name, parts)

    def _read(self, folder: Path) -> Split:
        names: list[str] = []
        captions: list[list[str]] = []
        known: dict[str, Sidecars] = {}
        for home, folders, files in os.walk(folder):
            folders.sort()
            sidecars = known[home] = Sidecars(Path(home), known.get(os.path.dirname(home)))
            for file in sorted(filter(is_picture, files)):
                path = Path(home, file)
                found = sidecars.of(path)
                if sidecars.wrong:
                    wrong, reason = next(iter(sidecars.wrong.items()))
                    raise BadData(f"{wrong} {reason}")
                if not found:
                    self.skipped.append(path)
                    continue
                names.append(path.relative_to(folder).as_posix())
                captions.append(found)
        return captioned(Pictures.from_folder(folder, names), captions, image_id=names)


def recognises(path: Path) -> bool:
    """Whether the folder, or one inside it, has a picture with a text file beside it."""
    if not path.is_dir():
        return False
    return any(
        is_picture(file) and (Path(file).with_suffix(".txt").name in files or f"{file}.txt" in files)
        for _, _, files in os.walk(path)
        for file in files
    )


def read(path: Path) -> Folder:
    """The folder as a data set."""
    return Folder(path)
