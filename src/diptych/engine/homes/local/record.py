"""The SQLite file that holds everything a collection knows; durability and readers' locks are SQLite's.

Vectors are kept in half precision, binary codes packed. A batch is one transaction, on disk in full when its
block ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import Rows, Side
from diptych.engine.conditions import Condition
from diptych.engine.homes.entries import Caption, Known, State, Stored
from diptych.engine.homes.local import words
from diptych.engine.homes.local.columns import Columns
from diptych.engine.homes.local.database import Database, damaged
from diptych.engine.homes.local.facts import Facts
from diptych.engine.homes.local.filtered import Filtered
from diptych.engine.homes.local.inscribed import Inscribed
from diptych.engine.homes.local.migrations import SCHEMA_VERSION, migrate, version_of
from diptych.engine.homes.names import PAGE, Names, is_own, name_of
from diptych.engine.homes.wording import Words
from diptych.errors import CollectionError, TooNew
from diptych.index.flat import among
from diptych.media.metadata import Fields, Value
from diptych.printable import printable

__all__ = ["Record"]

_FREE_SHARE = 0.25  # of the file, that is worth writing it anew
_TWINS = 64  # files of one content that are looked at, where thousands of empty pictures may be alike

_FILE = """SELECT path, id, size, mtime_ns, hash, captions,
    EXISTS (SELECT 1 FROM item WHERE item.file = file.id AND side = 'image') AS image FROM file """


class Record(Columns, Names, Words):
    """One collection's SQLite file: a `Home`, but for its searching.

    Args:
        path: The file; made with its tables if absent, brought to today's format if it is of an earlier one.
            Where that cannot be written, a copy of it is read for as long as it is open.
        root: The folder that names are relative to.

    Raises:
        TooNew: it was written by a later version of Diptych.
        CollectionError: it is not a collection, or cannot be opened.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self.place, self.root, self._path = path.parent, root, path
        self._copy = contextlib.ExitStack()
        self._counted: dict[Side, tuple[State, int]] = {}
        self._db = Database(path)
        try:
            self._bring_up_to_date(path)
        except (ValueError, TypeError) as error:
            self.close()
            raise damaged(path, str(error)) from error
        except BaseException:
            self.close()
            raise
        self.facts, self._filtered = Facts(self._db), Filtered(self._db)
        self._inscribed = Inscribed(self._db, self.facts)

    def _bring_up_to_date(self, path: Path) -> None:
        version = self._db.with_connection(version_of)  # takes no lock, so that opening waits for no writer
        if version > SCHEMA_VERSION:
            raise TooNew(
                f"{path} was written by a later version of Diptych (format {version}, this one knows up to "
                f"{SCHEMA_VERSION}); install the newest version"
            )
        if version < SCHEMA_VERSION:
            if self._db.readonly:
                copy = Path(self._copy.enter_context(tempfile.TemporaryDirectory())) / path.name
                self._db.copy_to(copy)
                self._db.close()
                self._db = Database(copy)
            self._db.with_connection(migrate)

    def close(self) -> None:
        """Close the file; the object is of no use afterwards."""
        self._db.close()
        self._copy.close()

    def copy_to(self, path: Path) -> None:
        """Write everything to another SQLite file, in one transaction of that file."""
        self._db.copy_to(path)

    def compact(self) -> None:
        """Give back the room of what was removed, where it pays; the caller may write."""
        self._db.compact(_FREE_SHARE)

    # States and settings

    @property
    def state(self) -> State:
        """What the last batch left."""
        found = self._db.one("SELECT generation, token FROM batch ORDER BY generation DESC LIMIT 1")
        if found is None:
            raise damaged(self._path, "it has lost the list of its batches")
        return State(*found)

    @property
    def latest_state(self) -> State:
        """What the last batch left, whatever is held on to now."""
        with self._db.outside():
            return self.state

    def knows(self, state: State) -> bool:
        """Whether it was ever in that state, whatever is held on to now."""
        with self._db.outside():
            found = self._db.one(
                "SELECT 1 FROM batch WHERE generation = ? AND token = ?", state.generation, state.token
            )
        return found is not None

    @contextlib.contextmanager
    def batch(self, *, changes: bool = True) -> Iterator[None]:
        """One transaction: on disk in full when the block ends, or not at all.

        Args:
            changes: Whether items change, which makes a new state.
        """
        try:
            with self._db.batch():
                yield
                self._db.with_connection(words.write)
                if changes:
                    self._db.run(
                        "INSERT INTO batch SELECT max(generation) + 1, ? FROM batch", secrets.token_hex(16)
                    )
        except BaseException:
            self.facts.forget()
            raise

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[State]:
        """A block in which this thread reads one state, whatever is written meanwhile."""
        with self._db.snapshot():
            yield self.state

    def get(self, name: str) -> str | None:
        """A setting, or None."""
        found = self._db.one("SELECT value FROM setting WHERE name = ?", name)
        return None if found is None else str(found[0])

    def set(self, name: str, value: str) -> None:
        """Keep a setting."""
        self._db.run("INSERT OR REPLACE INTO setting VALUES (?, ?)", name, value)

    # Names

    def damaged(self, why: str) -> CollectionError:
        """What to say of a file that is no whole collection."""
        return damaged(self._path, why)

    def first_outside(self) -> Path | None:
        """The first file named that does not lie in the collection's folder; None if all do."""
        found = self._db.one(
            "SELECT path FROM file WHERE path >= CAST('/' AS BLOB) AND path < CAST('0' AS BLOB) "
            "OR (path > x'01' AND '/' || CAST(path AS TEXT) || '/' LIKE '%/../%') "
            "OR (? AND path GLOB '[A-Za-z]:*') LIMIT 1",
            os.name == "nt",
        )
        return None if found is None else self.path(bytes(found[0]))

    # Files

    def file(self, key: bytes) -> Known | None:
        """The file of that name, if it is known."""
        found = self._db.one(_FILE + "WHERE path = ?", key)
        return None if found is None else _known(found)

    def files_named(self, keys: Iterable[bytes]) -> Mapping[bytes, Known]:
        """Those of the files of some names that are known."""
        return {key: known for key in keys if (known := self.file(key)) is not None}

    def page(self, after: bytes, before: bytes) -> list[Known]:
        """Some of the files with names above one and below another, in their order."""
        found = self._db.every(
            _FILE + "WHERE path > ? AND path < ? ORDER BY path LIMIT ?", after, before, PAGE
        )
        return [_known(line) for line in found]

    def files_after(self, number: int, most: int) -> list[Known]:
        """Some of the files, and of the items that programs gave, with numbers above one, ascending."""
        found = self._db.every(_FILE + "WHERE id > ? ORDER BY id LIMIT ?", number, most)
        return [_known(line) for line in found]

    def own_files(self) -> list[Known]:
        """The items that programs gave, which have no file, as if each were one."""
        found = self._db.every(_FILE + "WHERE path >= x'00' AND path < x'01' ORDER BY path")
        return [_known(line) for line in found]

    def file_names(self, ids: Sequence[int]) -> list[tuple[int, bytes]]:
        """Number and name of those of the files that are known, in the order of their numbers."""
        return self._db.every(
            "SELECT id, path FROM file WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
            json.dumps(list(ids)),
        )

    def copies(self, rows: Sequence[int]) -> dict[int, list[int]]:
        """Rows of the same content as each of some: of the same side, of equal files, of the same words."""
        found: dict[int, list[int]] = {}
        for row, other in self._db.each(
            "SELECT item.row, copy.row FROM item CROSS JOIN file ON file.id = item.file "
            "CROSS JOIN file AS twin ON twin.hash = file.hash "
            "CROSS JOIN item AS copy INDEXED BY item_by_file "
            "ON copy.file = twin.id AND copy.side = item.side AND copy.text IS item.text "
            "WHERE item.row IN (SELECT value FROM json_each(?)) AND copy.row != item.row ORDER BY copy.row",
            json.dumps([int(row) for row in rows]),
        ):
            found.setdefault(row, []).append(other)
        return found

    def twins(self, digest: bytes, *, image: bool) -> list[Known]:
        """Some of the files of that content, those with or those without a picture."""
        found = self._db.every(
            _FILE + "WHERE hash = ? AND image = ? ORDER BY id LIMIT ?", digest, image, _TWINS
        )
        return [_known(line) for line in found]

    def put_file(self, key: bytes, size: int, mtime_ns: int, digest: bytes) -> int:
        """Store a file anew, forgetting its items if it was there; returns its number."""
        self.remove_file(key)
        file = self._db.run(
            "INSERT INTO file (path, size, mtime_ns, hash) VALUES (?, ?, ?, ?)", key, size, mtime_ns, digest
        )
        self.facts.put_name(file, key)
        self._inscribed.give(file, digest)
        return file

    def move_file(self, file: int, key: bytes, size: int, mtime_ns: int) -> None:
        """The file has another name, or another time; its items stay."""
        self._db.run(
            "UPDATE file SET path = ?, size = ?, mtime_ns = ? WHERE id = ?", key, size, mtime_ns, file
        )
        self.facts.put_name(file, key)

    def remove_file(self, key: bytes) -> None:
        """Forget the file of that name and its items, if it is known."""
        self._db.run("DELETE FROM file WHERE path = ?", key)

    def remove_files(self, ids: Iterable[int]) -> None:
        """Forget files and their items."""
        self._db.run_many("DELETE FROM file WHERE id = ?", ((i,) for i in ids))

    def put_fields(self, file: int, fields: Fields) -> bool:
        """Make these the fields of a file; returns whether any changed."""
        return self.facts.put(file, fields)

    def fields(self, files: Sequence[int]) -> Mapping[int, Fields]:
        """The fields of each of the files."""
        return self.facts.of(files)

    def field_names(self) -> Set[str]:
        """Names of the fields that any file ever had."""
        return {name for (name,) in self._db.every("SELECT name FROM field")}

    def matching(self, side: Side, condition: Condition) -> Rows:
        """The rows of a side whose files fulfil a condition, ascending."""
        with self.snapshot() as state:
            return self._filtered.matching(side, condition, state)

    def facets(self, side: Side, name: str, within: Rows | None = None) -> dict[Value | None, int]:
        """How many items have each value of a field, the most frequent first."""
        with self.snapshot() as state:
            return self._filtered.facets(side, name, within, state)

    # Text inside pictures

    def unread(self, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Hashes, above one, of pictures that were not looked at for text, each with the name of a file."""
        return self._inscribed.unread(after, limit)

    def count_unread(self) -> int:
        """How many contents of pictures were not looked at for text."""
        return self._inscribed.count()

    def put_inscription(self, digest: bytes, state: str, said: str) -> None:
        """Keep what was read in pictures of a content, or that nothing was, or why it failed."""
        self._inscribed.put(digest, state, said)

    def inscriptions(self) -> Iterator[tuple[bytes, str, str]]:
        """All that was kept so."""
        return self._inscribed.all()

    # Items

    def put_image(self, file: int, vector: bytes | None) -> None:
        """Store the picture of a file."""
        row = self._db.run("INSERT INTO item (file, side) VALUES (?, 'image')", file)
        if vector is not None:
            self._put_vector(row, vector)

    def image_vector(self, file: int) -> bytes | None:
        """The stored vector of a file's picture; None if it has none."""
        found = self._db.one(
            "SELECT vector FROM item JOIN vector ON vector.row = item.row AND vector_column = ? "
            "WHERE file = ? AND side = 'image'",
            self._number, file,
        )  # fmt: skip
        return None if found is None else self._blob(found[0])

    def text_vectors(self, texts: Iterable[str]) -> dict[str, bytes]:
        """The stored vectors of those of the texts that are stored anywhere."""
        found, main = {}, self._number
        for text in texts:
            row = self._db.one(
                "SELECT vector FROM item JOIN vector ON vector.row = item.row AND vector_column = ? "
                "WHERE text = ? LIMIT 1",
                main, text,
            )  # fmt: skip
            if row is not None:
                found[text] = self._blob(row[0])
        return found

    def _blob(self, value: Any) -> bytes:
        if not isinstance(value, bytes):
            raise damaged(self._path, "a vector is none")
        return value

    def put_stamp(self, file: int, stamp: str) -> None:
        """Say what `Known.captions` is of a file."""
        self._db.run("UPDATE file SET captions = ? WHERE id = ?", stamp, file)

    def put_captions(self, file: int, stamp: str, captions: Sequence[Caption]) -> None:
        """Make these the texts of a file; rows stay as they are if the texts do."""
        self.put_stamp(file, stamp)
        if self.texts(file) == [(caption.text, caption.source) for caption in captions]:
            return
        self._db.run("DELETE FROM item WHERE file = ? AND side = 'text'", file)
        self.add_captions(file, captions)

    def add_captions(self, file: int, captions: Sequence[Caption]) -> None:
        """Give a file more texts, after those that it has."""
        for caption in captions:
            row = self._db.run(
                "INSERT INTO item (file, side, text, meta) VALUES (?, 'text', ?, ?)",
                file, caption.text, json.dumps({"source": caption.source}),
            )  # fmt: skip
            if caption.vector is not None:
                self._put_vector(row, caption.vector)

    def _put_vector(self, row: int, vector: bytes) -> None:
        self._db.run(
            "INSERT INTO vector (row, vector_column, vector) VALUES (?, ?, ?)", row, self._number, vector
        )

    def texts(self, file: int) -> list[tuple[str, str]]:
        """Text and source of each text of a file."""
        return self._db.every(
            "SELECT text, json_extract(meta, '$.source') FROM item WHERE file = ? AND side = 'text' "
            "ORDER BY row",
            file,
        )

    def items(self, rows: Sequence[int], *, shown: bool = True) -> list[Stored]:
        """The items of these rows, in their order, with the captions of pictures; one query for all.

        Raises:
            CollectionError: a row is not there, or it is of a file that may not be shown.
        """
        found: dict[int, Stored] = {}
        captions: dict[int, list[str]] = {}
        files: dict[int, list[int]] = {}
        for row, file, side, key, digest, text, source, caption in self._db.each(
            "SELECT item.row, item.file, item.side, path, hash, item.text, "
            "json_extract(item.meta, '$.source'), caption.text "
            "FROM item JOIN file ON file.id = item.file LEFT JOIN item AS caption "
            "ON item.side = 'image' AND caption.file = item.file AND caption.side = 'text' "
            "WHERE item.row IN (SELECT value FROM json_each(?)) ORDER BY item.row, caption.row",
            json.dumps([int(row) for row in rows]),
        ):
            if not isinstance(text, str | None) or not isinstance(caption, str | None):
                raise damaged(self._path, "a text is none")
            if caption is not None:
                captions.setdefault(row, []).append(caption)
            told = tuple(captions.get(row, ()))
            files.setdefault(file, []).append(row)
            found[row] = Stored(
                row,
                side,
                name_of(key),
                None if is_own(key) else self.path(key),
                text,
                source or "",
                told,
                hash=digest,
            )
        for file, fields in self.facts.of([*files]).items():
            for row in files[file]:
                found[row] = replace(found[row], fields=fields)
        missing = next((row for row in rows if row not in found), None)
        if missing is not None:
            raise CollectionError(f"item {missing} was removed while it was being read; search again")
        if shown:
            self.check_shown(found.values())
        return [found[row] for row in rows]

    def rows(self, side: Side, *, under: bytes | None = None) -> list[int]:
        """The rows of a side, ascending; only of files below the folder stored as `under`, if given."""
        if under is None:
            return [row for (row,) in self._db.each("SELECT row FROM item WHERE side = ? ORDER BY row", side)]
        first = under.rstrip(b"/") + b"/"
        found = self._db.each(
            "SELECT row FROM file CROSS JOIN item INDEXED BY item_by_file ON item.file = file.id "
            "WHERE side = ? AND path >= ? AND path < ? "
            "ORDER BY row",
            side, first, first[:-1] + b"0",  # which comes after the slash
        )  # fmt: skip
        return [row for (row,) in found]

    def newest(self, side: Side, *, within: Rows | None = None) -> Rows:
        """The rows of a side, newest first: by the field "date", and then those without by their files' time.

        Args:
            side: Of the items.
            within: Rows that are asked for, ascending; all if None.
        """
        found = self._db.each(
            "SELECT row FROM item JOIN file ON file.id = item.file LEFT JOIN (SELECT fact.file AS dated, "
            "max(value) AS date FROM fact JOIN field ON field.id = fact.field WHERE name = 'date' "
            "GROUP BY fact.file) ON dated = item.file "
            "WHERE side = ? ORDER BY date IS NULL, date DESC, mtime_ns DESC, path, row",
            side,
        )
        rows = np.fromiter((row for (row,) in found), np.int64)
        return rows if within is None else rows[among(rows, within)]

    def rows_of(self, key: bytes) -> list[int]:
        """The rows of a file, its picture first."""
        found = self._db.every(
            "SELECT row FROM item JOIN file ON file.id = item.file WHERE path = ? ORDER BY side, row", key
        )
        return [row for (row,) in found]

    def count(self, side: Side) -> int:
        """How many items a side has."""
        return int(self._db.one("SELECT count(*) FROM item WHERE side = ?", side)[0])

    # Words

    def asked(
        self, side: Side, text: str, entries: int, without: Sequence[str], within: Rows | None
    ) -> words.WordSearch:
        """A search of a side for the words of a text."""
        return words.WordSearch(self._db, side, text, entries, without, within)

    def words_from(self, rows: Sequence[int], text: str) -> Mapping[int, str]:
        """Where the words of what is asked stand in each item; see `Home.words_from`."""
        return words.sources(self._db, rows, text)

    # Skipped files

    def skipped(self) -> Iterator[tuple[bytes, str, int, int]]:
        """Name, reason, size and time of every file that could not be read, by name."""
        yield from self._db.every("SELECT path, reason, size, mtime_ns FROM skipped ORDER BY path")

    def skipped_file(self, key: bytes) -> tuple[str, int, int] | None:
        """Reason, size and time of one file that could not be read."""
        found = self._db.one("SELECT reason, size, mtime_ns FROM skipped WHERE path = ?", key)
        return None if found is None else tuple(found)

    def put_skipped(self, key: bytes, reason: str, size: int, mtime_ns: int) -> None:
        """Remember a file that could not be read; size and time -1 make every run try again."""
        # A reason may repeat what the file says, and that half a character, which no database takes.
        self._db.run(
            "INSERT OR REPLACE INTO skipped VALUES (?, ?, ?, ?)", key, printable(reason), size, mtime_ns
        )

    def remove_skipped(self, keys: Iterable[bytes]) -> None:
        """Forget that these files could not be read."""
        self._db.run_many("DELETE FROM skipped WHERE path = ?", ((key,) for key in keys))

    # Removed files

    def removed(self) -> Set[bytes]:
        """Names of the files and folders that are kept out until they are named themselves."""
        return {key for (key,) in self._db.every("SELECT path FROM removed")}

    def keep_out(self, keys: Iterable[bytes]) -> None:
        """Keep files and folders out."""
        self._db.run_many("INSERT OR REPLACE INTO removed VALUES (?)", ((key,) for key in keys))

    def take_again(self, keys: Iterable[bytes]) -> None:
        """No longer keep these out."""
        self._db.run_many("DELETE FROM removed WHERE path = ?", ((key,) for key in keys))

    def check(self) -> str:
        """SQLite's own verdict on the file: "ok", or what is wrong."""
        return str(self._db.one("PRAGMA quick_check")[0])


def _known(line: tuple[bytes, int, int, int, bytes, str, int]) -> Known:
    """A line of `_FILE`."""
    key, number, size, mtime_ns, digest, captions, image = line
    return Known(key, number, size, mtime_ns, digest, captions, bool(image))
