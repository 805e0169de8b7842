"""Walks folders, files, patterns and lists, and says which files may hold pictures or texts."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diptych.engine.decode import SUFFIXES
from diptych.errors import UsageError

__all__ = ["Found", "expand", "walk"]


@dataclass(frozen=True, slots=True)
class Found:
    """A file that was seen, with what the file system says of it."""

    path: Path
    kind: Literal["image", "text"]
    size: int
    mtime_ns: int


def expand(paths: Iterable[str | Path]) -> list[Path]:
    """Absolute paths, patterns (``*.jpg``, ``**/cat*``) replaced by what they match.

    Raises:
        UsageError: a path that does not exist, or a pattern that matches nothing.
    """
    found: list[Path] = []
    for given in paths:
        path = Path(os.path.abspath(Path(given).expanduser()))
        if os.path.lexists(path):
            found.append(path)
            continue
        matches = glob.glob(str(path), recursive=True) if glob.has_magic(str(path)) else []
        if not matches:
            what = "matches nothing" if glob.has_magic(str(given)) else "does not exist"
            raise UsageError(f"{given} {what}; give folders, files or patterns of pictures")
        found += [Path(match) for match in sorted(matches)]
    return found


def walk(paths: Iterable[Path], *, recursive: bool = True) -> Iterator[Found]:
    """Every file of the paths that may hold a picture or texts, each once, in a stable order.

    Hidden files and folders are passed over. Links are followed, each real folder once, so that loops end.
    A file named on its own counts as a picture whatever its ending, unless it is a ``.txt``.

    Args:
        paths: Absolute folders and files.
        recursive: Also the folders below.
    """
    seen: set[tuple[int, int]] = set()
    given: set[Path] = set()
    for path in paths:
        if path.is_dir():
            yield from (file for file in _folder(path, recursive, seen) if file.path not in given)
        elif path not in given:
            given.add(path)
            kind: Literal["image", "text"] = "text" if path.suffix.lower() == ".txt" else "image"
            yield _found(path, kind)


def _folder(folder: Path, recursive: bool, seen: set[tuple[int, int]]) -> Iterator[Found]:
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:
        return
    # Windows' stat may give no inode; there the path itself tells folders apart.
    seen.add((status.st_dev, status.st_ino or hash(folder.resolve())))
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return  # a folder that may not be listed or vanished holds nothing for us
    names = {Path(entry.name) for entry in entries}
    pictures = {name.stem for name in names if name.suffix.lower() in SUFFIXES} | {
        name.name for name in names if name.suffix.lower() in SUFFIXES
    }
    for entry in entries:
        path = folder / entry.name
        suffix = path.suffix.lower()
        if entry.name.startswith("."):
            continue
        if _is_folder(entry):
            if recursive:
                yield from _folder(path, recursive, seen)
        elif suffix in SUFFIXES:
            yield _found(path, "image")
        elif suffix == ".txt" and path.stem not in pictures:
            yield _found(path, "text")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _found(path: Path, kind: Literal["image", "text"]) -> Found:
    try:
        status = path.stat()
    except OSError:
        return Found(path, kind, -1, -1)  # a broken link, or gone already; reading it will say so
    return Found(path, kind, status.st_size, status.st_mtime_ns)
