"""Finds the items that fulfil a condition, and counts them by the values of a field.

SQLite gives the files of each comparison from an index, all their numbers in one text, which NumPy reads ten
times faster than Python could take them row by row; what is combined are bits, one a file.
"""

from __future__ import annotations

import datetime
import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Rows, Side
from diptych.engine.conditions import AllOf, AnyOf, Condition, Negation, Test
from diptych.engine.homes.entries import State
from diptych.engine.homes.local.database import Database
from diptych.engine.homes.local.facts import folded
from diptych.media.metadata import KINDS, Value, typed

__all__ = ["Filtered"]

_REMEMBERED = 64  # comparisons; of a million files each takes an eighth of a megabyte
_IN_FILES = {"size": "size", "modified": "mtime_ns"}  # columns of the files themselves
_AFTER_DATES, _AFTER_PREFIX = ":", "~"  # sorts after all dates, and after all that a date may go on with

_START, _END = -(2**63), 2**63 - 1  # of the times that a file can have

Bits = NDArray[np.bool_]


class Filtered:
    """The items of a collection's SQLite file by their fields.

    Args:
        db: That file.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, Any] = OrderedDict()
        self._state: State | None = None

    def matching(self, side: Side, condition: Condition, state: State) -> Rows:
        """The rows of a side whose files fulfil a condition, ascending.

        Args:
            side: Of the items.
            condition: As `diptych.engine.filters.checked` gives it.
            state: What this thread reads.
        """
        rows, files, count = self._items(side, state)
        return rows[self._bits(condition, count, state)[files]]

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
            files = files[np.isin(rows, within)]
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

        found: tuple[Rows, Rows, int] = self._remembered(("items", side), state, read)
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
        packed = self._remembered(condition, state, lambda: np.packbits(self._read(condition, count)))
        return np.unpackbits(packed, count=count).view(np.bool_)

    def _read(self, test: Test, count: int) -> Bits:
        found = np.zeros(count, np.bool_)
        found[_numbers(self._db.one(*_statement(test))[0])] = True
        return found

    def _remembered(self, key: Hashable, state: State, read: Callable[[], Any]) -> Any:
        """What was read in this state; comparisons that nobody asks for any more are forgotten."""
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
                while len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
        return found


def _numbers(text: str | None) -> Rows:
    """The numbers in a text that `group_concat` gave; none of None."""
    return np.fromstring(text, np.int64, sep=",") if text else np.zeros(0, np.int64)


def _statement(test: Test) -> tuple[str, *tuple[Any, ...]]:
    """What asks for the files that pass a comparison, with its parameters."""
    if test.field in _IN_FILES:
        what, values = _in_files(test)
        return f"SELECT group_concat(id) FROM file WHERE {what}", *values
    what, values = _in_facts(test)
    return (
        "SELECT group_concat(file) FROM fact WHERE field = (SELECT id FROM field WHERE name = ?)"
        f"{what and ' AND '}{what}",
        test.field,
        *values,
    )


def _in_facts(test: Test) -> tuple[str, list[Any]]:
    """The condition on a value and its parameters; of three kinds of values each is compared with its own."""
    if test.operator == "known":
        return "", []
    kind = KINDS.get(test.field) or _kind(test)
    if kind == "date" and test.operator != "like":
        return _between_dates(test)
    if kind == "number":  # which SQLite sorts before all texts
        what, values = _compared("value", test.operator, list(test.values))
        return f"{what} AND value < ''", values
    texts = [folded(str(value)) for value in test.values]
    if test.operator != "like":
        what, values = _compared("value", test.operator, texts)
        return f"{what} AND value >= ''", values
    first = re.split(r"[%_\\]", texts[0], maxsplit=1)[0]
    # The index finds what begins so; LIKE itself cannot be asked of an index of exact texts.
    last = [first + "\U0010ffff"] if first else []
    limits = "value >= ? AND value < ?" if first else "value >= ?"
    return f"{limits} AND value LIKE ? ESCAPE '\\'", [first, *last, texts[0]]


def _kind(test: Test) -> str:
    """What a field that may hold anything is compared as."""
    if test.operator == "like":
        return "text"
    if all(not isinstance(value, str) for value in test.values):
        return "number"
    return "date" if all(typed(str(value), "date") == value for value in test.values) else "text"


def _compared(what: str, operator: str, values: list[Any]) -> tuple[str, list[Any]]:
    return f"{what} BETWEEN ? AND ?" if operator == "between" else f"{what} {operator} ?", values


def _between_dates(test: Test) -> tuple[str, list[Any]]:
    """Of a date that is given in part, all that it may stand for counts as equal."""
    first, last = str(test.values[0]), str(test.values[-1]) + _AFTER_PREFIX
    ranges = {
        "=": (first, last),
        "<": ("", first),
        "<=": ("", last),
        ">": (last, _AFTER_DATES),
        ">=": (first, _AFTER_DATES),
        "between": (first, last),
    }
    return "value >= ? AND value < ?", [*ranges[test.operator]]


def _in_files(test: Test) -> tuple[str, list[Any]]:
    column = _IN_FILES[test.field]
    if test.operator == "known":
        return "1", []
    if test.field == "size":
        return _compared(column, test.operator, list(test.values))
    (first, _), (_, last) = _moments(str(test.values[0])), _moments(str(test.values[-1]))
    ranges = {
        "=": (first, last),
        "<": (_START, first),
        "<=": (_START, last),
        ">": (last, _END),
        ">=": (first, _END),
        "between": (first, last),
    }
    return f"{column} >= ? AND {column} < ?", [*ranges[test.operator]]


def _moments(date: str) -> tuple[int, int]:
    """When a date in part begins, and when it is over, in nanoseconds since 1970 by the local clock."""
    numbers = [int(part) for part in date.replace(":", "-").replace(" ", "-").split("-")]
    first = datetime.datetime(*(numbers + [1, 1, 1][len(numbers) :])[:6])  # type: ignore[arg-type]
    try:
        if len(numbers) < 3:
            months = first.year * 12 + first.month - 1 + (12 if len(numbers) == 1 else 1)
            last = first.replace(year=months // 12, month=months % 12 + 1)
        else:
            step = {3: "days", 5: "minutes", 6: "seconds"}[len(numbers)]
            last = first + datetime.timedelta(**{step: 1})
    except (ValueError, OverflowError):  # the end of the calendar
        last = datetime.datetime.max
    return _nanoseconds(first), _nanoseconds(last)


def _nanoseconds(moment: datetime.datetime) -> int:
    try:
        found = int(moment.timestamp()) * 10**9
    except (OverflowError, OSError, ValueError):  # before or after what the system's clock knows
        found = _START if moment.year < 1970 else _END
    return min(max(found, _START), _END)
