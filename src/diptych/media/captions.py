"""Texts that belong to pictures: sidecar files, caption lists and the pictures' own fields.

A picture's captions come from all of these, in this order, without repeats:

1. ``beach.txt`` (or ``beach.jpg.txt``) beside ``beach.jpg``: each line is a caption;
2. lists in its folder or a folder above, or in one called ``annotations``, ``captions`` or ``text`` there:
   files with a column of pictures and one of captions, whatever their names, and the other forms that
   `diptych.media.tables` reads;
3. its own EXIF description, IPTC caption and XMP description: see `diptych.media.fields`.

What else is known of it (`diptych.media.metadata`) comes from ``beach.xmp`` and ``beach.json`` (or with the
whole name before the ending), which may hold captions, too, and from the other columns of such lists.

Which picture a name in a list means, `diptych.media.names` says.

A ``.txt`` file that stands beside no picture of its name and is no list holds loose texts, one a line; nobody
reads it who was not asked to.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

from diptych.errors import BadData
from diptych.media import names, textfiles
from diptych.media.cells import is_missing
from diptych.media.links import LEADS_OUT, leads_out, real
from diptych.media.metadata import Fields, merged, united
from diptych.media.opening import Described
from diptych.media.pictures import is_picture
from diptych.media.report import Report
from diptych.media.sidecars import read_sidecar
from diptych.media.tables import (
    CaptionList,
    describes,
    is_list,
    is_named_list,
    may_be_list,
    picture_folders,
    read_list,
)

__all__ = ["Sidecars", "lines"]

_LIST_FOLDERS = frozenset({"annotations", "annotation", "captions", "text", "texts", "metadata"})


class _List:
    """What may be a caption list, opened when first asked for, and whose captions are whose.

    Args:
        path: The file.
        root: The folder from which it names pictures.
        state: Its size (bytes) and time (nanoseconds).

    Attributes:
        read: Whether it was: it turned out to be a list.
        wrong: Why it was not used; empty if it was, and before it is read.
        report: What was used of it; likewise.
    """

    def __init__(self, path: Path, root: Path, state: tuple[int, int]) -> None:
        self.path, self.root, self.state = path, root, state
        self.read, self.wrong = False, ""
        self.report = Report()

    def of(self, picture: Path) -> list[str]:
        """The captions of a picture in the list's folder or below."""
        return self._said[0].get(self._name(picture), []) if self._captions else []

    def fields_of(self, picture: Path) -> Fields:
        """What else it says of a picture in its folder or below."""
        return self._said[1].get(self._name(picture), {})

    def _name(self, picture: Path) -> str:
        return picture.relative_to(self.root).as_posix()

    @cached_property
    def _captions(self) -> bool:
        return is_list(self.path)

    @cached_property
    def _said(self) -> tuple[Mapping[str, list[str]], Mapping[str, Fields]]:
        """Captions and fields, by path from the root."""
        if not self._captions and not describes(self.path):
            return {}, {}
        self.read = True
        try:
            content = read_list(self.path)
        except BadData as error:
            self.wrong = str(error)
            self.report.leave("files", self.wrong, str(self.path))
            return {}, {}
        matched = names.match(
            content.captions,
            partial(_is_picture_at, self.root),
            partial(names.below, self.root),
            folders=picture_folders(self.path),
            place=self.root.as_posix(),
        )
        found: dict[str, list[str]] = {}
        fields: dict[str, Fields] = {}
        for name, captions in content.captions.items():
            if name in matched.found:
                picture, more = matched.found[name], content.fields[name]
                found.setdefault(picture, []).extend(captions)
                fields[picture] = united(fields.get(picture, {}), more)
        self._tell(content, matched)
        return found, fields

    def _tell(self, content: CaptionList, matched: names.Matched) -> None:
        used = sum(len(content.lines[name]) for name in matched.found)
        self.report.use(rows=used, lists=1)
        for name, reason in matched.lost.items():
            self.report.leave("rows", reason, *self._places(content.lines[name], f" ({name})"))
        for line, reason in content.skipped.items():
            self.report.leave("rows", reason, *self._places([line]))

    def _places(self, rows: list[int], more: str = "") -> Iterator[str]:
        return (f"{self.path.name}, line {line}{more}" for line in rows)


