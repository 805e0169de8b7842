"""The words of pictures and texts: full text in SQLite's FTS5, found within bounds however common they are.

A picture's words are its captions, of whatever source, its tags and what else is written in its fields, what
was read in it, the name of its file and those of the folders; a text's are its own. English endings are cut
(Porter), accents and capitals do not count. Triggers of the tables keep the texts' words, and note which
pictures' words are to be written anew before a batch ends, so that nothing that changes items can forget it.

What is asked is never FTS5's own language: it is cut into words, and each is quoted.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import re
import sqlite3
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from diptych.core import Rows, Side
from diptych.engine.homes.entries import Worded
from diptych.engine.homes.local.database import Database
from diptych.media.metadata import KINDS

__all__ = ["SCHEMA", "find", "sources", "spans", "words_of_name", "write"]

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

# Fields that do not say in words what a picture shows; the names of its file and folders stand by themselves.
_NOT_TOLD = (*(name for name in KINDS if name not in ("tag", "city", "country")), "inscription")

_TABLES = {"image": "picture_words", "text": "text_words"}

# So frequent that they tell nothing, unless nothing else is asked.
_STOP = frozenset(
    {
        *("a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "he", "her", "his", "in", "is"),
        *("it", "its", "of", "on", "or", "s", "she", "t", "that", "the", "their", "there", "they", "this"),
        *("to", "was", "were", "with"),
    }
)
_MOST_WORDS = 32  # of what is asked
_MOST = 2_500  # entries that are looked at, and up to which a word is counted, beyond which it is estimated
_ENOUGH = 100  # entries with which words that are all common need no wider search
_FEW = 20_000  # rows that a statement compares with
_LAST_FOLDERS = 1  # of a file outside of the collection's folder


@dataclass(frozen=True, slots=True)
class _Word:
    """A word of a query.

    Args:
        match: It in FTS5's language.
        count: How many entries have it.
        weight: What it tells: the rarer, the more.
    """

    match: str
    count: int
    weight: float


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
        f"{facts} typeof(value) = 'text' AND name NOT IN {_NOT_TOLD}), {facts} name = 'inscription') "
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


def words_of_name(key: bytes) -> str:
    """The words in the name of a file and of its folders, as they are and cut where they were run together.

    Numbers below 100 and single letters, which count and do not name, are left out; so is the ending. Of a
    file outside of the collection's folder only its own folder counts.
    """
    name = PurePosixPath(os.fsdecode(key).encode("utf-8", "replace").decode().replace("\\", "/"))
    parts = [*(name.parts[-1 - _LAST_FOLDERS : -1] if name.is_absolute() else name.parts[:-1]), name.stem]
    found: dict[str, None] = {}
    for word in _words(" ".join(parts)):
        cut = re.findall(r"[^\W\d_]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", word))
        found.update(dict.fromkeys([word, *cut]))
    return " ".join(word for word in found if len(word) > (2 if word.isdigit() else 1))


def _words(text: str) -> list[str]:
    """What stands between blanks and signs."""
    return re.findall(r"[^\W_]+", unicodedata.normalize("NFC", text))


# Finding


def find(
    db: Database,
    side: Side,
    text: str,
    *,
    entries: int,
    without: Sequence[str] = (),
    within: Rows | None = None,
    also: Rows | None = None,
) -> Worded:
    """The entries of a side, so many, that share words with a text; see `Home.words`."""
    return _Search(db, side, text, entries, without, within).run(also)


class _Search:
    """One query's search for words."""

    def __init__(
        self,
        db: Database,
        side: Side,
        text: str,
        entries: int,
        without: Sequence[str],
        within: Rows | None,
    ) -> None:
        self._db, self._table, self._entries, self._within = db, _TABLES[side], entries, within
        every = _words(text)[:_MOST_WORDS]
        self._phrase = _quoted(" ".join(every)) if len(every) > 1 else ""
        avoided = [" AND ".join(map(_quoted, _telling(_words(one)))) for one in without]
        self._unless = "".join(f" NOT ({one})" for one in avoided if one)
        self._last = db.one("SELECT max(row) FROM item WHERE side = ?", side)[0] or 0
        self._words = sorted(map(self._word, _telling(every)), key=lambda one: one.count)

    def run(self, also: Rows | None) -> Worded:
        """What is found, and how much of what is asked each has."""
        known = [word for word in self._words if word.count]
        total = sum(word.weight for word in self._words)
        if not known:
            return Worded.nothing()
        parts = self._rare(known) if known[0].count <= _MOST else self._common(known)
        if also is not None:
            parts += self._of(np.setdiff1d(also, np.concatenate([rows for rows, _ in parts])), known)
        rows = np.unique(np.concatenate([rows for rows, _ in parts]))
        shares = np.zeros(len(rows))
        for found, weight in parts:
            shares[np.searchsorted(rows, found)] += weight
        shares = np.minimum(
            np.round(shares / total, 6), 1
        )  # all words are 1, in whatever order they are added
        phrases = np.isin(rows, self._rows(self._phrase) if self._phrase else rows[:0])
        return Worded(rows, shares.astype(np.float32), phrases)

    def _rare(self, words: Sequence[_Word]) -> list[tuple[Rows, float]]:
        """Rows and weight of each word, among the entries that have a rare one."""
        rare, others = [words[0]], list(words[1:])
        while others and sum(word.count for word in rare) + others[0].count <= _MOST:
            rare.append(others.pop(0))
        parts = [(self._rows(word.match), word.weight) for word in rare]
        any_rare = " OR ".join(word.match for word in rare)
        parts += [(self._rows(f"({any_rare}) AND {word.match}"), word.weight) for word in others]
        return parts

    def _common(self, words: Sequence[_Word]) -> list[tuple[Rows, float]]:
        """The same where all words are common: entries that have all of them, or else the rarest of them."""
        parts: list[tuple[Rows, float]] = []
        seen: Rows = np.zeros(0, np.int64)
        for count in range(len(words), 0, -1):
            rows = self._rows(" AND ".join(word.match for word in words[:count]))
            new = np.setdiff1d(rows, seen)
            parts.append((new, sum(word.weight for word in words[:count])))
            seen = np.union1d(seen, rows)
            if len(seen) >= _ENOUGH:
                break
        return parts

    def _of(self, rows: Rows, words: Sequence[_Word]) -> list[tuple[Rows, float]]:
        """Rows and weight of each word, among some entries."""
        given = json.dumps(rows.tolist())
        statement = (
            f"SELECT rowid FROM {self._table} WHERE {self._table} MATCH ? "
            "AND rowid IN (SELECT value FROM json_each(?))"
        )
        return [
            (_array(self._db.every(statement, word.match + self._unless, given)), word.weight)
            for word in words
            if len(rows)
        ]

    def _rows(self, match: str) -> Rows:
        """The first entries that match, ascending; only those of `within`."""
        match = f"({match}){self._unless}"
        statement = f"SELECT rowid FROM {self._table} WHERE {self._table} MATCH ? "
        if self._within is None:
            return _array(self._db.every(statement + "LIMIT ?", match, _MOST))
        if len(self._within) > _FEW:  # so many that there are enough among the first that match
            first = _array(self._db.every(statement + "LIMIT ?", match, 4 * _MOST))
            return first[np.isin(first, self._within)]
        given = json.dumps(self._within.tolist())
        return _array(
            # The sign keeps SQLite from asking for each row by itself.
            self._db.every(
                statement + "AND +rowid IN (SELECT value FROM json_each(?)) LIMIT ?", match, given, _MOST
            )
        )

    def _word(self, word: str) -> _Word:
        """A word, counted as far as it is not common; beyond, its first entries tell how dense it is."""
        count, last = self._db.one(
            f"SELECT count(*), max(rowid) FROM (SELECT rowid FROM {self._table} "
            f"WHERE {self._table} MATCH ? LIMIT ?)",
            _quoted(word), _MOST,
        )  # fmt: skip
        if count == _MOST:
            count = max(count, round(count * self._last / last))
        weight = math.log1p(max(self._entries - count + 0.5, 0.5) / (count + 0.5))
        return _Word(_quoted(word), count, weight)


def sources(db: Database, rows: Sequence[int], text: str) -> dict[int, str]:
    """Where the words of pictures or texts came from: the source of the text that has most of them.

    Args:
        rows: Of items that `find` found.
        text: What was asked.

    Returns:
        "tag" of a picture whose texts have none of the words but whose fields do, "read" where they were read
        in it, "name" of all others.
    """
    words = list(map(_quoted, _telling(_words(text)[:_MOST_WORDS])))
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
    """Where words of a query stand in texts: spans (start, end) of characters, as `find` would find them."""
    asked = " OR ".join(map(_quoted, _telling(_words(text)[:_MOST_WORDS])))
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


def _telling(words: Sequence[str]) -> list[str]:
    """The words without repeats, and without those that tell nothing where others do."""
    each = list(dict.fromkeys(word.lower() for word in words))[:_MOST_WORDS]
    return [word for word in each if word not in _STOP] or each


def _quoted(words: str) -> str:
    return f'"{words}"'


def _array(rows: Sequence[tuple[int]]) -> Rows:
    return np.fromiter((row for (row,) in rows), np.int64, len(rows))
