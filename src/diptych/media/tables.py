"""Rows of tables that name pictures and say something of them; the names that their columns go by.

Comma, semicolon, tab and bar separated files, JSON Lines and JSON, whoever reads them: a collection its
caption lists, a data set its tables.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.errors import BadData

__all__ = [
    "COLUMNS",
    "LIST_SUFFIXES",
    "CaptionList",
    "Row",
    "cell",
    "column",
    "is_list",
    "lines",
    "picture_folders",
    "read_list",
    "rows",
    "strings",
]

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "image": (
        "image", "image_path", "file_name", "filename", "filepath", "file", "path", "img", "image_name",
    ),
    "text": (
        "text", "captions", "caption", "sentences", "sentence", "title", "description", "comment", "txt",
    ),
    "label": ("label", "labels", "class", "category", "categories"),
    "split": ("split", "subset", "partition"),
}  # fmt: skip
"""Names under which each column is looked for, best first; case and spaces around them do not matter."""

LIST_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".json"})
"""Endings (lower case) that a list of captions may have besides ``.txt``."""

_LIST_STEMS = frozenset({"captions", "metadata"})
_TEXT_LIST = "captions.txt"  # a table if its head says so, as Flickr8k is passed on; else loose texts
_DELIMITERS = ",;\t|"
_HEAD = 4096  # bytes that are enough for a head


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table.

    Args:
        line: The line that it ends in, from 1; of JSON, its number.
        values: By column.
        problem: Why it cannot be used; empty if nothing speaks against it.
    """

    line: int
    values: Mapping[str, Any]
    problem: str = ""


@dataclass(slots=True)
class CaptionList:
    """What a list says.

    Args:
        captions: Of each picture, by the path or name that the list gives it.
        skipped: Why a row was not used, by its line.
    """

    captions: dict[str, list[str]] = field(default_factory=dict)
    skipped: dict[int, str] = field(default_factory=dict)


def is_list(path: Path) -> bool:
    """Whether a file lists captions of the pictures around it: by its name, and a ``.txt`` by its head."""
    name = path.name.lower()
    stem, dot, ending = name.rpartition(".")
    if name != _TEXT_LIST or not path.is_file():
        return stem in _LIST_STEMS and dot + ending in LIST_SUFFIXES
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD).decode("utf-8-sig", errors="replace").partition("\n")[0]
    except OSError:
        return False  # reading it as what its ending says will tell why
    names = next(csv.reader([head], delimiter=_delimiter(head, path)), [])
    return bool(column(names, "image") and column(names, "text"))


def picture_folders(table: Path) -> tuple[str, ...]:
    """Names of folders beside a table in which its pictures may lie, likeliest first."""
    stem = table.name.split(".")[0]
    return f"{stem}_images", "images", "Images", stem


def read_list(path: Path) -> CaptionList:
    """The captions, each in one line, that a list gives to each picture that it names.

    Raises:
        BadData: the file cannot be read, or no row of it can be used.
    """
    found = CaptionList()
    names: dict[str, None] = {}
    for row in rows(path):
        names |= dict.fromkeys(row.values)
        picture, captions = cell(row.values, "image"), strings(cell(row.values, "text"))
        if row.problem:
            found.skipped[row.line] = row.problem
        elif not isinstance(picture, str | int):
            found.skipped[row.line] = "names no picture"
        elif not captions:
            found.skipped[row.line] = "has no caption"
        elif not all(map(_is_text, captions)):
            found.skipped[row.line] = "holds half a character"
        else:
            known = found.captions.setdefault(str(picture), [])
            known += [" ".join(caption.split()) for caption in captions]
    if found.captions or not found.skipped:
        return found
    if names and not (column(list(names), "image") and column(list(names), "text")):
        raise BadData(
            f"needs a column of pictures ({', '.join(COLUMNS['image'])}) and one of texts "
            f"({', '.join(COLUMNS['text'])}); it has {', '.join(names)}"
        )
    raise BadData("no row can be used; the first, line {}: {}".format(*next(iter(found.skipped.items()))))


