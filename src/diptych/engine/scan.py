"""Walks folders, files, patterns and lists, and says which files may hold pictures or texts."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from diptych.core import Side
from diptych.engine.ignoring import Here, Rules, Unclear
from diptych.engine.place import FOLDER, absolute
from diptych.errors import UsageError
from diptych.media.links import LEADS_OUT, leads_out, real
from diptych.media.pictures import SUFFIXES
from diptych.media.raw import RAW_SUFFIXES, can_read_raw, is_raw
from diptych.media.tables import is_list, may_be_list

__all__ = [
    "Found",
    "expand",
    "is_beside_picture",
    "is_made_by_systems",
    "is_raw_beside_picture",
    "may_caption",
    "walk",
    "walks",
]

# Small copies, deleted files and the like that storage stations and systems keep beside what they hold.
_MADE_FOLDERS = frozenset(
    {"@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "__macosx", "$recycle.bin"}
    | {"system volume information", "lost+found", "recycler", "_gsdata_"}
)
_RAW_BESIDE = "as raw beside a picture of the same name"
_MADE_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})


@dataclass(frozen=True, slots=True)
class Found:
    """What was seen on a walk, with what the file system says of it.

    Args:
        path: The file, or a folder that could not be entered.
        kind: What it may hold; "other" for a file that is passed over, "folder" for a folder that could not
            be entered.
        size: Bytes.
        mtime_ns: Time of the last change, in nanoseconds since 1970.
        problem: Why it cannot be read; empty if nothing speaks against it.
        named: Whether the file itself was given, and not only a folder that it is in.
        excluded: Why it is left out, whatever it is; empty if it is not.
    """

    path: Path
    kind: Literal["image", "text", "folder", "other"]
    size: int = -1
    mtime_ns: int = -1
    problem: str = ""
    named: bool = False
    excluded: str = ""


def expand(paths: Iterable[str | Path]) -> list[Path]:
    """Absolute paths, patterns (``*.jpg``, ``**/cat*``) replaced by what they match.

    Raises:
        UsageError: what is no path, or does not exist, or a pattern that matches nothing or leads too deep.
    """
    found: list[Path] = []
    for given in paths:
        path = absolute(given)
        if os.path.lexists(path):
            found.append(path)
            continue
        try:
            matches = glob.glob(str(path), recursive=True) if glob.has_magic(str(path)) else []
        except RecursionError:
            raise UsageError(
                f"{given} leads through folders too deep for a pattern; give the folder itself"
            ) from None
        if not matches:
            what = "matches nothing" if glob.has_magic(str(given)) else "does not exist"
            raise UsageError(f"{given} {what}; give folders, files or patterns of pictures")
        found += [Path(match) for match in sorted(matches)]
    return found


def walk(paths: Iterable[Path], *, recursive: bool = True, follow_links: bool = False) -> Iterator[Found]:
    """Every file of the paths that may hold a picture or texts, each once; see `walks`."""
    for _, found in walks(paths, recursive=recursive, follow_links=follow_links):
        yield from found


def walks(
    paths: Iterable[Path],
    *,
    recursive: bool = True,
    follow_links: bool = False,
    inside: Sequence[Path] = (),
    rules: Rules | None = None,
) -> Iterator[tuple[Path | None, Iterator[Found]]]:
    """The files of each folder given, of those named one by one, and of those that links lead to.

    Hidden files and folders, and those that systems make for themselves, are not met, unless a rule takes
    them back. What a rule leaves out is named, but no such folder is entered. A folder's files come
    in the order of their names as bytes, all of the path together; nothing is held of them but one listing
    for each level. Links to folders are followed after everything else, each real folder once, so that loops
    end and a link never takes the place of what it points to. Links that lead out of the folders given are
    named as a problem and not followed, unless that is asked for: whoever made a folder would else decide
    what is taken of the whole disk. A file named on its own counts as a picture whatever its ending, unless
    it is a ``.txt``. A raw file of a camera is left out beside a picture of its name, unless a rule takes it
    back. A ``.txt`` beside no picture of its name may hold loose texts or be a list of captions; nothing is
    opened here to tell.

    Args:
        paths: Absolute folders and files.
        recursive: Also the folders below.
        follow_links: Also links that lead out of the folders given.
        inside: Further folders that links may lead into.
        rules: What is left out; what files in the folders given say, if None.

    Returns:
        Pairs, each to be used up before the next is asked for: the folder walked, None for what is in no
        such order; and its files.
    """
    paths = list(paths)
    rules = rules or Rules(paths[0] if paths else Path(), given=paths)
    folders: set[tuple[int, int]] = set()
    links: list[Path] = []
    roots = None if follow_links else real(one for one in (*paths, *inside) if os.path.isdir(one))
    named = {path: False for path in paths if not os.path.isdir(path)}  # whether it was met

    def once(files: Iterable[Found]) -> Iterator[Found]:
        for found in files:
            if named.get(found.path):
                continue
            if found.path in named:
                named[found.path] = True
                found = replace(found, named=True)
            yield found

    for path in paths:
        if os.path.isdir(path):
            yield path, once(_within(roots, _folder(path, recursive, folders, links, rules)))
    yield None, once(_named(path, rules) for path in named)
    while links:
        link = links.pop(0)
        if leads_out(link, roots):
            yield None, iter([Found(link, "folder", problem=LEADS_OUT)])
        else:
            yield None, once(_within(roots, _folder(link, recursive, folders, links, rules)))


def _within(roots: Sequence[str] | None, files: Iterable[Found]) -> Iterator[Found]:
    """The files, those that are links out of the folders with that problem."""
    for found in files:
        out = not found.problem and found.path.is_symlink() and leads_out(found.path, roots)
        yield replace(found, problem=LEADS_OUT) if out else found


def is_beside_picture(path: Path) -> bool:
    """Whether a ``.txt`` captions a picture beside it, and so is no list of texts."""
    with os.scandir(path.parent) as listing:
        return any(path.stem in _captioned_by(entry.name) for entry in listing)


def is_raw_beside_picture(path: Path, rules: Rules) -> bool:
    """Whether a raw file of a camera is left out as a picture of its name, that is taken, is there."""
    if not is_raw(path) or (here := rules.of(path.parent)).of(path.name) == "":
        return False
    with os.scandir(path.parent) as listing:
        return path.stem.lower() in _pictured([entry.name for entry in listing], here)


def is_made_by_systems(path: Path) -> bool:
    """Whether a file lies in a folder that a system made for itself, such as ``@eaDir``."""
    return not _MADE_FOLDERS.isdisjoint(part.lower() for part in path.parts[:-1])


def may_caption(path: Path) -> bool:
    """Whether a file may say something of the pictures beside it."""
    return may_be_list(path.name)


def _captioned_by(name: str) -> tuple[str, ...]:
    """Stems of the ``.txt`` files that caption a file of that name."""
    stem, suffix = os.path.splitext(name)
    return (stem, name) if suffix.lower() in SUFFIXES | RAW_SUFFIXES else ()


def _pictured(names: Iterable[str], here: Here) -> set[str]:
    """Stems, in lower case, of the pictures among names that are taken; raw files of cameras do not count."""
    parts = ((name, *os.path.splitext(name)) for name in names)
    return {stem.lower() for name, stem, suffix in parts if suffix.lower() in SUFFIXES and not here.of(name)}


def _folder(
    folder: Path, recursive: bool, folders: set[tuple[int, int]], links: list[Path], rules: Rules
) -> Iterator[Found]:
    """The files of a folder and of those below, level by level on a stack of our own: Python's has an end."""
    levels = [_listed(folder, recursive, folders, links, rules)]
    while levels:
        found = next(levels[-1], None)
        if found is None:
            levels.pop()
        elif isinstance(found, Path):
            levels.append(_listed(found, recursive, folders, links, rules))
        else:
            yield found


