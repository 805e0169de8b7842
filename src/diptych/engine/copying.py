"""Copies a collection from one home into another: page by page, each a transaction that says how far it got.

Nothing is encoded and no picture is read. What was copied is looked at once more at the end: both homes are
gone through, counted and summed up, whatever their servers say of themselves.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diptych.core import SIDES
from diptych.engine import ignoring
from diptych.engine.calibration import SETTING as CALIBRATION
from diptych.engine.homes.base import Home
from diptych.engine.homes.entries import Caption, Known, State, VectorColumn
from diptych.engine.homes.folding import OF_NAMES, READ
from diptych.engine.homes.names import is_own
from diptych.engine.opening import Opened
from diptych.engine.results import Progress
from diptych.engine.where import where_of
from diptych.errors import CollectionBusy, CollectionError, UsageError
from diptych.media.metadata import Fields

__all__ = ["Copied", "copy_collection"]

_MARK = "copied"  # setting of a home that is filled from another, until it is whole
_PAGE = 200  # files in one transaction
_PASSES = 3  # for which a home that is written to meanwhile is followed


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy came to.

    Args:
        source, target: What the homes are called.
        files: How many the source has, items of programs among them.
        copied: How many of these this run copied; the others were there.
        images, texts: Items in both homes.
        vectors: In both homes, of all models.
        checksum: Of both homes: of names, contents, texts, fields and vectors, in hexadecimal.
        seconds: Duration.
    """

    source: str
    target: str
    files: int
    copied: int
    images: int
    texts: int
    vectors: int
    checksum: str
    seconds: float

    def as_dict(self) -> Mapping[str, Any]:
        """As JSON has it."""
        return asdict(self)


