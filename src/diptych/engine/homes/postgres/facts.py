"""What a collection in PostgreSQL knows of its files: fields, filters in SQL with parameters, counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from diptych.core import Rows, Side
from diptych.engine.conditions import AllOf, AnyOf, Condition, Negation, Test
from diptych.engine.homes.comparing import IN_FILES, in_files, in_values
from diptych.engine.homes.folding import OF_NAMES, READ, kept, of_name, of_reading
from diptych.engine.homes.postgres.database import Database
from diptych.media.metadata import Fields, Value

__all__ = ["Facts"]

_INDEXED = 250  # characters of a text that the index has


class Facts:
    """The fields of the files in a collection's tables.

    Args:
        db: These.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._new: dict[int, set[str]] = {}

    # Keeping

    def is_new(self, file: int) -> None:
        """A file has no field yet, so that none has to be asked for until the batch ends."""
        self._new[file] = set()

    def forget(self) -> None:
        """The batch has ended."""
        self._new = {}

    def put(self, file: int, fields: Fields) -> bool:
        """Make these the fields of a file, besides those of its name; returns whether any changed."""
        told = {name: values for name, values in fields.items() if name != READ}
        return self._put(file, told, f"name NOT IN {(*OF_NAMES, READ)}")

    def put_inscription(self, file: int, said: str) -> None:
        """Say what was read in a file's picture."""
        self._put(file, of_reading(said), f"name = '{READ}'")

    def put_name(self, file: int, key: bytes) -> None:
        """Say where a file is."""
        self._put(file, of_name(key), f"name IN {OF_NAMES}")

    def _put(self, file: int, fields: Fields, which: str) -> bool:
        new = {(name, plain): shown for name, values in fields.items() for plain, shown in map(kept, values)}
        if file in self._new and which not in self._new[file]:
            self._new[file].add(which)
            self._insert(file, new)
            return bool(new)
        before = {
            (name, text if number is None else _number(number)): shown
            for name, text, number, shown in self._db.every(
                "SELECT name, text, number, shown FROM fact JOIN field ON field.id = fact.field "
                f"WHERE file = %s AND {which}",
                file,
            )
        }
        if before == new:
            return False
        for (name, value), shown in before.items():
            if new.get((name, value), 0) != shown:
                self._db.run(
                    "DELETE FROM fact WHERE file = %s AND field = (SELECT id FROM field WHERE name = %s) "
                    f"AND {_kind(value)} = %s",
                    file, name, _parameter(value),
                )  # fmt: skip
        self._insert(file, {one: shown for one, shown in new.items() if before.get(one, 0) != shown})
        return True

    def _insert(self, file: int, new: Mapping[tuple[str, Any], str | None]) -> None:
        known = self._db.remembered("fields", set[str])
        for (name, value), shown in new.items():
            if name not in known:
                known.add(name)
                self._db.run("INSERT INTO field (name) VALUES (%s) ON CONFLICT DO NOTHING", name)
            self._db.run(
                f"INSERT INTO fact (file, field, {_kind(value)}, shown) "
                "SELECT %s, id, %s, %s FROM field WHERE name = %s",
                file, _parameter(value), shown, name,
            )  # fmt: skip

    def of(self, files: Sequence[int]) -> dict[int, dict[str, tuple[Value, ...]]]:
        """The fields of each of the files, by their names, values in order."""
        found: dict[int, dict[str, tuple[Value, ...]]] = {file: {} for file in files}
        for file, name, text, number in self._db.every(
            "SELECT file, name, coalesce(shown, text), number FROM fact JOIN field ON field.id = fact.field "
            'WHERE file = ANY(%s) ORDER BY file, name COLLATE "C", number NULLS LAST, text',
            np.array(files, np.int64),
        ):
            value = text if number is None else _number(number)
            found[file][name] = (*found[file].get(name, ()), value)
        return found

    # Filtering

    def matching(self, side: Side, condition: Condition) -> Rows:
        """The rows of a side whose files fulfil a condition, ascending."""
        what, values = _sql(condition)
        # Only where it is asked: to join all files took half of the time.
        files = " JOIN file ON file.id = item.file" if _asks_files(condition) else ""
        return self._db.rows(
            f"SELECT row FROM item{files} WHERE side = %s AND {what} ORDER BY row", side, *values
        )

    def facets(self, side: Side, name: str, within: Rows | None) -> dict[Value | None, int]:
        """How many items have each value of a field, the most frequent first; those without under None."""
        among = "side = %s" if within is None else "side = %s AND row = ANY(%s)"
        asked = (side,) if within is None else (side, within)
        shown = "left(text, 4)" if name == "year" else "text"
        # A file has a value once, though two dates be of one year; a file of texts has many items.
        counted = self._db.every(
            f"WITH held AS (SELECT file, count(*) AS items FROM item WHERE {among} GROUP BY file), "
            f"said AS (SELECT DISTINCT ON (file, {shown}, number) file, {shown} AS value, number, "
            f"coalesce(shown, {shown}) AS written FROM fact "
            "WHERE field = (SELECT id FROM field WHERE name = %s)) "
            "SELECT min(written COLLATE \"C\"), number, sum(items)::bigint FROM said JOIN held USING (file) "
            "GROUP BY value, number",
            *asked, "date" if name == "year" else name,
        )  # fmt: skip
        without = self._db.one(
            f"SELECT count(*) FROM item WHERE {among} AND NOT EXISTS (SELECT 1 FROM fact "
            "WHERE fact.file = item.file AND field = (SELECT id FROM field WHERE name = %s))",
            *asked, "date" if name == "year" else name,
        )[0]  # fmt: skip
        found: dict[Value, int] = {
            (_number(number) if number is not None else int(text) if name == "year" else text): int(items)
            for text, number, items in counted
        }
        ordered = sorted(found.items(), key=lambda one: (-one[1], str(one[0])))
        return dict(ordered) | ({None: int(without)} if without else {})


