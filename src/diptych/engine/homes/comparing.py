"""What a comparison of a filter asks of the values of a field, whatever a home keeps them in."""

from __future__ import annotations

import datetime
import re
from typing import Any, Literal

from diptych.engine.conditions import Test
from diptych.engine.homes.folding import folded
from diptych.media.metadata import KINDS, typed

__all__ = ["IN_FILES", "Comparison", "in_files", "in_values"]

IN_FILES = {"size": "size", "modified": "mtime_ns"}
"""Fields that are columns of the files themselves."""

Comparison = tuple[Literal["=", "<", "<=", ">", ">=", "like"], Any]
"""How a value must compare with another; that of "like" is a pattern with a backslash before plain signs."""

_AFTER_DATES, _AFTER_PREFIX = ":", "~"  # sorts after all dates, and after all that a date may go on with
_START, _END = -(2**63), 2**63 - 1  # of the times that a file can have


def in_values(test: Test) -> tuple[Literal["any", "number", "text"], list[Comparison]]:
    """As what a field's values are compared, and all that one of them must fulfil.

    Texts are compared folded, and byte by byte; a text and a number never compare.
    """
    if test.operator == "known":
        return "any", []
    kind = KINDS.get(test.field) or _kind(test)
    if kind == "date" and test.operator != "like":
        return "text", _between_dates(test)
    if kind == "number":
        return "number", _compared(test.operator, list(test.values))
    texts = [folded(str(value)) for value in test.values]
    if test.operator != "like":
        return "text", _compared(test.operator, texts)
    first = re.split(r"[%_\\]", texts[0], maxsplit=1)[0]
    # An index finds what begins so.
    begins: list[Comparison] = [(">=", first)]
    return "text", [*begins, *([("<", first + "\U0010ffff")] if first else []), ("like", texts[0])]  # type: ignore[list-item]


def in_files(test: Test) -> tuple[str, list[Comparison]]:
    """The column of the files that is compared, and all that it must fulfil."""
    column = IN_FILES[test.field]
    if test.operator == "known":
        return column, []
    if test.field == "size":
        return column, _compared(test.operator, list(test.values))
    (first, _), (_, last) = _moments(str(test.values[0])), _moments(str(test.values[-1]))
    return column, _between(test.operator, first, last, _START, _END)


def _kind(test: Test) -> str:
    """What a field that may hold anything is compared as."""
    if test.operator == "like":
        return "text"
    if all(not isinstance(value, str) for value in test.values):
        return "number"
    return "date" if all(typed(str(value), "date") == value for value in test.values) else "text"


def _compared(operator: Any, values: list[Any]) -> list[Comparison]:
    return [(">=", values[0]), ("<=", values[1])] if operator == "between" else [(operator, values[0])]


def _between_dates(test: Test) -> list[Comparison]:
    """Of a date that is given in part, all that it may stand for counts as equal."""
    first, last = str(test.values[0]), str(test.values[-1]) + _AFTER_PREFIX
    return _between(test.operator, first, last, "", _AFTER_DATES)


def _between(operator: str, first: Any, last: Any, start: Any, end: Any) -> list[Comparison]:
    """What compares with something that lasts from first to last, within all from start to end."""
    ranges = {
        "=": (first, last),
        "<": (start, first),
        "<=": (start, last),
        ">": (last, end),
        ">=": (first, end),
        "between": (first, last),
    }
    least, most = ranges[operator]
    return [(">=", least), ("<", most)]


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