def rows(path: Path) -> Iterator[Row]:
    """The rows of a table: CSV, TSV and TXT, JSON Lines, each also gzipped, and JSON.

    JSON holds objects, or one object that gives each picture's name its captions.

    Raises:
        BadData: the file is no table of that kind; the message leaves out the path.
    """
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".jsonl", ".ndjson")):
        yield from _json_lines(path)
    elif name.endswith(".json"):
        yield from _json(path)
    else:
        yield from _separated(path)


def lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file, gzipped or not.

    Raises:
        BadData: it cannot be read, or is not UTF-8.
    """
    return _text(path).splitlines()


def column(names: Sequence[str], role: str) -> str:
    """Which of the columns plays a role of `COLUMNS`; "" if none does."""
    by_name = {name.strip().lower(): name for name in reversed(names)}
    return next((by_name[known] for known in COLUMNS[role] if known in by_name), "")


def cell(values: Mapping[str, Any], role: str) -> Any:
    """What a row holds for a role, in the best of the columns that hold anything; None if none does."""
    return values.get(column([name for name, value in values.items() if not _is_missing(value)], role))


def strings(value: Any) -> list[str]:
    """The texts of a cell: one, a list of them, or sentences as objects; none for a missing value."""
    if _is_missing(value):
        return []
    if isinstance(value, Mapping):  # Karpathy's sentences
        value = value.get("raw", value.get("caption", ""))
    if isinstance(value, str | int | float):
        return [] if _is_missing(value) else [str(value)]
    return [one for part in value for one in strings(part)]


def _is_missing(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def _is_text(text: str) -> bool:
    """Whether it can be stored; JSON may hold half of a character that takes two units."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".gz":
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadData(f"cannot be read as text ({error.reason} at byte {error.start})") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadData(f"cannot be read as text ({error})") from error
    except OSError as error:
        raise BadData(f"cannot be read ({error.strerror or error})") from error


def _separated(path: Path) -> Iterator[Row]:
    text = _text(path)
    head = text.partition("\n")[0]
    delimiter = _delimiter(head, path)
    # Whoever writes a space after each delimiter writes it before a quote as well.
    spaced = any(name.startswith(" ") for name in head.split(delimiter)[1:])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=spaced)
    try:
        names = [name.strip() for name in next(reader, [])]
        for cells in reader:
            if cells:
                wrong = len(cells) != len(names)
                problem = f"expected {len(names)} columns" if wrong else ""
                yield Row(reader.line_num, dict(zip(names, cells, strict=False)), problem)
    except csv.Error as error:
        raise BadData(f"not a table (line {reader.line_num}: {error})") from error


def _delimiter(head: str, path: Path) -> str:
    """The one by which most columns of the head have known names; else that makes the most columns."""
    usual = "\t" if path.name.lower().removesuffix(".gz").endswith(".tsv") else ","
    known = {name for names in COLUMNS.values() for name in names}

    def fits(delimiter: str) -> tuple[int, int, bool]:
        names = [name.strip(' "\r').lower() for name in head.split(delimiter)]
        return len(known.intersection(names)), len(names), delimiter == usual

    return max(_DELIMITERS, key=fits)


def _json_lines(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            try:
                yield _json_row(number, _parsed(line))
            except BadData as error:
                yield Row(number, {}, str(error))


def _json(path: Path) -> Iterator[Row]:
    content = _parsed(_text(path))
    if isinstance(content, Mapping):  # {"a.jpg": "caption" or ["caption", ...]}
        content = [{"image": name, "captions": captions} for name, captions in content.items()]
    if not isinstance(content, list):
        raise BadData("not a table of captions: neither a list nor an object")
    yield from (_json_row(number, value) for number, value in enumerate(content, start=1))


def _json_row(number: int, value: Any) -> Row:
    whole = isinstance(value, Mapping)
    return Row(number, value if whole else {}, "" if whole else "not a JSON object")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadData(f"not JSON ({error.msg})") from error
    except RecursionError:
        raise BadData("not JSON that can be read: it is too deep") from None
