"""The SQLite file that holds everything a collection knows; durability and readers' locks are SQLite's.

File names are stored as bytes (`os.fsencode`), relative to the collection's folder where they lie in it, so
that any name a file system allows survives and the whole folder may be moved. Vectors are kept in half
precision, binary codes packed. A batch is one transaction, on disk in full when its block ends.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.core import Side
from diptych.errors import CollectionError, TooNew

__all__ = ["SCHEMA_VERSION", "Caption", "Known", "Record", "Stored"]

SCHEMA_VERSION = 1

_SCHEMA = (
    "CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE file (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        path BLOB NOT NULL UNIQUE,
        size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        hash BLOB NOT NULL,
        captions TEXT NOT NULL DEFAULT ''
    )""",
    "CREATE INDEX file_by_hash ON file (hash)",
    # AUTOINCREMENT: a row number is never used twice, so a search file cannot mistake one item for another.
    """CREATE TABLE item (
        row INTEGER PRIMARY KEY AUTOINCREMENT,
        file INTEGER NOT NULL REFERENCES file (id) ON DELETE CASCADE,
        side TEXT NOT NULL CHECK (side IN ('image', 'text')),
        text TEXT,
        meta TEXT NOT NULL DEFAULT '{}',
        vector BLOB NOT NULL
    )""",
    "CREATE INDEX item_by_file ON item (file)",
    "CREATE INDEX item_by_side ON item (side, row)",
    "CREATE INDEX item_by_text ON item (text) WHERE text IS NOT NULL",
    """CREATE TABLE skipped (
        path BLOB PRIMARY KEY, reason TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL
    ) WITHOUT ROWID""",
)


@dataclass(frozen=True, slots=True)
class Known:
    """What the record knows of a file: enough to see whether it changed.

    Args:
        id: Number of the file.
        size: Bytes.
        mtime_ns: Time of its last change, in nanoseconds since 1970.
        hash: Of its content.
        captions: State of the files beside it that may caption it (`captions.Sidecars.stamp`).
        image: Whether it holds a picture.
    """

    id: int
    size: int
    mtime_ns: int
    hash: bytes
    captions: str
    image: bool


@dataclass(frozen=True, slots=True)
class Caption:
    """A text item that is about to be stored."""

    text: str
    vector: bytes
    source: str


@dataclass(frozen=True, slots=True)
class Stored:
    """An item as stored: its row, side, file, text and where the text came from."""

    row: int
    side: Side
    path: Path
    text: str | None
    source: str