def _number(value: Decimal) -> int | float:
    """A number as it was kept; a whole one has no places behind the point."""
    exponent = value.as_tuple().exponent
    return int(value) if isinstance(exponent, int) and exponent >= 0 else float(value)


def _kind(value: Value) -> str:
    """The column that a value stands in."""
    return "text" if isinstance(value, str) else "number"


def _parameter(value: Any) -> Any:
    """A value as a parameter; a number as the decimal that it is written as, which keeps its kind."""
    return value if isinstance(value, str) else Decimal(repr(value))


def _asks_files(condition: Condition) -> bool:
    """Whether it concerns what stands in the table of files."""
    if isinstance(condition, Negation):
        return _asks_files(condition.of)
    if isinstance(condition, AllOf | AnyOf):
        return any(map(_asks_files, condition.parts))
    return isinstance(condition, Test) and condition.field in IN_FILES


def _sql(condition: Condition) -> tuple[str, list[Any]]:
    """A condition on the row of an item, and of its file where that is asked, with its parameters."""
    if isinstance(condition, Negation):
        what, values = _sql(condition.of)
        return f"NOT ({what})", values
    if isinstance(condition, AllOf | AnyOf):
        parts = [_sql(part) for part in condition.parts]
        how = " AND " if isinstance(condition, AllOf) else " OR "
        whole = how.join(f"({what})" for what, _ in parts) or str(isinstance(condition, AllOf))
        return whole, [value for _, values in parts for value in values]
    assert isinstance(condition, Test)
    if condition.field in IN_FILES:
        column, compared = in_files(condition)
        which = [f"file.{column} {operator} %s" for operator, _ in compared]
        return " AND ".join(which) or "TRUE", [_parameter(value) for _, value in compared]
    kind, compared = in_values(condition)
    which, given = [], [condition.field]
    for operator, value in compared:
        if kind == "text" and operator == "like":
            which.append("text LIKE %s")
            given.append(_pattern(value))
        elif kind == "text":
            loosely = {"<": "<=", ">": ">="}.get(operator, operator)
            which.append(
                f"text {operator} %s AND left(text, {_INDEXED}) {loosely} left(%s::text, {_INDEXED})"
            )
            given += [value, value]
        else:
            which.append(f"number {operator} %s")
            given.append(_parameter(value))
    return (
        "item.file IN (SELECT file FROM fact WHERE field = (SELECT id FROM field WHERE name = %s)"
        + "".join(f" AND {one}" for one in which)
        + ")",
        given,
    )


def _pattern(text: str) -> str:
    """A pattern of LIKE, whose last backslash would stand before nothing."""
    odd = (len(text) - len(text.rstrip("\\"))) % 2
    return text + "\\" * odd
