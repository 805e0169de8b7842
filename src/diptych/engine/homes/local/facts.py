"""What a collection knows of its files: fields with any number of values, found by file and by value."""

from __future__ import annotations

import json
from collections.abc import Sequence

from diptych.engine.homes.folding import OF_NAMES, READ, kept, of_name, of_reading
from diptych.engine.homes.local.database import Database
from diptych.media.metadata import Fields, Value

__all__ = ["Facts"]


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
        told = {name: values for name, values in fields.items() if name != READ}
        return self._put(file, told, f"name NOT IN {(*OF_NAMES, READ)}")

    def put_inscription(self, file: int, said: str) -> None:
        """Say what was read in a file's picture."""
        self._put(file, of_reading(said), f"name = '{READ}'")

    def put_name(self, file: int, key: bytes) -> None:
        """Say where a file is."""
        self._put(file, of_name(key), f"name IN {OF_NAMES}")

    def _put(self, file: int, fields: Fields, which: str) -> bool:
        if not fields.keys() <= self._numbers.keys():
            self._db.run_many("INSERT OR IGNORE INTO field (name) VALUES (?)", ((name,) for name in fields))
            self._numbers = dict(self._db.every("SELECT name, id FROM field"))
        numbers = self._numbers
        new = {
            (numbers[name], plain): shown
            for name, values in fields.items()
            for plain, shown in map(kept, values)
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
