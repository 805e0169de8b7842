"""The words of pictures and texts: full text in SQLite's FTS5, found within bounds however common they are.

A picture's words are its captions, of whatever source, its tags and what else is written in its fields, what
was read in it, the name of its file and those of the folders; a text's are its own. English endings are cut
(Porter), accents and capitals do not count. Triggers of the tables keep the texts' words, and note which
pictures' words are to be written anew before a batch ends, so that nothing that changes items can forget it.

How they are looked for is `diptych.engine.homes.wording`'s, said here in FTS5's language.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import sqlite3
from collections.abc import Sequence

import numpy as np

from diptych.core import Rows, Side
from diptych.engine.homes import wording
from diptych.engine.homes.local.database import Database
from diptych.engine.homes.wording import FEW, MOST_WORDS, NOT_TOLD, Search, cut, telling, words_of_name
from diptych.index.flat import among

__all__ = ["SCHEMA", "WordSearch", "sources", "spans", "write"]

_TOKENIZER = "tokenize = 'porter unicode61 remove_diacritics 2'"
_OF_ITEMS = f"content = 'item', content_rowid = 'row', {_TOKENIZER}"

SCHEMA = (
    f"CREATE VIRTUAL TABLE picture_words USING fts5 (texts, tags, inscription, names, {_TOKENIZER})",
    f"CREATE VIRTUAL TABLE text_words USING fts5 (text, {_OF_ITEMS})",
    "CREATE TABLE reworded (file INTEGER PRIMARY KEY)",
    """CREATE TRIGGER item_came AFTER INSERT ON item BEGIN
        INSERT OR IGNORE INTO reworded VALUES (new.file);
        INSERT INTO text_words (rowid, text) SELECT new.row, new.text WHERE new.text IS NOT NULL;
    END""",
    """CREATE TRIGGER item_went AFTER DELETE ON item BEGIN
        INSERT OR IGNORE INTO reworded VALUES (old.file);
        INSERT INTO text_words (text_words, rowid, text)
            SELECT 'delete', old.row, old.text WHERE old.text IS NOT NULL;
        DELETE FROM picture_words WHERE rowid = old.row AND old.side = 'image';
    END""",
    """CREATE TRIGGER item_said_otherwise AFTER UPDATE OF text ON item BEGIN
        INSERT OR IGNORE INTO reworded VALUES (new.file);
        INSERT INTO text_words (text_words, rowid, text)
            SELECT 'delete', old.row, old.text WHERE old.text IS NOT NULL;
        INSERT INTO text_words (rowid, text) SELECT new.row, new.text WHERE new.text IS NOT NULL;
    END""",
    """CREATE TRIGGER file_renamed AFTER UPDATE OF path ON file WHEN old.path <> new.path BEGIN
        INSERT OR IGNORE INTO reworded VALUES (new.id);
    END""",
    "CREATE TRIGGER fact_came AFTER INSERT ON fact BEGIN "
    "INSERT OR IGNORE INTO reworded VALUES (new.file); END",
    "CREATE TRIGGER fact_went AFTER DELETE ON fact BEGIN "
    "INSERT OR IGNORE INTO reworded VALUES (old.file); END",
    "INSERT INTO text_words (rowid, text) SELECT row, text FROM item WHERE text IS NOT NULL",
    "INSERT INTO reworded SELECT file FROM item WHERE side = 'image' GROUP BY file",
)
"""The tables, what keeps them, and the words of texts that are there; the pictures' are left to `write`."""

_TABLES = {"image": "picture_words", "text": "text_words"}


# Writing


def write(db: sqlite3.Connection) -> None:
    """Write the words of pictures whose texts or names changed; within the caller's transaction."""
    if db.execute("SELECT 1 FROM reworded LIMIT 1").fetchone() is None:
        return
    facts = (
        "(SELECT group_concat(coalesce(shown, value), char(10)) FROM fact INDEXED BY fact_by_file "
        "CROSS JOIN field ON field.id = fact.field WHERE fact.file = picture.file AND "
    )
    found = db.execute(
        "SELECT picture.row, path, (SELECT group_concat(text, char(10)) FROM item AS one "
        "WHERE one.file = picture.file AND one.side = 'text'), "
        f"{facts} typeof(value) = 'text' AND name NOT IN {NOT_TOLD}), {facts} name = 'inscription') "
        "FROM reworded CROSS JOIN item AS picture INDEXED BY item_by_file "
        "ON picture.file = reworded.file AND picture.side = 'image' "
        "CROSS JOIN file ON file.id = picture.file"
    )
    db.executemany(
        "INSERT OR REPLACE INTO picture_words (rowid, texts, tags, inscription, names) "
        "VALUES (?, ?, ?, ?, ?)",
        (
            (row, texts or "", tags or "", read or "", words_of_name(path))
            for row, path, texts, tags, read in found
        ),
    )
    db.execute("DELETE FROM reworded")


# Finding


