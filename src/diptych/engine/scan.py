"""Walks folders, files, patterns and lists, and says which files may hold pictures or texts."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diptych.core import Side
from diptych.errors import UsageError
from diptych.media.pictures import SUFFIXES

__all__ = ["Found", "expand", "walk"]


@dataclass(frozen=True, slots=True)
class Found:
    """What was seen on a walk, with what the file system says of it.

    Args:
        path: The file, or a folder that could not be entered.
        kind: What it may hold; "folder" for a folder that could not be entered.
        size: Bytes.
        mtime_ns: Time of the last change, in nanoseconds since 1970.
        problem: Why it cannot be read; empty if nothing speaks against it.
    """

    path: Path
    kind: Literal["image", "text", "folder"]
    size: int = -1
    mtime_ns: int = -1
    problem: str = ""


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

    Hidden files and folders are passed over. Links to folders are followed after everything else, each real
    folder once, so that loops end and a link never takes the place of what it points to. A file named on its
    own counts as a picture whatever its ending, unless it is a ``.txt``.

    Args:
        paths: Absolute folders and files.
        recursive: Also the folders below.
    """
    folders: set[tuple[int, int]] = set()
    seen: set[Path] = set()
    links: list[Path] = []
    paths = list(paths)
    overlap = len(paths) > 1
    for path in paths:
        if os.path.isdir(path):
            found = _folder(path, recursive, folders, links)
        else:
            found = iter([_found(path, "text" if path.suffix.lower() == ".txt" else "image")])
        for file in found:
            if overlap and file.path in seen:
                continue
            if overlap:
                seen.add(file.path)
            yield file
    while links:
        yield from _folder(links.pop(0), recursive, folders, links)


def _folder(
    folder: Path, recursive: bool, folders: set[tuple[int, int]], links: list[Path]
) -> Iterator[Found]:
    try:
        status = folder.stat()
        # Some file systems give no inode; there the path itself tells folders apart.
        identity = (status.st_dev, status.st_ino or hash(folder.resolve()))
        if identity in folders:
            return
        folders.add(identity)
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        yield Found(folder, "folder", problem=f"cannot be entered ({error.strerror or error})")
        return
    pictures: set[str] = set()
    for entry in entries:
        stem, suffix = os.path.splitext(entry.name)
        if suffix.lower() in SUFFIXES:
            pictures |= {stem, entry.name}
    for entry in entries:
        path, (stem, suffix) = folder / entry.name, os.path.splitext(entry.name)
        if entry.name.startswith("."):
            continue
        if _is_folder(entry):
            if recursive and entry.is_symlink():
                links.append(path)
            elif recursive:
                yield from _folder(path, recursive, folders, links)
        elif suffix.lower() in SUFFIXES:
            yield _found(path, "image")
        elif suffix.lower() == ".txt" and stem not in pictures:
            yield _found(path, "text")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _found(path: Path, kind: Side) -> Found:
    try:
        status = path.stat()
    except FileNotFoundError:
        what = "is a link to nothing" if path.is_symlink() else "vanished while it was being read"
        return Found(path, kind, problem=what)
    except OSError as error:
        return Found(path, kind, problem=f"cannot be read ({error.strerror or error})")
    if not stat.S_ISREG(status.st_mode):
        return Found(path, kind, problem="is not a regular file")
    return Found(path, kind, status.st_size, status.st_mtime_ns)
