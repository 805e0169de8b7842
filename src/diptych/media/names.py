"""Which picture a name in a list means: by its path, else by the one picture that has its name.

Case, the form of Unicode and the separator of folders do not matter; two pictures never answer to one name.
"""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diptych.media.pictures import is_picture

__all__ = ["Matched", "Names", "below", "match", "written"]

_SHOWN = 3  # of the pictures that have one name
_PARTS = 4  # last parts of a path by which a picture is looked for; more tell no two libraries apart


@dataclass(frozen=True, slots=True)
class Matched:
    """Whose captions are whose.

    Args:
        found: The picture's path, by the name that a list gives it.
        lost: Why a name means no picture.
    """

    found: Mapping[str, str]
    lost: Mapping[str, str]


@dataclass(slots=True)
class Names:
    """Pictures that are there, by their paths from one place, with "/" between folders.

    Args:
        paths: The paths.
        folders: Folders that are there, whether they hold pictures or not.
    """

    paths: Iterable[str]
    folders: Iterable[str] = ()
    _by_path: dict[str, list[str]] = field(default_factory=dict, init=False)
    _by_end: dict[str, list[str]] = field(default_factory=dict, init=False)
    _folders: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._folders.update(map(_folded, self.folders))
        for path in self.paths:
            folded = _folded(path)
            self._folders.add(posixpath.dirname(folded))
            self._by_path.setdefault(folded, []).append(path)
            for whole in {folded, posixpath.splitext(folded)[0]}:
                for end in _ends(whole):
                    self._by_end.setdefault(end, []).append(path)

    def at(self, path: str) -> list[str]:
        """The pictures of that path, but for case and form."""
        found = self._by_path.get(_folded(path), [])
        return [path] if path in found else found

    def has_folder(self, folder: str) -> bool:
        """Whether there is such a folder."""
        return _folded(folder) in self._folders

    def called(self, path: str) -> list[str]:
        """The pictures that have its name and most of its folders, the last ones, in common."""
        return next((found for end in _ends(_folded(path)) if (found := self._by_end.get(end))), [])


def match(
    names: Iterable[str],
    there: Callable[[str], bool],
    listing: Callable[[Sequence[str]], Names],
    *,
    folders: Sequence[str] = (),
    place: str = "",
) -> Matched:
    """Which picture each name means.

    A name is a path from where the list lies, or from one of the folders in which its pictures usually are.
    Where its folder is not there, the one picture of that name is meant; where two pictures could be, or two
    such names stand for one picture, nobody is.

    Args:
        names: As a list gives them.
        there: Whether a picture has exactly that path.
        listing: All the pictures that may be meant by these names; asked only if a path alone does not tell.
        folders: Where its pictures usually are, likeliest first.
        place: The folder in which the list lies, which its names may begin with.
    """
    found: dict[str, str] = {}
    lost: dict[str, str] = {}
    unsure: list[str] = []
    for name in names:
        path = written(name, place)
        sure = next((one for one in _places(path, folders) if one and there(one)), None)
        if sure is None:
            unsure.append(name)
        else:
            found[name] = sure
    if unsure:
        known = listing(unsure)
        by_name: dict[str, list[str]] = {}
        for name in unsure:
            path = written(name, place)
            hits = next((hits for one in _places(path, folders) if (hits := known.at(one))), [])
            if len(hits) == 1:
                found[name] = hits[0]
                continue
            folder = posixpath.dirname(path)
            here = not hits and folder and known.has_folder(folder)
            hits = hits if hits or here else known.called(path)
            if len(hits) == 1:
                by_name.setdefault(hits[0], []).append(name)
            else:
                lost[name] = _several(hits) if hits else "names no picture that is here"
        taken = set(found.values())
        for picture, some in by_name.items():
            if picture in taken or len({_folded(written(name, place)) for name in some}) > 1:
                lost |= dict.fromkeys(some, f"another name stands for the same picture ({picture})")
            else:
                found |= dict.fromkeys(some, picture)
    return Matched(found, lost)


def below(folder: Path, wanted: Iterable[str]) -> Names:
    """The pictures of a folder, and of those in it, that have the last part of one of these names."""
    last = {posixpath.basename(_folded(written(name))) for name in wanted}
    paths: list[str] = []
    folders: list[str] = []
    for home, inside, files in os.walk(folder):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        place = Path(home).relative_to(folder).as_posix()
        folders.append("" if place == "." else place)
        for file in files:
            name = _folded(file)
            if (name in last or posixpath.splitext(name)[0] in last) and is_picture(file):
                paths.append(posixpath.join(folders[-1], file))
    return Names(sorted(paths), folders)


def written(name: str, place: str = "") -> str:
    """A path as a list gives it, with "/" between folders, from the folder in which the list lies."""
    path = posixpath.normpath(name.strip().replace("\\", "/")) if name.strip() else ""
    home = place.rstrip("/") + "/"
    if place and path.startswith("../"):
        path = posixpath.normpath(home + path)
    path = path.removeprefix(home) if place else path
    while path.startswith("../"):
        path = path[3:]
    return path


def _places(path: str, folders: Sequence[str]) -> list[str]:
    return [path, *(posixpath.join(folder, path) for folder in folders if not path.startswith("/"))]


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _ends(path: str) -> list[str]:
    """The last parts of a path, most of them first."""
    parts = path.split("/")[-_PARTS:]
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _several(paths: Sequence[str]) -> str:
    shown = ", ".join(paths[:_SHOWN]) + (", ..." if len(paths) > _SHOWN else "")
    return f"names {len(paths)} pictures ({shown})"
