"""Facts about pictures by the names of their fields: which are known, how columns become them, their types.

A field has any number of values, each a text, a whole number or a number; dates are texts such as
``2024-05-01 10:30:00``, by the clock of the camera, that sort as they should. Whatever table or file a fact
comes from, it passes `typed`, and so does whatever it is compared with.
"""

from __future__ import annotations

import datetime
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from diptych.media.cells import is_missing, strings, unpacked

__all__ = [
    "KINDS",
    "Fields",
    "Kind",
    "Value",
    "field_name",
    "fields_of_row",
    "merged",
    "shown",
    "typed",
    "united",
]

Value: TypeAlias = str | int | float
Fields: TypeAlias = Mapping[str, tuple[Value, ...]]
Kind: TypeAlias = Literal["date", "number", "text"]

KINDS: Mapping[str, Kind] = {
    "date": "date", "modified": "date", "year": "date", "camera": "text", "lens": "text",
    "latitude": "number", "longitude": "number", "city": "text", "country": "text",
    "width": "number", "height": "number", "orientation": "text", "format": "text", "size": "number",
    "rating": "number", "tag": "text", "folder": "text", "name": "text",
}  # fmt: skip
"""The fields that mean something by themselves, with what their values are; others hold what comes."""

# What tables and other programs call them.
_ALIASES = {
    "tags": "tag", "keyword": "tag", "keywords": "tag", "subject": "tag", "subjects": "tag",
    "datetime": "date", "date_taken": "date", "datetaken": "date", "taken": "date", "taken_at": "date",
    "datetimeoriginal": "date", "capture_date": "date", "timestamp": "date",
    "camera_model": "camera", "model": "camera", "lens_model": "lens", "lensmodel": "lens",
    "lat": "latitude", "gpslatitude": "latitude", "lon": "longitude", "lng": "longitude", "long": "longitude",
    "gpslongitude": "longitude", "stars": "rating",
}  # fmt: skip
_OF_FILES = frozenset({"folder", "name", "size", "modified", "year"})  # which the file itself says
_LONGEST, _LONGEST_NAME = 1_000, 64  # characters of a text, and of the name of a field
_MOST_VALUES, _MOST_FIELDS = 256, 256  # of a field, and of a picture
_WHOLE = re.compile(r"[+-]?(?:0|[1-9]\d{0,17})")
_NUMBER = re.compile(r"[+-]?\d{1,30}(?:\.\d{0,30})?(?:[eE][+-]?\d{1,3})?")
_ZERO_FIRST = re.compile(r"[+-]?0\d")
_TIME = r"[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,9})?)? ?(?:Z|[+-]\d\d:?\d\d)?"
_DATE = re.compile(rf"(\d{{4}})(?:([-:/.])(\d\d)(?:\2(\d\d)(?:{_TIME})?)?)?")
_BETWEEN_TAGS = re.compile(r"[;,|]")


def field_name(column: str) -> str:
    """The field that a column of a table stands for; "" if it can be none.

    Example:
        >>> field_name("Date Taken"), field_name("Shutter speed")
        ('date', 'shutter_speed')
    """
    plain = re.sub(r"\W+", "_", unicodedata.normalize("NFC", column).casefold()).strip("_")
    name = _ALIASES.get(plain, plain)
    return "" if len(name) > _LONGEST_NAME or name[:1].isdigit() else name


def typed(value: Any, kind: Kind | None = None) -> Value | None:
    """A value as it is kept and compared; None if it is none of its kind.

    Args:
        value: A text, number or truth value.
        kind: What it must be. None takes a text for a number or a full date if it is written as one; with
            zeros in front, as of post codes, it stays a text.

    Example:
        >>> typed("12"), typed("012"), typed("2024:05:01 10:30:00"), typed("2024", "date")
        (12, '012', '2024-05-01 10:30:00', '2024')
    """
    if isinstance(value, bool):
        value = "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and abs(value) >= 2**63:
        value = float(value) if abs(value) < 10**300 else None
    if not isinstance(value, str | int | float):
        return None
    if kind == "date":
        return _date(str(value).strip(), least=1)
    if not isinstance(value, str):
        return value if kind != "text" else str(value)
    text = unicodedata.normalize("NFC", " ".join(value.replace("\0", " ").split()))
    if len(text) > _LONGEST:
        return None
    if kind == "text":
        return _storable(text)
    if _WHOLE.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text) and (kind == "number" or not _ZERO_FIRST.match(text)):
        return float(text) if math.isfinite(float(text)) else None
    return None if kind == "number" else _date(text, least=3) or _storable(text)


def _storable(text: str) -> str | None:
    """The text, unless it is empty or holds half of a character."""
    return text if text and not re.search(r"[\ud800-\udfff]", text) else None


def _date(text: str, least: int) -> str | None:
    """A date in our form, with as many of its parts as are there, at least so many; None if it is none."""
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    parts = [part for at, part in enumerate(found.groups()) if at != 1 and part is not None]
    numbers = [int(part) for part in parts]
    if len(parts) < least:
        return None
    try:
        datetime.datetime(*(numbers + [1, 1, 1][len(numbers) :])[:6])  # type: ignore[arg-type]
    except ValueError:
        return None
    return "-".join(parts[:3]) + (" " + ":".join(parts[3:]) if parts[3:] else "")


def fields_of_row(values: Mapping[str, Any], *, leave: Iterable[str] = ()) -> dict[str, tuple[Value, ...]]:
    """The fields in a row of a table, or in an object of JSON.

    A list has many values, and so has a text with tags between commas, semicolons or bars; objects within are
    left out, and so are texts of more than 1,000 characters. Of a field 256 values are kept, of a picture 256
    fields.

    Args:
        values: By column.
        leave: Columns that are something else.
    """
    left, found = set(leave), dict[str, tuple[Value, ...]]()
    for column, value in values.items():
        name = "" if column in left else field_name(str(column))
        if not name or name in _OF_FILES or isinstance(value, Mapping) or len(found) >= _MOST_FIELDS:
            continue
        kept = tuple(dict.fromkeys(one for one in _typed(name, value) if one is not None))[:_MOST_VALUES]
        if kept:
            found[name] = (*found.get(name, ()), *kept) if name == "tag" else found.get(name, kept)
    return found


def _typed(name: str, value: Any) -> Iterable[Value | None]:
    kind = KINDS.get(name)
    if isinstance(value, bool | int | float):
        return [typed(value, kind)]
    texts = [text for text in strings(unpacked(value)) if not is_missing(text)]
    if name == "tag":
        texts = [tag for text in texts for tag in _BETWEEN_TAGS.split(text)]
    return (typed(text, kind) for text in texts)


def merged(first: Fields, *others: Fields) -> dict[str, tuple[Value, ...]]:
    """All fields together: tags of all, of everything else what comes first."""
    found = dict(first)
    for other in others:
        tags = tuple(dict.fromkeys((*found.get("tag", ()), *other.get("tag", ()))))
        found = {**other, **found} | ({"tag": tags} if tags else {})
    return found


def united(first: Fields, other: Fields) -> Fields:
    """The values of two that say more of the same, as two rows of a table do."""
    both = {name: tuple(dict.fromkeys((*first.get(name, ()), *values))) for name, values in other.items()}
    return {**first, **{name: values[:_MOST_VALUES] for name, values in both.items()}}


def shown(fields: Fields) -> dict[str, Any]:
    """Fields as they are handed out: a value, or a list where there are many, and always of tags."""
    return {
        name: list(values) if name == "tag" or len(values) > 1 else values[0]
        for name, values in fields.items()
    }
