"""Texts that belong to pictures: sidecar files, caption lists and the pictures' own fields.

A picture's captions come from all of these, in this order, without repeats:

1. ``beach.txt`` (or ``beach.jpg.txt``) beside ``beach.jpg``: each line is a caption;
2. ``captions.*`` or ``metadata.*`` ending in csv, tsv, jsonl or json, or a table called ``captions.txt``,
   beside it or in a folder above: see `diptych.media.tables` for the names of their columns;
3. its own EXIF description, IPTC caption and XMP description: see `diptych.media.fields`.

A list names pictures by their paths from where it lies. A bare name, or one that leads to no folder here,
means a picture beside the list, or in a folder called ``images`` beside it.

A ``.txt`` file that stands beside no picture of its name and is no table is a list of texts, one a line.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import posixpath
from functools import cached_property
from pathlib import Path

from diptych.errors import BadData
from diptych.media.tables import LIST_SUFFIXES, CaptionList, is_list, picture_folders, read_list

__all__ = ["Sidecars", "lines"]


class _List:
    """One caption list, read when first asked for, and whose captions are whose.

    Args:
        path: The file.
        state: Its size (bytes) and time (nanoseconds).

    Attributes:
        wrong: Why it was not used; empty if it was, and before it is read.
        partly: Which rows were not used, and why; likewise.
    """

    def __init__(self, path: Path, state: tuple[int, int]) -> None:
        self.path, self.state = path, state
        self.wrong = self.partly = ""

    def of(self, picture: Path) -> list[str]:
        """The captions of a picture beside the list or below."""
        captions = self._placed.get(picture.relative_to(self.path.parent).as_posix())
        if captions is not None:
            return captions
        beside = picture.parent == self.path.parent
        folder = picture.parent
        among = folder.parent == self.path.parent and folder.name in picture_folders(self.path)
        if among and (self.path.parent / picture.name).exists():
            return []  # the name means that one
        return self._bare.get(picture.name, []) if beside or among else []

    @cached_property
    def _content(self) -> CaptionList:
        try:
            found = read_list(self.path)
        except BadData as error:
            self.wrong = str(error)
            return CaptionList()
        if found.skipped:
            line, reason = next(iter(found.skipped.items()))
            rows = len(found.skipped)
            self.partly = (
                f"{rows} of its rows {'is' if rows == 1 else 'are'} not used (line {line}: {reason})"
            )
        return found

    @cached_property
    def _placed(self) -> dict[str, list[str]]:
        """Captions by path from the list's folder."""
        placed: dict[str, list[str]] = {}
        for name, captions in self._content.captions.items():
            placed.setdefault(self._relative(name), []).extend(captions)
        return placed

    @cached_property
    def _bare(self) -> dict[str, list[str]]:
        """Captions by name, of pictures whose folder is not here; two of one name are nobody's."""
        bare: dict[str, list[str]] = {}
        folders: dict[str, bool] = {"": False}
        for path, captions in self._placed.items():
            folder, name = posixpath.split(path)
            if folder not in folders:
                folders[folder] = (self.path.parent / folder).is_dir()
            if not folders[folder]:
                bare[name] = [] if name in bare else captions
        return bare

    def _relative(self, name: str) -> str:
        """A path of the list as seen from its folder, however it is written."""
        home = self.path.parent.as_posix().rstrip("/") + "/"
        path = posixpath.normpath(name.strip().replace("\\", "/"))
        whole = posixpath.normpath(home + path) if path.startswith("../") else path
        return whole.removeprefix(home)


class Sidecars:
    """What the files of one folder, and lists in folders above, say of the folder's pictures.

    They are read only when asked for.

    Args:
        folder: The folder.
        above: The same of the folder above, if its lists count here.

    Attributes:
        files: Size (bytes) and time (nanoseconds) of every caption list and every ``.txt``.
        read: Those that were read.
        wrong: Those that could not be used, with the reason.
        partly: Those some rows of which could not be used, with the first reason.

    Raises:
        OSError: the folder cannot be listed.
    """

    def __init__(self, folder: Path, above: Sidecars | None = None) -> None:
        self.folder = folder
        self.read: set[Path] = set()
        self.wrong: dict[Path, str] = {}
        self.partly: dict[Path, str] = {}
        own: list[_List] = []
        texts: dict[Path, tuple[int, int]] = {}
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1].lower()
            if suffix not in LIST_SUFFIXES | {".txt"} or not entry.is_file():
                continue
            path = folder / entry.name
            table = is_list(path)
            if not table and suffix != ".txt":
                continue
            status = entry.stat()
            state = (status.st_size, status.st_mtime_ns)
            if table:
                own.append(_List(path, state))
            else:
                texts[path] = state
        self._lists: list[_List] = own + (above._lists if above is not None else [])
        self.files = texts | {one.path: one.state for one in self._lists}

    def stamp(self, picture: Path) -> str:
        """Changes when a file changes that may say something of the picture; empty if there is none."""
        beside = [path for path in _beside(picture) if path in self.files]
        beside += [one.path for one in self._lists]
        stamps = [f"{path.name}:{self.files[path]}" for path in beside]
        return hashlib.blake2b(repr(stamps).encode(), digest_size=8).hexdigest() if stamps else ""

    def of(self, picture: Path) -> list[str]:
        """Captions of one picture of the folder: from its sidecar, then from the lists, the nearest first."""
        found: list[str] = []
        for path in _beside(picture):
            if path in self.files:
                found += self._lines(path)
        for one in self._lists:
            found += one.of(picture)
            self.read.add(one.path)
            if one.wrong:
                self.wrong[one.path] = one.wrong
            if one.partly:
                self.partly[one.path] = one.partly
        return list(dict.fromkeys(found))

    def _lines(self, path: Path) -> list[str]:
        self.read.add(path)
        try:
            return lines(path)
        except BadData as error:
            self.wrong[path] = str(error)
            return []


def _beside(picture: Path) -> tuple[Path, Path]:
    return picture.with_suffix(".txt"), picture.with_name(picture.name + ".txt")


def lines(text: Path | bytes) -> list[str]:
    """The lines that say something, of a text file or its bytes: UTF-8, or UTF-16 with its mark.

    Raises:
        BadData: it is no such text, or cannot be read.
    """
    try:
        data = text if isinstance(text, bytes) else text.read_bytes()
        utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        decoded = data.decode("utf-16" if utf16 else "utf-8-sig")
    except OSError as error:
        raise BadData(f"cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise BadData(f"is not UTF-8 text (byte {error.start})") from error
    if "\0" in decoded:
        raise BadData("is not text (it holds a zero byte)")
    return [line.strip() for line in decoded.splitlines() if line.strip()]
