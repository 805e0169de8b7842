"""Finds the items that fulfil a condition, and counts them by the values of a field.

SQLite gives the files of each comparison from an index, all their numbers in one text, which NumPy reads ten
times faster than Python could take them row by row; what is combined are bits, one a file.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Rows, Side
from diptych.engine.conditions import AllOf, AnyOf, Condition, Negation, Test
from diptych.engine.homes.comparing import IN_FILES, Comparison, in_files, in_values
from diptych.engine.homes.entries import State
from diptych.engine.homes.local.database import Database
from diptych.index.flat import places_of
from diptych.media.metadata import Value

__all__ = ["Filtered"]

_REMEMBERED = 64  # comparisons; of a million files each takes an eighth of a megabyte
_MATCHED = 4  # filters whose items are kept at hand; of a million items each takes up to eight megabytes
Bits = NDArray[np.bool_]


class Filtered:
    """The items of a collection's SQLite file by their fields.

    Args:
        db: That file.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known = _Remembered(_REMEMBERED)
        self._matched = _Remembered(_MATCHED)

    def matching(self, side: Side, condition: Condition, state: State) -> Rows:
        """The rows of a side whose files fulfil a condition, ascending; the same array when asked again.

        Args:
            side: Of the items.
            condition: As `diptych.engine.filters.checked` gives it.
            state: What this thread reads.
        """

        def find() -> Rows:
            rows, files, count = self._items(side, state)
            found = rows[self._bits(condition, count, state)[files]]
            found.flags.writeable = False  # others are given it, too
            return found

        found: Rows = self._matched.get((side, condition), state, find)
        return found

    def facets(self, side: Side, name: str, within: Rows | None, state: State) -> dict[Value | None, int]:
        """How many items have each value of a field, the most frequent first; those without under None.

        Args:
            side: Of the items.
            name: The field.
            within: Only these rows, if given.
            state: What this thread reads.
        """
        rows, files, count = self._items(side, state)
        if within is not None:
            files = files[places_of(rows, within)]
        each = np.bincount(files, minlength=count)  # a file of texts has many items
        found: Counter[Value] = Counter()
        there = np.zeros(count, np.bool_)
        shown = "substr(value, 1, 4)" if name == "year" else "value"
        for value, numbers in self._db.each(
            f"SELECT min(coalesce(shown, {shown})), group_concat(file) FROM fact "
            f"WHERE field = (SELECT id FROM field WHERE name = ?) GROUP BY {shown}",
            "date" if name == "year" else name,
        ):
            which = np.unique(_numbers(numbers))
            there[which] = True
            if items := int(each[which].sum()):
                found[int(value) if name == "year" else value] += items
        without = int(each[~there].sum())
        ordered = sorted(found.items(), key=lambda one: (-one[1], str(one[0])))
        return dict(ordered) | ({None: without} if without else {})

    def _items(self, side: Side, state: State) -> tuple[Rows, Rows, int]:
        """Rows (n,) of a side and their files (n,), and a number above that of every file."""

        def read() -> tuple[Rows, Rows, int]:
            rows, files = self._db.one(
                "SELECT group_concat(row), group_concat(file) FROM "
                "(SELECT row, file FROM item WHERE side = ? ORDER BY row)",
                side,
            )
            most = self._db.one("SELECT max(id) FROM file")[0] or 0
            return _numbers(rows), _numbers(files), most + 1

        found: tuple[Rows, Rows, int] = self._known.get(("items", side), state, read)
        return found

    def _bits(self, condition: Condition, count: int, state: State) -> Bits:
        """(count,) which files fulfil a condition."""
        if isinstance(condition, Negation):
            return ~self._bits(condition.of, count, state)
        if isinstance(condition, AllOf | AnyOf):
            both = np.logical_and if isinstance(condition, AllOf) else np.logical_or
            found = np.full(count, isinstance(condition, AllOf))
            for part in condition.parts:
                both(found, self._bits(part, count, state), out=found)
            return found
        assert isinstance(condition, Test)
        packed = self._known.get(condition, state, lambda: np.packbits(self._read(condition, count)))
        return np.unpackbits(packed, count=count).view(np.bool_)

    def _read(self, test: Test, count: int) -> Bits:
        found = np.zeros(count, np.bool_)
        found[_numbers(self._db.one(*_statement(test))[0])] = True
        return found


class _Remembered:
    """What was read in one state; what nobody asks for any more is forgotten.

    Args:
        most: Things to keep.
    """

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._known: OrderedDict[Hashable, Any] = OrderedDict()
        self._state: State | None = None

    def get(self, key: Hashable, state: State, read: Callable[[], Any]) -> Any:
        """What is known under a key in a state, or else what is read now."""
        with self._lock:
            if self._state != state:
                self._state = state
                self._known.clear()
            elif key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        found = read()
        with self._lock:
            if self._state == state:
                self._known[key] = found
                while len(self._known) > self._most:
                    self._known.popitem(last=False)
        return found


def _numbers(text: str | None) -> Rows:
    """The numbers in a text that `group_concat` gave; none of None."""
    return np.fromstring(text, np.int64, sep=",") if text else np.zeros(0, np.int64)


def _statement(test: Test) -> tuple[str, *tuple[Any, ...]]:
    """What asks for the files that pass a comparison, with its parameters."""
    if test.field in IN_FILES:
        column, compared = in_files(test)
        return f"SELECT group_concat(id) FROM file{_all('WHERE', _each(column, compared))}", *_values(
            compared
        )
    kind, compared = in_values(test)
    which = _each("value", compared)
    # Numbers sort before all texts.
    if kind == "number" and not any(operator in ("=", "<", "<=") for operator, _ in compared):
        which.append("value < ''")
    if kind == "text" and not any(operator in ("=", ">", ">=") for operator, _ in compared):
        which.append("value >= ''")
    return (
        "SELECT group_concat(file) FROM fact WHERE field = (SELECT id FROM field WHERE name = ?)"
        + _all("AND", which),
        test.field,
        *_values(compared),
    )


def _each(column: str, compared: Sequence[Comparison]) -> list[str]:
    return [
        f"{column} LIKE ? ESCAPE '\\'" if operator == "like" else f"{column} {operator} ?"
        for operator, _ in compared
    ]


def _all(first: str, conditions: Sequence[str]) -> str:
    return f" {first} {' AND '.join(conditions)}" if conditions else ""


def _values(compared: Sequence[Comparison]) -> list[Any]:
    return [value for _, value in compared]