def copy_collection(
    source: str | Path,
    target: str | Path,
    *,
    trust: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Copied:
    """Copy a collection to a home that has none: a folder, or the address of a server.

    With it go all vectors, codes, captions, fields, what was read in pictures, calibrations, and what is left
    out. Pictures stay where they are: names of files go on meaning the same files. May be interrupted at any
    moment; the next call goes on. What changes in the source meanwhile is followed.

    Args:
        source: An indexed folder, or an address.
        target: Where to copy to.
        trust: As for `diptych.open`, of the source.
        on_progress: Called after every page of files.

    Raises:
        UsageError: the target has another collection, or is the source.
        MissingData: the source is none.
        CollectionBusy: another process writes to the target, or does not stop writing to the source.
        CollectionError: what was copied is not what the source has; the source is somebody else's and not
            trusted.
    """
    started = time.perf_counter()
    there, _ = where_of(source, create=False)
    with Opened(there, trust=trust) as given:
        if not given.home.believed:
            raise CollectionError(
                f"{given.home.name} was not made here, and its copy would be yours; say that you trust it",
                argument="trust",
            )
        here, _ = where_of(target, create=True, folder=given.folder)
        with Opened(here) as taking, taking.writing():
            work = _Copying(given.home, taking.home, on_progress, started)
            return work.run()


class _Copying:
    """One copy."""

    def __init__(
        self, source: Home, target: Home, told: Callable[[Progress], None] | None, started: float
    ) -> None:
        self.source, self.target, self.told, self.started = source, target, told, started
        self.id = source.get("id")
        if self.id is not None and self.id == target.get("id"):
            raise UsageError(f"{source.name} is the collection that is to be copied; name another place")
        self.copied = 0

    def run(self) -> Copied:
        """Copy, and look whether all of it is there."""
        self._check_target()
        for _ in range(_PASSES):
            state = self.source.state
            self._copy(state)
            mine, other = summed(self.source), summed(self.target)
            if self.source.state == state:
                break
        else:
            raise CollectionBusy(
                f"{self.source.name} is being written to all the time; copy it again once that has stopped, "
                "what was copied stays"
            )
        if mine != other:
            with self.target.batch(changes=False):
                self._note(state, 0, compare=True)
            raise CollectionError(
                f"{self.target.name} does not hold what {self.source.name} holds ({_told(other)} against "
                f"{_told(mine)}); copy it again, which compares every file"
            )
        with self.target.batch(changes=False):
            self._note(state, -1, whole=True)
        images, texts = (self.source.count(side) for side in SIDES)
        return Copied(
            self.source.name, self.target.name, mine.files, self.copied, images, texts, mine.vectors,
            f"{mine.sum:032x}", time.perf_counter() - self.started,
        )  # fmt: skip

    def _check_target(self) -> None:
        mark = self._mark()
        filled = self.target.column is not None or bool(self.target.files_after(0, 1))
        if filled and mark.get("from") != self.id:
            raise UsageError(
                f"{self.target.name} has a collection of its own already; copy to a place that has none"
            )
        if mark.get("whole") and mark.get("left") != self.target.state.token:
            raise UsageError(
                f"{self.target.name} was copied from {self.source.name} and has been changed since; copy to "
                "a place that has none"
            )

    def _mark(self) -> dict[str, Any]:
        found = self.target.get(_MARK)
        return {} if found is None else dict(json.loads(found))

    def _note(self, state: State, upto: int, *, compare: bool = False, whole: bool = False) -> None:
        """Say in the target how far it is, with what it gets."""
        said = {"from": self.id, "state": [state.generation, state.token], "upto": upto, "compare": compare}
        if whole:
            said |= {"whole": True, "left": self.target.state.token}
        self.target.set(_MARK, json.dumps(said))

    def _copy(self, state: State) -> None:
        """Copy what the source has in a state, going on where an earlier run was ended."""
        source, target, mark = self.source, self.target, self._mark()
        same = mark.get("state") == [state.generation, state.token]
        upto = int(mark["upto"]) if same else 0
        compare = bool(mark.get("compare")) if same else bool(mark)
        if upto < 0:
            return  # it is whole
        self._columns(state, upto, compare=compare)
        total, done = source.count("image") + source.count("text"), 0
        while page := source.files_after(upto, _PAGE):
            fields = source.fields([file.id for file in page])
            contents = [content_of(source, file) for file in page]
            with target.batch():
                for file, content in zip(page, contents, strict=True):
                    if not (compare and self._has(file, content, fields[file.id])):
                        self._put(file, content, fields[file.id])
                upto = page[-1].id
                self._note(state, upto, compare=compare)
            done += sum(file.image + len(content.texts) for file, content in zip(page, contents, strict=True))
            if self.told is not None:
                self.told(Progress(done, total, 0, None, time.perf_counter() - self.started))
        if compare:
            self._forget()
        self._rest()
        with target.batch(changes=False):
            self._note(state, upto, compare=compare)

    def _columns(self, state: State, upto: int, *, compare: bool) -> None:
        """Make the columns of the source, and drop those that it has no more."""
        target, wanted = self.target, self.source.columns()
        with target.batch(changes=False):
            self._note(state, upto, compare=compare)  # else nobody knew whose these are
            for column in target.columns():
                if column.name not in [one.name for one in wanted]:
                    target.drop_column(column)
            for column in wanted:
                target.put_column(
                    column.name, column.model, column.fingerprint, column.similarity, column.dimensions
                )

    def _pairs(self) -> Iterator[tuple[VectorColumn, VectorColumn]]:
        """The columns of source and target that hold the same."""
        there = {column.name: column for column in self.target.columns()}
        for column in self.source.columns():
            yield column, there[column.name]

    def _key(self, key: bytes) -> bytes:
        """What a name of the source is in the target, which may be of another folder."""
        return key if is_own(key) else self.target.key(self.source.path(key))

    def _has(self, file: Known, content: Content, fields: Fields) -> bool:
        """Whether the target has a file just as the source has it."""
        known = self.target.file(self._key(file.key))
        if known is None:
            return False
        there = content_of(self.target, known)
        mine = digest_of(self.source, file, content, fields)
        return mine == digest_of(self.target, known, there, self.target.fields([known.id])[known.id])

    def _put(self, file: Known, content: Content, fields: Fields) -> None:
        """Store a file with all that belongs to it; inside a batch."""
        target, key = self.target, self._key(file.key)
        number = target.put_file(key, file.size, file.mtime_ns, file.hash)
        columns = [there for _, there in self._pairs()]
        if file.image:
            target.put_image(number, content.image[0] if columns else None)
        texts = [
            Caption(text, content.captions[at][0] if columns else None, source)
            for at, (text, source) in enumerate(content.texts)
        ]
        target.add_captions(number, texts)
        target.put_stamp(number, file.captions)
        target.put_fields(number, _plain(fields))
        rows = target.rows_of(key) if columns[1:] else []
        vectors = ([content.image] if file.image else []) + list(content.captions)
        for at, column in enumerate(columns[1:], 1):
            found = {
                row: vector for row, one in zip(rows, vectors, strict=True) if (vector := one[at]) is not None
            }
            if found:
                target.using(column).put_vectors(found, among=False)
        self.copied += 1

    def _forget(self) -> None:
        """Forget what the source no longer has."""
        after = 0
        while page := self.target.files_after(after, _PAGE):
            gone = [one.id for one in page if self.source.file(self._back(one)) is None]
            if gone:
                with self.target.batch():
                    self.target.remove_files(gone)
            after = page[-1].id

    def _back(self, file: Known) -> bytes:
        return file.key if is_own(file.key) else self.source.key(self.target.path(file.key))

    def _rest(self) -> None:
        """What belongs to no file: what was read, could not be read, is left out; codes and calibrations."""
        source, target = self.source, self.target
        with target.batch(changes=False):
            for digest, state, said in source.inscriptions():
                target.put_inscription(digest, state, said)
        with target.batch(changes=False):
            target.remove_skipped([key for key, *_ in target.skipped()])
            for key, reason, size, mtime_ns in source.skipped():
                target.put_skipped(self._key(key), reason, size, mtime_ns)
            target.take_again(target.removed())
            target.keep_out(map(self._key, source.removed()))
            for column in source.columns():
                if (kept := source.get(CALIBRATION + column.fingerprint)) is not None:
                    target.set(CALIBRATION + column.fingerprint, kept)
        if patterns := ignoring.kept(source):
            ignoring.keep(target, patterns)
        for mine, other in self._pairs():
            target.using(other).take_codes(source.using(mine))


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds.

    Args:
        image: Its picture's stored vectors, one for each column of the home; None where it has none.
        texts: Text and source of each of its texts.
        captions: The stored vectors of these.
    """

    image: Sequence[bytes | None]
    texts: Sequence[tuple[str, str]]
    captions: Sequence[Sequence[bytes | None]]


def content_of(home: Home, file: Known) -> Content:
    """What a home holds of a file."""
    texts = home.texts(file.id)
    columns = [home.using(column) for column in home.columns()]
    said = [column.text_vectors([text for text, _ in texts]) if texts else {} for column in columns]
    return Content(
        [column.image_vector(file.id) for column in columns] if file.image else [],
        texts,
        [[known.get(text) for known in said] for text, _ in texts],
    )


@dataclass(frozen=True, slots=True)
class Summed:
    """A home in numbers, whatever the order of its files."""

    files: int
    items: int
    vectors: int
    sum: int


def summed(home: Home) -> Summed:
    """Go through all of a home and sum it up."""
    after = files = items = vectors = total = 0
    while page := home.files_after(after, _PAGE):
        fields = home.fields([file.id for file in page])
        for file in page:
            content = content_of(home, file)
            total += digest_of(home, file, content, fields[file.id])
            files, items = files + 1, items + file.image + len(content.texts)
            vectors += sum(one is not None for line in (content.image, *content.captions) for one in line)
        after = page[-1].id
    return Summed(files, items, vectors, total % (1 << 128))


def digest_of(home: Home, file: Known, content: Content, fields: Fields) -> int:
    """A number (128 bits) of a file with all that belongs to it."""
    name = file.key if is_own(file.key) else os.fsencode(home.path(file.key))
    told = sorted((name, values) for name, values in _plain(fields).items())
    read = sorted(fields.get(READ, ()), key=str)
    parts: list[bytes] = [
        name,
        repr((file.size, file.mtime_ns, file.captions, file.image, told, read, list(content.texts))).encode(
            "utf-8", "backslashreplace"
        ),
        file.hash,
    ]
    names = [column.name.encode() for column in home.columns()]
    for line in (content.image, *content.captions):
        for column, vector in zip(names, line, strict=False):
            parts += [column, b"" if vector is None else vector]
    whole = hashlib.blake2b(digest_size=16)
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return int.from_bytes(whole.digest(), "big")


def _plain(fields: Fields) -> dict[str, tuple[Any, ...]]:
    """The fields that a home does not make by itself of names and of what was read."""
    return {name: tuple(values) for name, values in fields.items() if name not in (*OF_NAMES, READ)}


def _told(found: Summed) -> str:
    return f"{found.files} files, {found.items} items, {found.vectors} vectors, sum {found.sum:032x}"
