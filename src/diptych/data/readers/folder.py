"""A folder of pictures, each with its captions in a text file of the same name beside it, or in lists.

``dog.jpg`` is described by its own fields (`diptych.media.fields`), by ``dog.txt`` (or ``dog.jpg.txt``), one
caption a line, and by caption lists (`diptych.media.captions`): as for a collection. Folders inside are
walked too; if some are called train, val, test or the like, they become the splits.
"""

from __future__ import annotations

import os
from pathlib import Path

from diptych.data.base import Pictures, Split, captioned
from diptych.data.reading import Read, split_names
from diptych.errors import BadData, MissingData
from diptych.media.captions import Sidecars
from diptych.media.pictures import is_picture, own_captions
from diptych.media.report import Report, counted

__all__ = ["FORM", "Folder", "read", "recognises"]

FORM = "a folder of pictures with a .txt of captions beside each"


class Folder(Read):
    """A user's captioned pictures.

    Pictures without a caption are left out, listed in `skipped` and counted in `report`; so are folders
    beside those of the splits, and files of captions that cannot be read.

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
        report, root = Report(), Sidecars(folder)
        inside = {one.name: one for one in sorted(folder.iterdir()) if one.is_dir()}
        named = split_names(name for name in inside if not name.startswith("."))
        parts: dict[str, Split] = {}
        lists: dict[Path, Report] = {}
        for name, usual in named.items():
            if usual in parts:
                raise BadData(
                    f"{folder} holds the split {usual!r} twice, again in {name!r}; keep one of them"
                )
            parts[usual] = self._read(inside[name], folder, root, report, lists)
        if not named:
            parts["all"] = self._read(folder, folder, None, report, lists)
        else:
            _leave_others(folder, set(inside) - set(named), report)
        for one in lists.values():
            report.join(one)
        parts = {name: part for name, part in parts.items() if len(part)}
        if not parts:
            why = next((f"; {left.first[0]} {left.reason}" for left in report.left if left.first), "")
            raise BadData(
                f"{folder} holds no picture with a caption "
                f"({counted(len(self.skipped), 'pictures')} without): dog.jpg needs a "
                f"dog.txt beside it, one caption a line{why}"
            )
        report.leave("pictures", "has no caption", *map(str, self.skipped))
        super().__init__(folder.resolve().name, parts, report)

    def _read(
        self, part: Path, top: Path, root: Sidecars | None, report: Report, lists: dict[Path, Report]
    ) -> Split:
        """The captioned pictures of a folder, named by their paths from the top."""
        names: list[str] = []
        captions: list[list[str]] = []
        known: dict[str, Sidecars] = {} if root is None else {str(top): root}
        for home, folders, files in os.walk(part):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            sidecars = known[home] = Sidecars(Path(home), known.get(os.path.dirname(home)))
            for file in sorted(one for one in files if is_picture(one) and not one.startswith(".")):
                path = Path(home, file)
                found = list(dict.fromkeys([*own_captions(path), *sidecars.of(path)]))
                if not found:
                    self.skipped.append(path)
                    continue
                names.append(path.relative_to(top).as_posix())
                captions.append(found)
            report.join(sidecars.taken())
            lists |= sidecars.reports()
        return captioned(Pictures.from_folder(top, names), captions, image_id=names)


def _leave_others(folder: Path, others: set[str], report: Report) -> None:
    """Name what stands beside the folders of splits and so belongs to none."""
    with_pictures = [
        name
        for name in sorted(others)
        if not name.startswith(".")
        and any(is_picture(file) for _, _, files in os.walk(folder / name) for file in files)
    ]
    report.leave("folders", "is no split, as train, val and test beside it are", *with_pictures)
    beside = sorted(one.name for one in folder.iterdir() if one.is_file() and is_picture(one.name))
    report.leave("pictures", "is in none of the folders of splits beside it", *beside)


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
