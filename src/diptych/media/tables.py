"""Lists that name pictures and say something of them, in whatever form: one reader for all who read them.

Files of separated cells (`diptych.media.separated`), JSON Lines and JSON (`diptych.media.structured`), each
also gzipped: a collection reads its caption lists, a data set its tables.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.errors import BadData
from diptych.media import separated, structured, textfiles
from diptych.media.cells import (
    COLUMNS,
    captions,
    cell,
    column,
    has_texts,
    is_missing,
    others,
    strings,
    texts,
)
from diptych.media.metadata import Fields, fields_of_row, united
from diptych.media.pictures import is_picture

__all__ = [
    "COLUMNS",
    "LIST_SUFFIXES",
    "CaptionList",
    "Row",
    "captions",
    "cell",
    "column",
    "describes",
    "has_texts",
    "is_list",
    "is_missing",
    "is_named_list",
    "lines",
    "may_be_list",
    "picture_folders",
    "read_list",
    "rows",
    "strings",
    "texts",
    "too_deep",
]

LIST_SUFFIXES = frozenset({".csv", ".tsv", ".txt", ".token", ".jsonl", ".ndjson", ".json"})
"""Endings (lower case) that a list of captions may have, ``.gz`` left out."""

_LIST_STEMS = frozenset({"captions", "metadata"})
_HEAD = 65536  # characters that are enough for a head


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
        captions: Of each picture that any is used of, by the path or name that the list gives it.
        skipped: Why a row was not used, by its line.
        lines: Of the rows that name a picture, by that name.
        fields: Of each picture, by that name: what the other columns say.
    """

    captions: dict[str, list[str]] = field(default_factory=dict)
    fields: dict[str, Fields] = field(default_factory=dict)
    skipped: dict[int, str] = field(default_factory=dict)
    lines: dict[str, list[int]] = field(default_factory=dict)


def may_be_list(name: str) -> bool:
    """Whether a file of that name may list captions, as far as its ending tells."""
    return _ending(name) in LIST_SUFFIXES


def is_named_list(name: str) -> bool:
    """Whether a file is called as lists of captions are, so that it is one or is damaged."""
    ending = _ending(name)
    return ending not in ("", ".txt", ".token") and _stem(name).lower() in _LIST_STEMS


def is_list(path: Path) -> bool:
    """Whether a file lists captions of the pictures around it: by its name, or else by how it begins.

    JSON with more levels than are read counts, too: whoever reads it says what is wrong with it.
    """
    if is_named_list(path.name):
        return True
    if not may_be_list(path.name) or not path.is_file():
        return False
    head = _head(path)
    ending = _ending(path.name)
    if ending in (".json", ".jsonl", ".ndjson"):
        first = head.partition("\n")[0] if ending != ".json" else head
        return structured.has_captions(first if ending == ".json" else f"[{first}") or too_deep(path)
    return separated.form(head.partition("\n")[0], _usual(path)).captions


def describes(path: Path) -> bool:
    """Whether a file is a table that names pictures and says something else of them than captions."""
    ending = _ending(path.name)
    if ending not in (".csv", ".tsv", ".jsonl", ".ndjson") or not path.is_file():
        return False
    first = _first_row(path, ending)
    picture = cell(first, "image")
    return isinstance(picture, str) and is_picture(picture.replace("\\", "/")) and len(first) > 1


def _first_row(path: Path, ending: str) -> Mapping[str, Any]:
    head, _, rest = _head(path).partition("\n")
    try:
        if ending not in (".csv", ".tsv"):
            value = textfiles.parsed(head)
            return value if isinstance(value, Mapping) else {}
        how = separated.form(head, _usual(path))
        body = [f"{rest.partition(chr(10))[0]}\n"] if how.headed else [head]
        return next(
            (dict(zip(how.names, cells, strict=False)) for _, cells in separated.records(body, how)), {}
        )
    except BadData:
        return {}


def too_deep(path: Path) -> bool:
    """Whether a file is JSON with more levels than are read, as far as its beginning tells."""
    return _ending(path.name) == ".json" and path.is_file() and structured.too_deep(_head(path))