def _listed(
    folder: Path, recursive: bool, folders: set[tuple[int, int]], links: list[Path], rules: Rules
) -> Iterator[Found | Path]:
    """The files of one folder, and where they come in the order the folders below."""
    try:
        status = folder.stat()
        # Some file systems give no inode; there the path itself tells folders apart.
        identity = (status.st_dev, status.st_ino or hash(folder.resolve()))
        if identity in folders:
            return
        folders.add(identity)
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=_in_order)
        here = rules.of(folder)
    except OSError as error:
        yield Found(folder, "folder", problem=f"cannot be entered ({error.strerror or error})")
        return
    except Unclear as unclear:
        yield Found(unclear.folder, "folder", problem=unclear.reason)
        return
    pictures = {stem for entry in entries for stem in _captioned_by(entry.name)}
    raws = any(is_raw(entry.name) for entry in entries)
    pictured = _pictured([entry.name for entry in entries], here) if raws else set()
    for entry in entries:
        if entry.name == FOLDER:  # a collection is no part of what it is of
            continue
        path, (stem, suffix) = folder / entry.name, os.path.splitext(entry.name)
        is_folder = _is_folder(entry)
        excluded = here.of(entry.name, folder=is_folder)
        if _is_passed_over(entry.name, is_folder) and excluded != "":
            continue
        if excluded:
            if recursive or not is_folder:
                yield Found(path, "folder" if is_folder else "other", excluded=excluded)
        elif is_folder:
            if recursive and entry.is_symlink():
                links.append(path)
            elif recursive:
                yield path
        elif suffix.lower() in RAW_SUFFIXES and stem.lower() in pictured and excluded is None:
            yield Found(path, "other", excluded=_RAW_BESIDE)
        elif suffix.lower() in SUFFIXES or (suffix.lower() in RAW_SUFFIXES and can_read_raw()):
            yield _found(path, "image")
        elif suffix.lower() == ".txt" and stem not in pictures:
            yield _found(path, "text")
        elif not may_caption(path) and entry.name.lower() not in _MADE_FILES:
            yield Found(path, "other")


def _in_order(entry: os.DirEntry[str]) -> bytes:
    """What sorts a listing so that whole paths come in the order of their bytes."""
    return os.fsencode(entry.name) + (b"/" if _is_folder(entry) else b"")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_passed_over(name: str, is_folder: bool) -> bool:
    """Whether an entry is not met unless a rule takes it back."""
    return name.startswith(".") or (is_folder and name.lower() in _MADE_FOLDERS)


def _named(path: Path, rules: Rules) -> Found:
    try:
        if excluded := rules.why(path):
            return Found(path, "other", excluded=excluded)
        if os.path.lexists(path) and is_raw_beside_picture(path, rules):
            return Found(path, "other", excluded=_RAW_BESIDE)
    except Unclear as unclear:
        return Found(unclear.folder, "folder", problem=unclear.reason)
    if is_list(path):
        return Found(path, "text", problem="is a list of captions, read with the pictures that it names")
    return _found(path, "text" if path.suffix.lower() == ".txt" else "image")


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