class WordSearch(Search):
    """One query's search for words, in FTS5's language."""

    ALL, ANY = " AND ", " OR "

    def __init__(
        self,
        db: Database,
        side: Side,
        text: str,
        entries: int,
        without: Sequence[str],
        within: Rows | None,
    ) -> None:
        self._db, self._table = db, _TABLES[side]
        last = db.one("SELECT max(row) FROM item WHERE side = ?", side)[0] or 0
        super().__init__(text, entries, last, without, within)

    def quoted(self, word: str) -> str:
        """A match of one word."""
        return _quoted(word)

    def phrase(self, words: Sequence[str]) -> str:
        """A match of words one after the other."""
        return _quoted(" ".join(words))

    def but_not(self, match: str) -> str:
        """What leaves out the matches of another."""
        return f" NOT ({match})"

    def rows(self, match: str) -> Rows:
        """The first entries that match, ascending; only those of `within`."""
        match = f"({match}){self.unless}"
        statement = f"SELECT rowid FROM {self._table} WHERE {self._table} MATCH ? "
        if self.within is None:
            return _array(self._db.every(statement + "LIMIT ?", match, wording.MOST))
        if len(self.within) > FEW:  # so many that there are enough among the first that match
            first = _array(self._db.every(statement + "LIMIT ?", match, 4 * wording.MOST))
            return first[among(first, self.within)]
        given = json.dumps(self.within.tolist())
        return _array(
            # The sign keeps SQLite from asking for each row by itself.
            self._db.every(
                statement + "AND +rowid IN (SELECT value FROM json_each(?)) LIMIT ?",
                match,
                given,
                wording.MOST,
            )
        )

    def counted(self, match: str) -> tuple[int, int]:
        """How many entries match, up to `MOST`, and the last of these."""
        count, last = self._db.one(
            f"SELECT count(*), max(rowid) FROM (SELECT rowid FROM {self._table} "
            f"WHERE {self._table} MATCH ? LIMIT ?)",
            match, wording.MOST,
        )  # fmt: skip
        return count, last or 0

    def among(self, rows: Rows, match: str) -> Rows:
        """Those of some entries that match."""
        return _array(
            self._db.every(
                f"SELECT rowid FROM {self._table} WHERE {self._table} MATCH ? "
                "AND rowid IN (SELECT value FROM json_each(?))",
                match + self.unless, json.dumps(rows.tolist()),
            )
        )  # fmt: skip


def sources(db: Database, rows: Sequence[int], text: str) -> dict[int, str]:
    """Where the words of pictures or texts came from: the source of the text that has most of them.

    Args:
        rows: Of items that a search found.
        text: What was asked.

    Returns:
        "tag" of a picture whose texts have none of the words but whose fields do, "read" where they were read
        in it, "name" of all others.
    """
    words = list(map(_quoted, telling(cut(text)[:MOST_WORDS])))
    found: dict[int, str] = {}
    for match in dict.fromkeys([" AND ".join(words), " OR ".join(words)] if words else []):
        for row, source in db.every(
            "SELECT item.row, json_extract(one.meta, '$.source') FROM item CROSS JOIN item AS one "
            "ON one.row = item.row OR (item.side = 'image' AND one.file = item.file AND one.side = 'text') "
            "CROSS JOIN text_words ON text_words.rowid = one.row "
            "WHERE item.row IN (SELECT value FROM json_each(?)) AND text_words MATCH ? ORDER BY one.row DESC",
            json.dumps([row for row in rows if row not in found]), match,
        ):  # fmt: skip
            found[row] = str(source or "")
        for column, source in (("tags", "tag"), ("inscription", "read")):
            told = db.every(
                "SELECT rowid FROM picture_words WHERE picture_words MATCH ? "
                "AND rowid IN (SELECT value FROM json_each(?))",
                f"{column} : ({match})", json.dumps([row for row in rows if row not in found]),
            )  # fmt: skip
            found.update((row, source) for (row,) in told)
    return {row: found.get(row, "name") for row in rows}


def spans(texts: Sequence[str], text: str) -> list[tuple[tuple[int, int], ...]]:
    """Where words of a query stand in texts: spans (start, end) of characters, as a search finds them."""
    asked = " OR ".join(map(_quoted, telling(cut(text)[:MOST_WORDS])))
    if not asked:
        return [()] * len(texts)
    found: list[tuple[tuple[int, int], ...]] = [()] * len(texts)
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.execute(f"CREATE VIRTUAL TABLE line USING fts5 (text, {_TOKENIZER})")
        # What marks the ends of words is nothing that a text has.
        clean = [one.translate(dict.fromkeys((1, 2), " ")) for one in texts]
        db.executemany("INSERT INTO line (rowid, text) VALUES (?, ?)", enumerate(clean))
        marked = "SELECT rowid, highlight(line, 0, char(1), char(2)) FROM line WHERE line MATCH ?"
        for row, shown in db.execute(marked, (asked,)):
            parts = re.split("[\1\2]", shown)
            ends = list(itertools.accumulate(map(len, parts)))
            found[row] = tuple(zip(ends[:-1:2], ends[1::2], strict=True))
    return found


def _quoted(words: str) -> str:
    return f'"{words}"'


def _array(rows: Sequence[tuple[int]]) -> Rows:
    return np.fromiter((row for (row,) in rows), np.int64, len(rows))
