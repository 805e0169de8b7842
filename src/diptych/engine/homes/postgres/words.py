"""The words of pictures and texts: full text of PostgreSQL, found within bounds however common they are.

As in `diptych.engine.homes.local.words`. A text is cut into words before it comes to the server, so that all
homes find the same ones, and the server cuts their endings. A picture's words carry as weight where they
stand: A in its texts, B in its fields, C in what was read in it, D in the names of its file and folders.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from diptych.core import Rows, Side
from diptych.engine.homes import wording
from diptych.engine.homes.postgres.database import Database
from diptych.engine.homes.wording import FEW, MOST_WORDS, NOT_TOLD, Search, cut, telling, words_of_name
from diptych.index.flat import among

__all__ = ["WordSearch", "plain", "sources", "write"]

_LONGEST = 200_000  # characters of one text whose words are kept; the server holds a megabyte of words
_QUERY = "to_tsquery('words', %s)"


def plain(text: str) -> str:
    """The words of a text in small letters without accents, between blanks."""
    found = unicodedata.normalize("NFD", " ".join(cut(text[:_LONGEST]))).lower()
    bare = "".join(letter for letter in found if not unicodedata.combining(letter))
    return unicodedata.normalize("NFC", bare)


def write(db: Database, files: Iterable[int]) -> None:
    """Write the words of the pictures of some files, whose texts, fields or names changed; inside a batch."""
    given = np.array(sorted(files), np.int64)
    if not len(given):
        return
    facts = (
        "(SELECT string_agg(coalesce(shown, fact.text), E'\\n') FROM fact "
        "JOIN field ON field.id = fact.field WHERE fact.file = picture.file AND "
    )
    for row, path, *said in db.every(
        "SELECT picture.row, path, (SELECT string_agg(one.text, E'\\n' ORDER BY one.row) FROM item AS one "
        "WHERE one.file = picture.file AND one.side = 'text'), "
        f"{facts} fact.text IS NOT NULL AND name <> ALL(%s)), {facts} name = 'inscription') "
        "FROM item AS picture JOIN file ON file.id = picture.file "
        "WHERE picture.file = ANY(%s) AND picture.side = 'image'",
        [*NOT_TOLD], given,
    ):  # fmt: skip
        db.run(
            "UPDATE item SET words = setweight(to_tsvector('words', %s), 'A') || "
            "setweight(to_tsvector('words', %s), 'B') || setweight(to_tsvector('words', %s), 'C') || "
            "to_tsvector('words', %s) WHERE row = %s",
            *(plain(one or "") for one in said), plain(words_of_name(path)), row,
        )  # fmt: skip


class WordSearch(Search):
    """One query's search for words, in the language of `to_tsquery`."""

    ALL, ANY = " & ", " | "

    def __init__(
        self,
        db: Database,
        side: Side,
        text: str,
        entries: int,
        without: Sequence[str],
        within: Rows | None,
    ) -> None:
        self._db, self._side = db, side
        last = db.one("SELECT coalesce(max(row), 0) FROM item WHERE side = %s", side)[0]
        super().__init__(text, entries, last, without, within)

    def quoted(self, word: str) -> str:
        """A match of one word."""
        return _quoted(word)

    def phrase(self, words: Sequence[str]) -> str:
        """A match of words one after the other, in one of the places that a picture's words come from."""
        if self._side == "text":
            return " <-> ".join(map(_quoted, words))
        return "|".join(
            f"({' <-> '.join(f'{_quoted(word)}:{weight}' for word in words)})" for weight in "ABCD"
        )

    def but_not(self, match: str) -> str:
        """What leaves out the matches of another."""
        return f" & !({match})"

    def rows(self, match: str) -> Rows:
        """The first entries that match, ascending; only those of `within`."""
        asked = f"({match}){self.unless}"
        if self.within is None:
            return self._found(asked, "", (), wording.MOST)
        if len(self.within) > FEW:  # so many that there are enough among the first that match
            first = self._found(asked, "", (), 4 * wording.MOST)
            return first[among(first, self.within)]
        return self._found(asked, " AND row = ANY(%s)", (self.within,), wording.MOST)

    def counted(self, match: str) -> tuple[int, int]:
        """How many entries match, up to `MOST`, and the last of these."""
        found = self._found(match, "", (), wording.MOST)
        return len(found), int(found[-1]) if len(found) else 0

    def among(self, rows: Rows, match: str) -> Rows:
        """Those of some entries that match."""
        return self._found(f"({match}){self.unless}", " AND row = ANY(%s)", (rows,), len(rows))

    def _found(self, match: str, more: str, values: tuple[Any, ...], most: int) -> Rows:
        found = self._db.every(
            f"SELECT row FROM item WHERE side = '{self._side}' AND words @@ {_QUERY}{more} "
            "ORDER BY row LIMIT %s",
            match, *values, most,
        )  # fmt: skip
        return np.fromiter((row for (row,) in found), np.int64, len(found))


def sources(db: Database, rows: Sequence[int], text: str) -> dict[int, str]:
    """Where the words of pictures or texts came from; see `diptych.engine.homes.local.words.sources`."""
    words = list(map(_quoted, telling(cut(text)[:MOST_WORDS])))
    found: dict[int, str] = {}
    for how in dict.fromkeys([" & ", " | "] if words else []):
        for row, source in db.every(
            "SELECT item.row, one.source FROM item JOIN item AS one ON one.side = 'text' AND "
            "(one.row = item.row OR (item.side = 'image' AND one.file = item.file)) "
            f"WHERE item.row = ANY(%s) AND one.words @@ {_QUERY} ORDER BY one.row DESC",
            _left(rows, found), how.join(words),
        ):  # fmt: skip
            found[row] = str(source)
        for weight, source in (("B", "tag"), ("C", "read")):
            told = db.every(
                f"SELECT row FROM item WHERE row = ANY(%s) AND side = 'image' AND words @@ {_QUERY}",
                _left(rows, found), how.join(f"{word}:{weight}" for word in words),
            )  # fmt: skip
            found.update((row, source) for (row,) in told)
    return {row: found.get(row, "name") for row in rows}


def _left(rows: Sequence[int], found: dict[int, str]) -> Rows:
    return np.array([row for row in rows if row not in found], np.int64)


def _quoted(word: str) -> str:
    """A word in the language of `to_tsquery`; between quotes, it is a word whatever it is."""
    return f"'{plain(word)}'"
