"""What a collection knows of its files: fields with any number of values, found by file and by value."""

from __future__ import annotations

import json
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import Any

from diptych.engine.homes.local.database import Database
from diptych.media.metadata import Fields, Value

__all__ = ["Facts", "folded"]

_OF_NAMES = ("folder", "name")  # which follow a file where it moves
_READ = "inscription"  # which follows the content
_LONGEST = 1_000  # characters of one value


class Facts:
    """The fields of the files in a collection's SQLite file.

    Args:
        db: That file.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._numbers: dict[str, int] = {}  # of the names of fields

    def forget(self) -> None:
        """A batch has failed, and with it what it said of names."""
        self._numbers = {}

    def put(self, file: int, fields: Fields) -> bool:
        """Make these the fields of a file, besides those that its name gives; returns whether any changed."""
        told = {name: values for name, values in fields.items() if name != _READ}
        return self._put(file, told, f"name NOT IN {(*_OF_NAMES, _READ)}")

    def put_inscription(self, file: int, said: str) -> None:
        """Say what was read in a file's picture; in one value, which keeps its order, if it is short."""
        values = textwrap.wrap(said, _LONGEST)
        self._put(file, {_READ: tuple(values)} if values else {}, f"name = '{_READ}'")

    def put_name(self, file: int, key: bytes) -> None:
        """Say where a file is: its folder (empty for the collection's own) and its name, as text."""
        folder, _, name = key.lstrip(b"\0").decode("utf-8", "replace").rpartition("/")
        self._put(file, {"folder": (folder,), "name": (name,)}, f"name IN {_OF_NAMES}")

    def _put(self, file: int, fields: Fields, which: str) -> bool:
        if not fields.keys() <= self._numbers.keys():
            self._db.run_many("INSERT OR IGNORE INTO field (name) VALUES (?)", ((name,) for name in fields))
            self._numbers = dict(self._db.every("SELECT name, id FROM field"))
        numbers = self._numbers
        new = {
            (numbers[name], kept): shown
            for name, values in fields.items()
            for kept, shown in map(_kept, values)
        }
        before = {
            (number, value): shown
            for number, value, shown in self._db.every(
                "SELECT field, value, shown FROM fact JOIN field ON field.id = fact.field "
                f"WHERE file = ? AND {which}",
                file,
            )
        }
        if before == new:
            return False
        if before:
            self._db.run_many(
                "DELETE FROM fact WHERE field = ? AND value = ? AND file = ?",
                ((*one, file) for one, shown in before.items() if new.get(one, 0) != shown),
            )
        self._db.run_many(
            "INSERT OR REPLACE INTO fact (field, value, file, shown) VALUES (?, ?, ?, ?)",
            ((*one, file, shown) for one, shown in new.items() if before.get(one, 0) != shown),
        )
        return True

    def of(self, files: Sequence[int]) -> dict[int, dict[str, tuple[Value, ...]]]:
        """The fields of each of the files, by their names, values in order."""
        found: dict[int, dict[str, tuple[Value, ...]]] = {file: {} for file in files}
        numbers = json.dumps([int(file) for file in files])
        for file, name, value in self._db.each(
            "SELECT file, name, coalesce(shown, value) FROM fact JOIN field ON field.id = fact.field "
            "WHERE file IN (SELECT value FROM json_each(?)) ORDER BY file, name, value",
            numbers,
        ):
            found[file][name] = (*found[file].get(name, ()), value)
        return found


def folded(text: str) -> str:
    """A text as it is compared, whatever the case of its letters."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _kept(value: Value) -> tuple[Any, str | None]:
    """A value as it is compared, and as it is shown if that differs."""
    if not isinstance(value, str):
        return value, None
    plain = folded(value)
    return plain, None if plain == value else value