def picture_folders(table: Path) -> tuple[str, ...]:
    """Names of folders beside a table in which its pictures may lie, likeliest first."""
    stem = _stem(table.name)
    part = stem.partition("_")[2] or stem  # captions_val2017.json: val2017
    folders = (f"{stem}_images", "images", "Images", stem, part, f"images/{part}")
    return tuple(dict.fromkeys(folders))


def read_list(path: Path) -> CaptionList:
    """The captions, each in one line, and the fields that a list gives to each picture that it names.

    Raises:
        BadData: the file cannot be read, or no row of it can be used.
    """
    found = CaptionList()
    names: dict[str, None] = {}
    for row in rows(path):
        names |= dict.fromkeys(row.values)
        picture, said = cell(row.values, "image"), texts(row.values)
        if row.problem:
            found.skipped[row.line] = row.problem
        elif not isinstance(picture, str | int):
            found.skipped[row.line] = "names no picture"
        elif not all(map(_is_text, [str(picture), *said])):
            found.skipped[row.line] = "holds half a character"
        elif not (more := fields_of_row(others(row.values))) and not said:
            found.skipped[row.line] = "has no caption"
        else:
            name = str(picture)
            found.captions.setdefault(name, []).extend(said)
            found.fields[name] = united(found.fields[name], more) if name in found.fields else more
            found.lines.setdefault(name, []).append(row.line)
    if found.captions or not found.skipped:
        return found
    if names and not (column(list(names), "image") and has_texts(names)):
        raise BadData(
            f"needs a column of pictures ({', '.join(COLUMNS['image'])}) and one of texts "
            f"({', '.join(COLUMNS['text'])}) or of anything else; it has {', '.join(names)}"
        )
    raise BadData("no row can be used; the first, line {}: {}".format(*next(iter(found.skipped.items()))))


def rows(path: Path) -> Iterator[Row]:
    """The rows of a table: separated cells, JSON Lines and JSON, each also gzipped.

    JSON holds objects, or one object that gives each picture's name its captions, or the annotations of COCO
    or Karpathy.

    Raises:
        BadData: the file is no table of that kind; the message leaves out the path.
    """
    ending = _ending(path.name)
    if ending in (".jsonl", ".ndjson"):
        yield from _json_lines(path)
    elif ending == ".json":
        yield from (
            _json_row(number, value)
            for number, value in enumerate(structured.rows(textfiles.parsed(_text(path))), start=1)
        )
    else:
        yield from _separated(path)


def lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file, gzipped or not.

    Raises:
        BadData: it cannot be read, or is not UTF-8.
    """
    return _text(path).splitlines()


def _is_text(text: str) -> bool:
    """Whether it can be stored; JSON may hold half of a character that takes two units."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _ending(name: str) -> str:
    return os.path.splitext(name.lower().removesuffix(".gz"))[1]


def _stem(name: str) -> str:
    return name.split(".")[0]


def _usual(path: Path) -> str:
    return "\t" if _ending(path.name) == ".tsv" else ","


def _head(path: Path) -> str:
    """How a file begins; empty if it cannot be read, of which reading it as what it is will tell."""
    try:
        return textfiles.beginning(path, _HEAD)
    except (OSError, BadData):
        return ""


def _text(path: Path) -> str:
    try:
        return textfiles.decoded(textfiles.content(path, most=textfiles.MAX_LIST_BYTES))
    except OSError as error:
        raise BadData(f"cannot be read ({error.strerror or error})") from error


def _separated(path: Path) -> Iterator[Row]:
    # Not `splitlines`, which also ends a line at characters that a cell may hold.
    table = _text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    how = separated.form(table[0], _usual(path))
    body = [f"{line}\n" for line in (table[1:] if how.headed else table)]
    for line, cells in separated.records(body, how):
        wrong = len(cells) != len(how.names)
        problem = f"expected {len(how.names)} columns" if wrong else ""
        yield Row(line, dict(zip(how.names, cells, strict=False)), problem)


def _json_lines(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            try:
                yield _json_row(number, textfiles.parsed(line))
            except BadData as error:
                yield Row(number, {}, str(error))


def _json_row(number: int, value: Any) -> Row:
    whole = isinstance(value, Mapping)
    return Row(number, value if whole else {}, "" if whole else "not a JSON object")
