"""The tables of a collection in PostgreSQL: files, items, texts, fields, and what must not be forgotten."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Rows, Side
from diptych.engine.conditions import Condition
from diptych.engine.homes.entries import Caption, Known, State, Stored
from diptych.engine.homes.names import PAGE, is_own, name_of
from diptych.engine.homes.postgres import words
from diptych.engine.homes.postgres.columns import Columns
from diptych.engine.homes.postgres.database import Database
from diptych.engine.homes.postgres.facts import Facts
from diptych.engine.homes.wording import Words
from diptych.errors import CollectionError
from diptych.media.metadata import Fields, Value
from diptych.printable import printable

__all__ = ["Record"]

_TWINS = 64  # files of one content that are looked at, where thousands of empty pictures may be alike
_DRAWN = 64  # numbers that are drawn at a time, so that not each takes a question
_FILE = """SELECT path, id, size, mtime_ns, hash, captions,
    EXISTS (SELECT 1 FROM item WHERE item.file = file.id AND side = 'image') AS image FROM file """


class Record(Columns, Words):
    """One collection's tables: a `Home`, but for its searching.

    Args:
        db: The tables, of today's format.
        place: A folder of this machine for what belongs to it here.
        root: The folder that names are relative to.
    """

    def __init__(self, db: Database, place: Path, root: Path) -> None:
        self._db, self.place, self.root = db, place, root
        self.facts = Facts(db)
        self._counted: dict[Side, tuple[State, int]] = {}
        self._reworded: set[int] = set()
        self._textless: set[int] = set()  # files that are new in this batch, and had no text yet

    def close(self) -> None:
        """Close the connections; the object is of no use afterwards."""
        self._db.close()

    # States and settings

    @property
    def state(self) -> State:
        """What the last batch left."""
        found = self._db.one("SELECT generation, token FROM batch ORDER BY generation DESC LIMIT 1")
        if found is None:
            raise self.damaged("it has lost the list of its batches")
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
                "SELECT 1 FROM batch WHERE generation = %s AND token = %s", state.generation, state.token
            )
        return found is not None

    @contextlib.contextmanager
    def batch(self, *, changes: bool = True) -> Iterator[None]:
        """One transaction: kept in full when the block ends, or not at all.

        Args:
            changes: Whether items change, which makes a new state.
        """
        try:
            with self._db.batch():
                yield
                words.write(self._db, self._reworded)
                if changes:
                    self._db.run(
                        "INSERT INTO batch SELECT max(generation) + 1, %s FROM batch", secrets.token_hex(16)
                    )
        finally:
            self._reworded.clear()
            self._textless.clear()
            self.facts.forget()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[State]:
        """A block in which this thread reads one state, whatever is written meanwhile."""
        with self._db.snapshot():
            yield self.state

    def get(self, name: str) -> str | None:
        """A setting, or None."""
        found = self._db.one("SELECT value FROM setting WHERE name = %s", name)
        return None if found is None else str(found[0])

    def set(self, name: str, value: str) -> None:
        """Keep a setting."""
        self._db.run(
            "INSERT INTO setting VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            name, value,
        )  # fmt: skip

    def first_outside(self) -> Path | None:
        """The first file named that does not lie in the collection's folder; None if all do."""
        found = self._db.one(
            "SELECT path FROM file WHERE (path >= '/' AND path < '0') OR (path > '\\x01' AND "
            "encode('/' || path || '/', 'escape') LIKE '%%/../%%') LIMIT 1"
        )
        return None if found is None else self.path(bytes(found[0]))

    # Files

    def file(self, key: bytes) -> Known | None:
        """The file of that name, if it is known."""
        found = self._db.one(_FILE + "WHERE path = %s", key)
        return None if found is None else Known(*found)

    def files_named(self, keys: Iterable[bytes]) -> Mapping[bytes, Known]:
        """Those of the files of some names that are known."""
        found = self._db.every(_FILE + "WHERE path = ANY(%s)", [*keys])
        return {known.key: known for known in (Known(*line) for line in found)}

    def page(self, after: bytes, before: bytes) -> list[Known]:
        """Some of the files with names above one and below another, in their order."""
        found = self._db.every(
            _FILE + "WHERE path > %s AND path < %s ORDER BY path LIMIT %s", after, before, PAGE
        )
        return [Known(*line) for line in found]

    def files_after(self, number: int, most: int) -> list[Known]:
        """Some of the files, and of the items that programs gave, with numbers above one, ascending."""
        found = self._db.every(_FILE + "WHERE id > %s ORDER BY id LIMIT %s", number, most)
        return [Known(*line) for line in found]

    def own_files(self) -> list[Known]:
        """The items that programs gave, which have no file, as if each were one."""
        found = self._db.every(_FILE + "WHERE path < '\\x01' ORDER BY path")
        return [Known(*line) for line in found]

    def file_names(self, ids: Sequence[int]) -> list[tuple[int, bytes]]:
        """Number and name of those of the files that are known, in the order of their numbers."""
        return self._db.every(
            "SELECT id, path FROM file WHERE id = ANY(%s) ORDER BY id", np.array(ids, np.int64)
        )

    def copies(self, rows: Sequence[int]) -> dict[int, list[int]]:
        """Rows of the same content as each of some: of the same side, of equal files, of the same words."""
        found: dict[int, list[int]] = {}
        for row, other in self._db.every(
            "SELECT item.row, copy.row FROM item JOIN file ON file.id = item.file "
            "JOIN file AS twin ON twin.hash = file.hash "
            "JOIN item AS copy ON copy.file = twin.id AND copy.side = item.side "
            "AND copy.text IS NOT DISTINCT FROM item.text "
            "WHERE item.row = ANY(%s) AND copy.row <> item.row ORDER BY copy.row",
            np.array(rows, np.int64),
        ):
            found.setdefault(row, []).append(other)
        return found

    def twins(self, digest: bytes, *, image: bool) -> list[Known]:
        """Some of the files of that content, those with or those without a picture."""
        found = self._db.every(
            f"SELECT * FROM ({_FILE}WHERE hash = %s) AS one WHERE image = %s ORDER BY id LIMIT %s",
            digest, image, _TWINS,
        )  # fmt: skip
        return [Known(*line) for line in found]

    def put_file(self, key: bytes, size: int, mtime_ns: int, digest: bytes) -> int:
        """Store a file anew, forgetting its items if it was there; returns its number."""
        self.remove_file(key)
        file = self._db.number("file_id", _DRAWN)
        self._db.run(
            "INSERT INTO file (id, path, size, mtime_ns, hash) VALUES (%s, %s, %s, %s, %s)",
            file, key, size, mtime_ns, digest,
        )  # fmt: skip
        self.facts.is_new(file)
        self._textless.add(file)
        self.facts.put_name(file, key)
        read = "SELECT said FROM inscription WHERE state = 'read'"
        if self._db.remembered("read", lambda: self._db.one(f"{read} LIMIT 1")) is not None:
            found = self._db.one(f"{read} AND hash = %s", digest)
            if found is not None:
                self.facts.put_inscription(file, str(found[0]))
        self._reworded.add(file)
        return file

    def move_file(self, file: int, key: bytes, size: int, mtime_ns: int) -> None:
        """The file has another name, or another time; its items stay."""
        self._db.run(
            "UPDATE file SET path = %s, size = %s, mtime_ns = %s WHERE id = %s", key, size, mtime_ns, file
        )
        self.facts.put_name(file, key)
        self._reworded.add(file)

    def remove_file(self, key: bytes) -> None:
        """Forget the file of that name and its items, if it is known."""
        self._db.run("DELETE FROM file WHERE path = %s", key)

    def remove_files(self, ids: Iterable[int]) -> None:
        """Forget files and their items."""
        self._db.run("DELETE FROM file WHERE id = ANY(%s)", np.array([*ids], np.int64))

    def put_fields(self, file: int, fields: Fields) -> bool:
        """Make these the fields of a file; returns whether any changed."""
        changed = self.facts.put(file, fields)
        if changed:
            self._reworded.add(file)
        return changed

    def fields(self, files: Sequence[int]) -> Mapping[int, Fields]:
        """The fields of each of the files."""
        return self.facts.of(files)

    def field_names(self) -> Set[str]:
        """Names of the fields that any file ever had."""
        return {name for (name,) in self._db.every("SELECT name FROM field")}

    def matching(self, side: Side, condition: Condition) -> Rows:
        """The rows of a side whose files fulfil a condition, ascending."""
        return self.facts.matching(side, condition)

    def facets(self, side: Side, name: str, within: Rows | None = None) -> dict[Value | None, int]:
        """How many items have each value of a field, the most frequent first."""
        return self.facts.facets(side, name, within)

    # Text inside pictures

    _UNREAD = (
        "FROM file WHERE hash > %s AND path > '\\x01' "  # not those that have no file
        "AND NOT EXISTS (SELECT 1 FROM inscription WHERE inscription.hash = file.hash) "
        "AND EXISTS (SELECT 1 FROM item WHERE item.file = file.id AND side = 'image')"
    )

    def unread(self, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Hashes, above one, of pictures that were not looked at for text, each with the name of a file."""
        return self._db.every(
            f"SELECT hash, min(path) {self._UNREAD} GROUP BY hash ORDER BY hash LIMIT %s", after, limit
        )

    def count_unread(self) -> int:
        """How many contents of pictures were not looked at for text."""
        return int(self._db.one(f"SELECT count(DISTINCT hash) {self._UNREAD}", b"")[0])

    def put_inscription(self, digest: bytes, state: str, said: str) -> None:
        """Keep what was read in pictures of a content, or that nothing was, or why it failed."""
        self._db.forget()
        self._db.run(
            "INSERT INTO inscription VALUES (%s, %s, %s) ON CONFLICT (hash) DO UPDATE SET "
            "state = excluded.state, said = excluded.said",
            digest, state, said,
        )  # fmt: skip
        if state == "read":
            for (file,) in self._db.every("SELECT id FROM file WHERE hash = %s", digest):
                self.facts.put_inscription(file, said)
                self._reworded.add(file)

    def inscriptions(self) -> Iterator[tuple[bytes, str, str]]:
        """All that was kept so."""
        yield from self._db.each("SELECT hash, state, said FROM inscription ORDER BY hash")

    # Items

    def put_image(self, file: int, vector: bytes | None) -> None:
        """Store the picture of a file."""
        row = self._db.number("item_row", _DRAWN)
        self._db.run("INSERT INTO item (row, file, side) VALUES (%s, %s, 'image')", row, file)
        if vector is not None:
            self._put_vector(row, "image", vector)
        self._reworded.add(file)

    def image_vector(self, file: int) -> bytes | None:
        """The stored vector of a file's picture; None if it has none."""
        found = self._some_vectors("file = %s AND item.side = 'image'", file)
        return found[0][1] if found else None

    def text_vectors(self, texts: Iterable[str]) -> dict[str, bytes]:
        """The stored vectors of those of the texts that are stored anywhere."""
        asked = list(dict.fromkeys(texts))
        found = self._some_vectors("text = ANY(%s)", asked) if asked else []
        return {str(text): vector for text, vector in found}

    def put_stamp(self, file: int, stamp: str) -> None:
        """Say what `Known.captions` is of a file."""
        self._db.run("UPDATE file SET captions = %s WHERE id = %s", stamp, file)

    def put_captions(self, file: int, stamp: str, captions: Sequence[Caption]) -> None:
        """Make these the texts of a file; rows stay as they are if the texts do."""
        self.put_stamp(file, stamp)
        if file in self._textless:  # there is nothing to compare with
            self.add_captions(file, captions)
            return
        if self.texts(file) == [(caption.text, caption.source) for caption in captions]:
            return
        self._db.run("DELETE FROM item WHERE file = %s AND side = 'text'", file)
        self._reworded.add(file)
        self.add_captions(file, captions)

    def add_captions(self, file: int, captions: Sequence[Caption]) -> None:
        """Give a file more texts, after those that it has."""
        self._textless.discard(file)
        for caption in captions:
            row = self._db.number("item_row", _DRAWN)
            self._db.run(
                "INSERT INTO item (row, file, side, text, source, words) VALUES (%s, %s, 'text', %s, %s, "
                "to_tsvector('words', %s))",
                row, file, caption.text, caption.source, words.plain(caption.text),
            )  # fmt: skip
            if caption.vector is not None:
                self._put_vector(row, "text", caption.vector)
        if captions:
            self._reworded.add(file)

    def texts(self, file: int) -> list[tuple[str, str]]:
        """Text and source of each text of a file."""
        return self._db.every(
            "SELECT text, source FROM item WHERE file = %s AND side = 'text' ORDER BY row", file
        )

    def items(self, rows: Sequence[int], *, shown: bool = True) -> list[Stored]:
        """The items of these rows, in their order, with the captions of pictures.

        Raises:
            CollectionError: a row is not there, or it is of a file that may not be shown.
        """
        found: dict[int, Stored] = {}
        files: dict[int, list[int]] = {}
        for row, file, side, key, digest, text, source, captions in self._db.every(
            "SELECT row, file, side, path, hash, text, source, CASE WHEN side = 'image' THEN "
            "ARRAY(SELECT one.text FROM item AS one WHERE one.file = item.file AND one.side = 'text' "
            "ORDER BY one.row) END "
            "FROM item JOIN file ON file.id = item.file WHERE row = ANY(%s)",
            np.array(rows, np.int64),
        ):
            files.setdefault(file, []).append(row)
            path = None if is_own(key) else self.path(key)
            told = tuple(captions or ())
            found[row] = Stored(row, side, name_of(key), path, text, source, told, hash=digest)
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
        which, values = "", []
        if under is not None:
            first = under.rstrip(b"/") + b"/"
            which = " AND file IN (SELECT id FROM file WHERE path >= %s AND path < %s)"
            values = [first, first[:-1] + b"0"]  # which comes after the slash
        rows: list[int] = self._db.rows(
            f"SELECT row FROM item WHERE side = %s{which} ORDER BY row", side, *values
        ).tolist()
        return rows

    def newest(self, side: Side, *, within: Rows | None = None) -> Rows:
        """The rows of a side, newest first: by the field "date", then those without by their files' time."""
        among = "" if within is None else " AND row = ANY(%s)"
        return self._db.rows(
            "SELECT row FROM item JOIN file ON file.id = item.file LEFT JOIN (SELECT fact.file AS dated, "
            "max(text) AS date FROM fact JOIN field ON field.id = fact.field WHERE name = 'date' "
            f"GROUP BY fact.file) AS dates ON dated = item.file WHERE side = %s{among} "
            "ORDER BY date IS NULL, date DESC, mtime_ns DESC, path, row",
            side, *(() if within is None else (within,)),
        )  # fmt: skip

    def rows_of(self, key: bytes) -> list[int]:
        """The rows of a file, its picture first."""
        found = self._db.every(
            "SELECT row FROM item JOIN file ON file.id = item.file WHERE path = %s ORDER BY side, row", key
        )
        return [row for (row,) in found]

    def count(self, side: Side) -> int:
        """How many items a side has."""
        return int(self._db.one("SELECT count(*) FROM item WHERE side = %s", side)[0])

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
        found = self._db.one("SELECT reason, size, mtime_ns FROM skipped WHERE path = %s", key)
        return None if found is None else tuple(found)

    def put_skipped(self, key: bytes, reason: str, size: int, mtime_ns: int) -> None:
        """Remember a file that could not be read; size and time -1 make every run try again."""
        self._db.run(
            "INSERT INTO skipped VALUES (%s, %s, %s, %s) ON CONFLICT (path) DO UPDATE SET "
            "reason = excluded.reason, size = excluded.size, mtime_ns = excluded.mtime_ns",
            key, printable(reason), size, mtime_ns,
        )  # fmt: skip

    def remove_skipped(self, keys: Iterable[bytes]) -> None:
        """Forget that these files could not be read."""
        self._db.run("DELETE FROM skipped WHERE path = ANY(%s)", [*keys])

    # Removed files

    def removed(self) -> Set[bytes]:
        """Names of the files and folders that are kept out until they are named themselves."""
        return {key for (key,) in self._db.every("SELECT path FROM removed")}

    def keep_out(self, keys: Iterable[bytes]) -> None:
        """Keep files and folders out."""
        self._db.run_many("INSERT INTO removed VALUES (%s) ON CONFLICT DO NOTHING", ((key,) for key in keys))

    def take_again(self, keys: Iterable[bytes]) -> None:
        """No longer keep these out."""
        self._db.run("DELETE FROM removed WHERE path = ANY(%s)", [*keys])

    def check(self) -> str:
        """Whether what belongs together is there: "ok", or what is wrong."""
        for table in (f"vector_{column.id}" for column in self.columns() if column.dimensions):
            if self._db.one("SELECT to_regclass(%s)", table)[0] is None:
                return f"the table {table} is missing"
        lost = self._db.one(
            "SELECT count(*) FROM item LEFT JOIN file ON file.id = file WHERE file.id IS NULL"
        )
        return "ok" if not lost[0] else f"{lost[0]} items have no file"

    def scored(self, statement: str, *values: Any) -> NDArray[Any]:
        """Rows and scores that a statement gives, by the names "row" and "score"."""
        return np.array(self._db.every(statement, *values), [("row", np.int64), ("score", np.float32)])

    def nearest(self, statement: str, *values: Any) -> NDArray[Any]:
        """Rows, scores and scores of halves that a statement gives: "row", "score" and "roughly"."""
        line = [("row", np.int64), ("score", np.float32), ("roughly", np.float64)]
        return np.array(self._db.every(statement, *values), line)

    @property
    def size(self) -> int:
        """Bytes on the server's disk, with indexes."""
        found: Any = self._db.one(
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class "
            "WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'"
        )
        return int(found[0])