class Sidecars:
    """What the files of one folder, and lists in folders above, say of the folder's pictures.

    They are read only when asked for.

    Args:
        folder: The folder.
        above: The same of the folder above, if its lists count here.
        follow_links: Also read links that lead out of the folders `inside`.
        inside: Folders that links may lead into; those of `above`, or else this one, if there are none.
        left_out: Says of a path, and whether it is a folder, that nothing is to be read from it.

    Attributes:
        files: Size (bytes) and time (nanoseconds) of every ``.txt``, of all that may be a caption list, and
            of what describes a picture of the folder.
        read: Those that were read.
        wrong: Those that could not be used, with the reason.

    Raises:
        OSError: the folder cannot be listed.
    """

    def __init__(
        self,
        folder: Path,
        above: Sidecars | None = None,
        *,
        follow_links: bool = False,
        inside: Sequence[Path] = (),
        left_out: Callable[[Path, bool], bool] | None = None,
    ) -> None:
        self.folder, self._left_out = folder, left_out
        given = real(inside) or (None if above is None else above._inside)
        self._inside: list[str] | None = None if follow_links else given or real([folder])
        self.read: set[Path] = set()
        self.wrong: dict[Path, str] = {}
        self._beside = Report()
        texts: dict[Path, tuple[int, int]] = {}
        entries = self._followed(_listed(folder))
        pictures = {stem for entry in entries for stem in _captioned_by(entry.name)}
        own = list(_lists(folder, folder, entries, pictures))
        for entry in entries:
            stem, ending = os.path.splitext(entry.name)
            speaks = ending.lower() == ".txt" or (ending.lower() in _DESCRIBING and stem in pictures)
            if speaks and entry.is_file():
                texts[folder / entry.name] = _state(entry)
        for entry in entries:
            if entry.name.lower() in _LIST_FOLDERS or entry.name.lower().endswith("_text"):
                own += self._lists_within(folder / entry.name)
        self._lists: list[_List] = own + (above._lists if above is not None else [])
        self.files = texts | {one.path: one.state for one in self._lists}

    def _followed(self, entries: list[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
        """Those that are no links out of the folder; of the others it is told which might have captions."""
        out = {
            one.name: Path(one.path)
            for one in entries
            if one.is_symlink() and leads_out(one.path, self._inside)
        }
        for name, path in out.items():
            if may_be_list(name) or (name.lower() in _LIST_FOLDERS and path.is_dir()):
                self._beside.leave("files", LEADS_OUT, str(path))
        return [one for one in entries if one.name not in out and not self._is_left_out(one)]

    def _is_left_out(self, entry: os.DirEntry[str]) -> bool:
        """A picture never is here: what goes by its name is no list, whether or not it is taken itself."""
        if self._left_out is None or is_picture(entry.name):
            return False
        return self._left_out(Path(entry.path), entry.is_dir())

    def _lists_within(self, folder: Path) -> Iterator[_List]:
        """The lists of a folder inside that holds nothing but what is said of the pictures around it."""
        if not folder.is_dir():
            return
        entries = self._followed(_listed(folder))
        if not any(is_picture(entry.name) for entry in entries):
            yield from _lists(folder, self.folder, entries, set())

    def stamp(self, picture: Path) -> str:
        """Changes when a file changes that may say something of the picture; empty if there is none."""
        beside = [path for path in (*_beside(picture), *_describing(picture)) if path in self.files]
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
            if one.read:
                self.read.add(one.path)
            if one.wrong:
                self.wrong[one.path] = one.wrong
        return list(dict.fromkeys(found))

    def described(self, picture: Path) -> Described:
        """What the files for one picture alone say in its fields, captions too, and then the lists of it."""
        captions: list[str] = []
        fields: list[Fields] = []
        for path in _describing(picture):
            if path in self.files:
                said = self._read(path)
                captions += said.captions
                fields.append(said.fields)
        for one in self._lists:
            fields.append(one.fields_of(picture))
            if one.read:
                self.read.add(one.path)
            if one.wrong:
                self.wrong[one.path] = one.wrong
        return Described(list(dict.fromkeys(captions)), merged({}, *fields))

    def _read(self, path: Path) -> Described:
        self.read.add(path)
        try:
            found = read_sidecar(path)
            self._beside.use(files=1)
            return found
        except BadData as error:
            self.wrong[path] = str(error)
            self._beside.leave("files", str(error), str(path))
            return Described([], {})

    def reports(self) -> dict[Path, Report]:
        """What was used of every list that was read."""
        return {one.path: one.report for one in self._lists if one.path in self.read}

    def taken(self) -> Report:
        """Which files beside pictures were used since this was asked last, and which were not."""
        beside, self._beside = self._beside, Report()
        return beside

    def _lines(self, path: Path) -> list[str]:
        self.read.add(path)
        try:
            found = [line for line in lines(path) if not is_missing(line)]
            self._beside.use(files=1)
            return found
        except BadData as error:
            self.wrong[path] = str(error)
            self._beside.leave("files", str(error), str(path))
            return []


def lines(text: Path | bytes) -> list[str]:
    """The lines that say something, of a text file or its bytes: UTF-8, or UTF-16 with its mark.

    Raises:
        BadData: it is no such text, too large, or cannot be read.
    """
    try:
        data = text if isinstance(text, bytes) else textfiles.content(text)
    except OSError as error:
        raise BadData(f"cannot be read ({error.strerror or error})") from error
    return [line.strip() for line in textfiles.decoded(data).splitlines() if line.strip()]


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as listing:
        return sorted(listing, key=lambda entry: entry.name)


def _lists(folder: Path, root: Path, entries: list[os.DirEntry[str]], pictures: set[str]) -> Iterator[_List]:
    for entry in entries:
        path = folder / entry.name
        hidden = entry.name.startswith(".")
        if not hidden and may_be_list(entry.name) and entry.is_file() and _may_be(path, pictures):
            yield _List(path, root, _state(entry))


def _may_be(path: Path, pictures: set[str]) -> bool:
    """Whether it may be a list: what goes by the name of a picture speaks of that one alone."""
    return is_named_list(path.name) or path.stem not in pictures


def _captioned_by(name: str) -> tuple[str, ...]:
    """Stems of the files that speak of a picture of that name."""
    return (os.path.splitext(name)[0], name) if is_picture(name) else ()


def _state(entry: os.DirEntry[str]) -> tuple[int, int]:
    status = entry.stat()
    return status.st_size, status.st_mtime_ns


def _is_picture_at(root: Path, path: str) -> bool:
    try:
        return is_picture(path) and (root / path).is_file()
    except (OSError, ValueError):  # no file system has such a name
        return False


def _beside(picture: Path) -> tuple[Path, Path]:
    return picture.with_suffix(".txt"), picture.with_name(picture.name + ".txt")


_DESCRIBING = (".xmp", ".json")


def _describing(picture: Path) -> list[Path]:
    return [
        path for ending in _DESCRIBING for path in (picture.with_suffix(ending), Path(f"{picture}{ending}"))
    ]