class Record:
    """One collection's SQLite file.

    Args:
        path: The file; made with its tables if absent.
        root: The folder that names are relative to.

    Raises:
        TooNew: it was written by a later version of Diptych.
        CollectionError: it is not a collection, or cannot be opened.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self.path, self.root = path, root
        try:
            self._db = self._connected()
            # Looking takes no lock, so that opening never waits for a writer.
            if not self._db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
                with self.batch(changes=False):
                    self._found()
            version = int(self.get("schema") or 0)
        except (sqlite3.Error, ValueError) as error:
            raise CollectionError(
                f"{path} cannot be used as a collection ({error}); "
                "restore it from a copy, or delete it and index again"
            ) from error
        if version > SCHEMA_VERSION:
            self.close()
            raise TooNew(
                f"{path} was written by a later version of Diptych (format {version}, this one knows up to "
                f"{SCHEMA_VERSION}); pip install --upgrade diptych"
            )

    def _connected(self) -> sqlite3.Connection:
        # Isolation level None: transactions are ours, begun by `batch`.
        connect = functools.partial(
            sqlite3.connect, timeout=30, isolation_level=None, check_same_thread=False
        )
        db: sqlite3.Connection = connect(self.path)
        try:
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            db.close()
            writable = os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)
            if writable or not self.path.is_file():
                raise
            # On a read-only disk there are no writers, so no lock is needed.
            db = connect(f"{self.path.absolute().as_uri()}?immutable=1", uri=True)
        return db

    def _found(self) -> None:
        if self._db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            return  # another process was faster
        for statement in _SCHEMA:
            self._db.execute(statement)
        self.set("schema", str(SCHEMA_VERSION))
        self.set("generation", "0")
        self.set("id", uuid.uuid4().hex)

    def close(self) -> None:
        """Close the file; the object is of no use afterwards."""
        self._db.close()

    @contextlib.contextmanager
    def batch(self, *, changes: bool = True) -> Iterator[None]:
        """One transaction: on disk in full when the block ends, or not at all.

        Args:
            changes: Whether items change, which makes search files stale.
        """
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            if changes:
                self.set("generation", str(self.generation + 1))
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @property
    def generation(self) -> int:
        """Grows with every batch that changes items."""
        return int(self.get("generation") or 0)

    def get(self, name: str) -> str | None:
        """A setting, or None."""
        found = self._db.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def set(self, name: str, value: str) -> None:
        """Keep a setting."""
        self._db.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, value))

    # Names

    def key(self, path: Path) -> bytes:
        """How a path is stored: relative where it lies in the collection's folder."""
        with contextlib.suppress(ValueError):
            path = path.relative_to(self.root)
        return os.fsencode(path.as_posix())

    def place(self, key: bytes) -> Path:
        """The path that was stored."""
        return self.root / os.fsdecode(key)

    # Files

    def files(self) -> dict[bytes, Known]:
        """Every file by its stored name."""
        rows = self._db.execute(
            "SELECT path, id, size, mtime_ns, hash, captions, "
            "EXISTS (SELECT 1 FROM item WHERE item.file = file.id AND side = 'image') FROM file"
        )
        return {row[0]: Known(row[1], row[2], row[3], row[4], row[5], bool(row[6])) for row in rows}

    def put_file(self, key: bytes, size: int, mtime_ns: int, digest: bytes) -> int:
        """Store a file anew, forgetting its items if it was there; returns its id."""
        self.remove_file(key)
        done = self._db.execute(
            "INSERT INTO file (path, size, mtime_ns, hash) VALUES (?, ?, ?, ?)", (key, size, mtime_ns, digest)
        )
        assert done.lastrowid is not None
        return done.lastrowid

    def move_file(self, file: int, key: bytes, size: int, mtime_ns: int) -> None:
        """The file has another name, or another time; its items stay."""
        self._db.execute(
            "UPDATE file SET path = ?, size = ?, mtime_ns = ? WHERE id = ?", (key, size, mtime_ns, file)
        )

    def remove_file(self, key: bytes) -> None:
        """Forget the file of that name and its items, if it is known."""
        self._db.execute("DELETE FROM file WHERE path = ?", (key,))

    def remove_files(self, ids: Iterable[int]) -> None:
        """Forget files and their items."""
        self._db.executemany("DELETE FROM file WHERE id = ?", ((i,) for i in ids))

    # Items

    def put_image(self, file: int, vector: bytes) -> None:
        """Store the picture of a file."""
        self._db.execute("INSERT INTO item (file, side, vector) VALUES (?, 'image', ?)", (file, vector))

    def image_vector(self, file: int) -> bytes | None:
        """The stored vector of a file's picture; None if it has none."""
        found = self._db.execute(
            "SELECT vector FROM item WHERE file = ? AND side = 'image'", (file,)
        ).fetchone()
        return None if found is None else bytes(found[0])

    def text_vectors(self, texts: Iterable[str]) -> dict[str, bytes]:
        """The stored vectors of those of the texts that are stored anywhere."""
        found = {}
        for text in texts:
            row = self._db.execute("SELECT vector FROM item WHERE text = ? LIMIT 1", (text,)).fetchone()
            if row is not None:
                found[text] = bytes(row[0])
        return found

    def put_captions(self, file: int, stamp: str, captions: Sequence[Caption]) -> None:
        """Make these the texts of a file; rows stay as they are if the texts do."""
        self._db.execute("UPDATE file SET captions = ? WHERE id = ?", (stamp, file))
        if self.texts(file) == [(caption.text, caption.source) for caption in captions]:
            return
        self._db.execute("DELETE FROM item WHERE file = ? AND side = 'text'", (file,))
        self._db.executemany(
            "INSERT INTO item (file, side, text, meta, vector) VALUES (?, 'text', ?, ?, ?)",
            ((file, c.text, json.dumps({"source": c.source}), c.vector) for c in captions),
        )

    def items(self, rows: Sequence[int]) -> list[Stored]:
        """The items of these rows, in their order.

        Raises:
            CollectionError: a row was removed meanwhile.
        """
        found: dict[int, Stored] = {}
        for row in rows:
            line = self._db.execute(
                "SELECT item.row, side, path, text, meta FROM item JOIN file ON file.id = item.file "
                "WHERE item.row = ?",
                (row,),
            ).fetchone()
            if line is None:
                raise CollectionError(f"item {row} was removed while it was being read; search again")
            source = str(json.loads(line[4]).get("source", ""))
            found[row] = Stored(line[0], line[1], self.place(line[2]), line[3], source)
        return [found[row] for row in rows]

    def captions(self, path: Path) -> list[str]:
        """The texts that belong to a file."""
        rows = self._db.execute(
            "SELECT text FROM item JOIN file ON file.id = item.file "
            "WHERE file.path = ? AND side = 'text' ORDER BY item.row",
            (self.key(path),),
        )
        return [row[0] for row in rows]

    def texts(self, file: int) -> list[tuple[str, str]]:
        """Text and source of each text of a file."""
        rows = self._db.execute(
            "SELECT text, json_extract(meta, '$.source') FROM item WHERE file = ? AND side = 'text' "
            "ORDER BY row",
            (file,),
        )
        return [(row[0], row[1]) for row in rows]

    def own_texts(self, key: bytes) -> list[str]:
        """The texts that a file carries in its own fields."""
        rows = self._db.execute(
            "SELECT text FROM item JOIN file ON file.id = item.file WHERE file.path = ? "
            "AND side = 'text' AND json_extract(meta, '$.source') = 'own' ORDER BY item.row",
            (key,),
        )
        return [row[0] for row in rows]

    def rows(self, side: Side, *, under: bytes | None = None) -> list[int]:
        """The rows of a side, ascending; only of files below the folder stored as `under`, if given."""
        if under is None:
            query = self._db.execute("SELECT row FROM item WHERE side = ? ORDER BY row", (side,))
        else:
            prefix = under.rstrip(b"/") + b"/"
            query = self._db.execute(
                "SELECT row FROM item JOIN file ON file.id = item.file WHERE side = ? "
                "AND substr(path, 1, ?) = ? ORDER BY row",
                (side, len(prefix), prefix),
            )
        return [row[0] for row in query]

    def vectors(self, side: Side, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """Row and stored vector of a side's items with rows above `after`, ascending."""
        yield from self._db.execute(
            "SELECT row, vector FROM item WHERE side = ? AND row > ? ORDER BY row", (side, after)
        )

    def row_numbers(self, side: Side) -> NDArray[np.int64]:
        """Every row of a side, ascending, as an array."""
        rows = self._db.execute("SELECT row FROM item WHERE side = ? ORDER BY row", (side,))
        return np.fromiter((row[0] for row in rows), np.int64)

    def count(self, side: Side) -> int:
        """How many items a side has."""
        return int(self._db.execute("SELECT count(*) FROM item WHERE side = ?", (side,)).fetchone()[0])

    # Skipped files

    def skipped(self) -> dict[bytes, tuple[str, int, int]]:
        """Reason, size and time of every file that could not be read."""
        return {row[0]: (row[1], row[2], row[3]) for row in self._db.execute("SELECT * FROM skipped")}

    def put_skipped(self, key: bytes, reason: str, size: int, mtime_ns: int) -> None:
        """Remember a file that could not be read; size and time -1 make every run try again."""
        self._db.execute("INSERT OR REPLACE INTO skipped VALUES (?, ?, ?, ?)", (key, reason, size, mtime_ns))

    def remove_skipped(self, keys: Iterable[bytes]) -> None:
        """Forget that these files could not be read."""
        self._db.executemany("DELETE FROM skipped WHERE path = ?", ((key,) for key in keys))

    def check(self) -> str:
        """SQLite's own verdict on the file: "ok", or what is wrong."""
        return str(self._db.execute("PRAGMA quick_check").fetchone()[0])
