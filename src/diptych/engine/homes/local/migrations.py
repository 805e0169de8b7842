"""The tables of a collection, and how those of earlier versions become today's.

Each migration is numbered by the format that it leads to, and takes place in one transaction together with
that number: a process that is killed leaves the format before, whole. Statements that were released are never
edited; what has to change gets a further number.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Mapping

from diptych.engine.homes.local import words

__all__ = ["MIGRATIONS", "SCHEMA_VERSION", "migrate", "version_of"]

_FIRST = (
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
    "INSERT INTO setting VALUES ('generation', '0')",
)

# Vectors leave the items for columns of their own, and every batch leaves a random token.
_COLUMNS = (
    """CREATE TABLE vector_column (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        model TEXT NOT NULL, fingerprint TEXT NOT NULL, similarity TEXT NOT NULL,
        dimensions INTEGER NOT NULL,
        type TEXT NOT NULL CHECK (type IN ('float16', 'bits'))
    )""",
    """CREATE TABLE vector (
        row INTEGER NOT NULL REFERENCES item (row) ON DELETE CASCADE,
        vector_column INTEGER NOT NULL REFERENCES vector_column (id) ON DELETE CASCADE,
        vector BLOB NOT NULL,
        UNIQUE (row, vector_column)
    )""",
    "CREATE TABLE batch (generation INTEGER PRIMARY KEY, token TEXT NOT NULL)",
    """INSERT INTO vector_column
        SELECT 1, 'main', model.value, coalesce(fingerprint.value, ''), coalesce(similarity.value, ''),
            coalesce((SELECT length(vector) FROM item LIMIT 1), 0)
                * CASE similarity.value WHEN 'hamming' THEN 8 ELSE 0.5 END,
            CASE similarity.value WHEN 'hamming' THEN 'bits' ELSE 'float16' END
        FROM setting AS model
        LEFT JOIN setting AS fingerprint ON fingerprint.name = 'fingerprint'
        LEFT JOIN setting AS similarity ON similarity.name = 'similarity'
        WHERE model.name = 'model'""",
    "INSERT INTO vector (row, vector_column, vector) SELECT row, 1, vector FROM item ORDER BY row",
    """INSERT INTO batch
        SELECT CAST(value AS INTEGER), lower(hex(randomblob(16))) FROM setting WHERE name = 'generation'""",
    "DELETE FROM setting WHERE name IN ('generation', 'model', 'fingerprint', 'similarity')",
    """CREATE TABLE slim (
        row INTEGER PRIMARY KEY AUTOINCREMENT,
        file INTEGER NOT NULL REFERENCES file (id) ON DELETE CASCADE,
        side TEXT NOT NULL CHECK (side IN ('image', 'text')),
        text TEXT,
        meta TEXT NOT NULL DEFAULT '{}'
    )""",
    "INSERT INTO slim SELECT row, file, side, text, meta FROM item ORDER BY row",
    # The rows of what was removed are not given to anything new.
    "DELETE FROM sqlite_sequence WHERE name = 'slim'",
    "INSERT INTO sqlite_sequence SELECT 'slim', seq FROM sqlite_sequence WHERE name = 'item'",
    "DROP TABLE item",
    "ALTER TABLE slim RENAME TO item",
    "CREATE INDEX item_by_file ON item (file)",
    "CREATE INDEX item_by_side ON item (side, row)",
    "CREATE INDEX item_by_text ON item (text) WHERE text IS NOT NULL",
)

# What was removed stays out, though its files are there.
_REMOVED = ("CREATE TABLE removed (path BLOB PRIMARY KEY) WITHOUT ROWID",)

# What is known of files. Texts are compared folded, so that case does not matter; `shown` is how they are
# written where that differs. There is an index to find files by values, and one for the values of a file.
_FIELDS = (
    "CREATE TABLE field (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    """CREATE TABLE fact (
        field INTEGER NOT NULL REFERENCES field (id),
        value NOT NULL,
        file INTEGER NOT NULL REFERENCES file (id) ON DELETE CASCADE,
        shown TEXT,
        PRIMARY KEY (field, value, file)
    ) WITHOUT ROWID""",
    "CREATE INDEX fact_by_file ON fact (file)",
)

# Columns beside the first. A number is never used twice. Vectors come in the order of the rows, so that
# search files only grow; `filled` is the last generation that gave one to an item before others with theirs.
_BESIDE = (
    """CREATE TABLE column_beside (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        model TEXT NOT NULL, fingerprint TEXT NOT NULL, similarity TEXT NOT NULL,
        dimensions INTEGER NOT NULL,
        type TEXT NOT NULL CHECK (type IN ('float16', 'bits')),
        filled INTEGER NOT NULL DEFAULT 0
    )""",
    """INSERT INTO column_beside
        SELECT id, name, model, fingerprint, similarity, dimensions, type, 0 FROM vector_column""",
    "DROP TABLE vector_column",
    "ALTER TABLE column_beside RENAME TO vector_column",
)

# What was read in pictures, by their contents; the text of a file is also among its facts.
_INSCRIPTIONS = (
    """CREATE TABLE inscription (
        hash BLOB PRIMARY KEY,
        state TEXT NOT NULL CHECK (state IN ('read', 'nothing', 'failed')),
        said TEXT NOT NULL
    ) WITHOUT ROWID""",
)

# Items without files are among them, which versions before take for damage.
_OWN: tuple[str, ...] = ()

MIGRATIONS: Mapping[int, tuple[str, ...]] = {
    1: _FIRST, 2: _COLUMNS, 3: _REMOVED, 4: _FIELDS, 5: _BESIDE, 6: _INSCRIPTIONS,
    7: _OWN, 8: words.SCHEMA,
}  # fmt: skip
"""The statements that lead to each format from the one before; a new file goes through all of them."""

SCHEMA_VERSION = max(MIGRATIONS)

_WITH_WORDS = 8


def version_of(db: sqlite3.Connection) -> int:
    """The format of a file; 0 if it is empty.

    Raises:
        sqlite3.Error: it is no collection.
        ValueError: its number is none.
    """
    if not db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        return 0
    found = db.execute("SELECT value FROM setting WHERE name = 'schema'").fetchone()
    return int(found[0] if found else "no number of a format")


def migrate(db: sqlite3.Connection) -> None:
    """Bring a file to today's format; nothing happens if it is there, or beyond.

    Args:
        db: A connection in no transaction, of which the caller makes no other use.

    Raises:
        sqlite3.Error, ValueError: it is no collection, or the disk does not take it.
    """
    if version_of(db) >= SCHEMA_VERSION:
        return
    # Or dropping a table would remove what refers to it. Has no effect once a transaction has begun.
    db.execute("PRAGMA foreign_keys = OFF")
    try:
        for number in sorted(MIGRATIONS):
            _step(db, number)
    finally:
        db.execute("PRAGMA foreign_keys = ON")


def _step(db: sqlite3.Connection, number: int) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        if version_of(db) < number:  # else another process was faster
            for statement in MIGRATIONS[number]:
                db.execute(statement)
            if number == SCHEMA_VERSION >= _WITH_WORDS:
                words.write(db)  # which knows today's tables only
            if number == 1:
                db.execute("INSERT INTO setting VALUES ('id', ?)", (uuid.uuid4().hex,))
            db.execute("INSERT OR REPLACE INTO setting VALUES ('schema', ?)", (str(number),))
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
