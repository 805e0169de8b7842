"""What the cells of a table mean: the names that columns go by, missing values, and captions of a cell."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from diptych.errors import BadData
from diptych.media.textfiles import parsed

__all__ = [
    "COLUMNS",
    "captions",
    "cell",
    "column",
    "has_texts",
    "is_missing",
    "one_line",
    "others",
    "strings",
    "texts",
    "unpacked",
]

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "image": (
        "image", "image_path", "file_name", "filename", "filepath", "file", "path", "img", "image_name",
        "image_file", "img_path", "img_name", "image_id", "img_id",
    ),
    "text": (
        "text", "captions", "caption", "sentences", "sentence", "title", "description", "comment", "txt",
        "raw", "comments", "texts",
    ),
    "label": ("label", "labels", "class", "category", "categories"),
    "split": ("split", "subset", "partition"),
}  # fmt: skip
"""Names under which each column is looked for, best first; case and spaces around them do not matter."""

_MISSING = frozenset({"", "nan", "null", "none", "na", "n/a", "#n/a", "<na>", "nil"})
# Five captions in five columns: caption_1, caption_2 and so on.
_NUMBERED = re.compile(r"(?:caption|text|sentence|comment|description)s?[ _-]?\d{1,3}")
_BETWEEN = re.compile(r"(?<=['\"])\s+(?=['\"])")  # NumPy writes no commas between the parts of a list
_LONGEST = 1_000_000  # characters of a cell that are looked at as a list


def column(names: Sequence[str], role: str) -> str:
    """Which of the columns plays a role of `COLUMNS`; "" if none does."""
    by_name = {name.strip().lower(): name for name in reversed(names)}
    return next((by_name[known] for known in COLUMNS[role] if known in by_name), "")


def cell(values: Mapping[str, Any], role: str) -> Any:
    """What a row holds for a role, in the best of the columns that hold anything; None if none does."""
    return values.get(column([name for name, value in values.items() if not _is_empty(value)], role))


def strings(value: Any) -> list[str]:
    """The words of a cell as they stand: one, a list of them, or sentences as objects."""
    if _is_empty(value):
        return []
    if isinstance(value, Mapping):  # Karpathy's sentences
        value = value.get("raw", value.get("caption", ""))
    if isinstance(value, str | int | float):
        return [] if _is_empty(value) else [str(value)]
    return [one for part in value for one in strings(part)]


def captions(value: Any) -> list[str]:
    """The captions of a cell, each in one line: `strings` without missing values, inner lists taken apart.

    "nan", "null", "None" and "NA" say that there is none, in whatever case. A cell may hold a list as JSON,
    Python or NumPy write it.
    """
    return [one_line(text) for text in strings(unpacked(value)) if not is_missing(text)]


def texts(values: Mapping[str, Any], name: str = "") -> list[str]:
    """The captions of a row.

    Args:
        values: By column.
        name: The column; by default the best that holds any caption, or all that are called ``caption_1``,
            ``caption_2`` and so on.
    """
    if name:
        return captions(values.get(name))
    said = {name: found for name, value in values.items() if (found := _read(name, value))}
    best = column(list(said), "text")
    if best:
        return said[best]
    return [one for found in said.values() for one in found]


def others(values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a row that neither name its picture nor are what `texts` gives."""
    said = [name for name, value in values.items() if _read(name, value)]
    best = column(said, "text")
    left = {column([name for name, value in values.items() if not _is_empty(value)], "image")}
    left.update([best] if best else said)
    return {name: value for name, value in values.items() if name not in left}


def has_texts(names: Iterable[str]) -> bool:
    """Whether any of the columns may hold captions."""
    return any(_says(name) for name in names)


def is_missing(value: Any) -> bool:
    """Whether a value stands for none."""
    return value.strip().lower() in _MISSING if isinstance(value, str) else _is_empty(value)


def one_line(text: str) -> str:
    """The text with one space where it has any number of spaces and line ends."""
    return " ".join(text.split())


def _says(name: str) -> bool:
    plain = name.strip().lower()
    return plain in COLUMNS["text"] or _NUMBERED.fullmatch(plain) is not None


def _read(name: str, value: Any) -> list[str]:
    return captions(value) if _says(name) else []


def _is_empty(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def unpacked(value: Any) -> Any:
    """A list that stands in a cell as text; anything else as it is."""
    if isinstance(value, list | tuple):
        return [unpacked(one) for one in value]
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not (text[:1] + text[-1:] == "[]" and len(text) <= _LONGEST):
        return value
    try:
        found = parsed(text)
    except BadData:
        try:
            found = ast.literal_eval(_BETWEEN.sub(", ", text))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return value  # words in brackets
    return found if isinstance(found, list) and all(map(_is_word, found)) else value


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, str | float | Mapping)
