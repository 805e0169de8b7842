"""Tables whose cells are separated by commas, semicolons, tabs, bars or spaces, as they come.

The separator is told from the head. A file without a head whose lines begin with the name of a picture, such
as Flickr's ``NAME#0``, a tab or a space and a caption, has the columns "image" and "text".
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from diptych.media.cells import COLUMNS, column, has_texts
from diptych.media.pictures import is_picture

__all__ = ["Form", "form", "records"]

_DELIMITERS = ",;\t|"
_MARKS = _DELIMITERS + " "
_KNOWN = frozenset(name for names in COLUMNS.values() for name in names)
_MOST_LINES = 50  # that one quoted cell may have; bounds what a quote that is never closed can cost
_TOKEN = re.compile(r"(.+\.\w{2,5})#[\w#]*")  # NAME#0, or with the language: NAME#zhm#0
_APART = re.compile(r"\t| {2,}")


@dataclass(frozen=True, slots=True)
class Form:
    """How a table is written.

    Args:
        delimiter: Between cells; "" for the spaces of columns that stand below each other.
        names: Of the columns.
        headed: Whether the first line holds them.
        spaced: Whether a space follows each delimiter.
    """

    delimiter: str
    names: tuple[str, ...]
    headed: bool
    spaced: bool

    @property
    def captions(self) -> bool:
        """Whether it has a column of pictures and one of captions."""
        return bool(column(self.names, "image")) and has_texts(self.names)


def form(head: str, usual: str = ",") -> Form:
    """How a table with that first line is written.

    Args:
        head: The line.
        usual: The delimiter where others are as likely.
    """
    head = head.rstrip("\r\n")
    if not any(mark in head for mark in _MARKS):
        return Form(usual, (head.strip(),), True, False)

    def fits(delimiter: str) -> tuple[int, int, bool]:
        names = [name.lower() for name in _names(head, delimiter)]
        return len(_KNOWN.intersection(names)), len(names), delimiter == usual

    delimiter = max(_DELIMITERS, key=fits)
    spaced = any(name.startswith(" ") for name in head.split(delimiter)[1:])
    if fits(delimiter)[0] < 2 and (unheaded := _unheaded(head)) is not None:
        return unheaded
    apart = Form("", tuple(_APART.split(head.strip()) if _APART.search(head) else head.split()), True, False)
    if fits(delimiter)[0] < 2 and apart.captions and all(name.lower() in _KNOWN for name in apart.names):
        return apart
    # Whoever writes a space after each delimiter writes it before a quote as well.
    return Form(delimiter, tuple(_names(head, delimiter)), True, spaced)


def records(lines: Sequence[str], how: Form) -> Iterator[tuple[int, list[str]]]:
    """The cells of each record, with the number, from 1, of the line that it ends in; empty lines left out.

    Args:
        lines: Of the table without its head, each with its end.
        how: From `form`.
    """
    first = 2 if how.headed else 1
    image = how.names.index(found) if (found := column(how.names, "image")) else 0
    at = 0
    while at < len(lines):
        cells, taken = _record(lines, at, how, image)
        at += taken
        if any(cells):
            yield at + first - 1, cells


def _record(lines: Sequence[str], at: int, how: Form, image: int) -> tuple[list[str], int]:
    line = lines[at].rstrip("\r\n")
    if not line.strip():
        return [], 1
    if not how.delimiter:
        return _by_spaces(line, len(how.names)), 1
    if not how.headed:
        return _unheaded_cells(line, how.delimiter), 1
    if '"' in line:
        reader = csv.reader(
            lines[at : at + _MOST_LINES], delimiter=how.delimiter, strict=True, skipinitialspace=how.spaced
        )
        try:
            cells = next(reader)
        except csv.Error:
            pass  # these quotes are part of what is said
        else:
            if not _swallowed(cells, lines[at + 1 : at + reader.line_num], how, image):
                return cells, reader.line_num
    return [cell.lstrip() if how.spaced else cell for cell in line.split(how.delimiter)], 1


def _swallowed(cells: Sequence[str], more: Sequence[str], how: Form, image: int) -> bool:
    """Whether a quote that was never meant to open a cell has taken in the rows that follow."""
    if not more:
        return False
    if how.delimiter != "," and any(how.delimiter in cell and "\n" in cell for cell in cells):
        return True
    rows = (line.split(how.delimiter) for line in more)
    return any(len(row) > image and is_picture(row[image].strip(' "\r\n')) for row in rows)


def _names(head: str, delimiter: str) -> list[str]:
    try:
        names = next(csv.reader([head], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:  # a name of more than 131,072 characters, which is no name
        names = head.split(delimiter)
    return [name.strip() for name in names]


def _by_spaces(line: str, columns: int) -> list[str]:
    """Cells of a line whose columns stand below each other; the last may hold single spaces."""
    apart = _APART.split(line.strip(), maxsplit=columns - 1)
    return [cell.strip() for cell in (apart if len(apart) == columns else line.split(None, columns - 1))]


def _unheaded(line: str) -> Form | None:
    """The form of a table that begins with a picture and its caption; None if it does not."""
    for delimiter in "\t,;| ":
        if delimiter == " " and not _TOKEN.fullmatch(line.partition(" ")[0]):
            continue  # a name and words: a sentence may begin like that
        cells = _unheaded_cells(line, delimiter)
        if len(cells) == 2 and _is_named(cells[0]) and not _is_numbers(cells[1]):
            return Form(delimiter, ("image", "text"), False, False)
    return None


def _unheaded_cells(line: str, delimiter: str) -> list[str]:
    name, found, caption = line.partition(delimiter)
    token = _TOKEN.fullmatch(name.strip())
    cells = [token[1] if token else name.strip(), caption.strip()] if found else [line.strip()]
    if len(cells) == 2 and len(cells[1]) > 1 and cells[1][0] == cells[1][-1] == '"':
        cells[1] = cells[1][1:-1].replace('""', '"')
    return cells


def _is_named(name: str) -> bool:
    return " " not in name.strip() and is_picture(name.replace("\\", "/"))


def _is_numbers(text: str) -> bool:
    """Whether a cell holds classes rather than words."""
    return all(re.fullmatch(r"[-+.\d]*", word) is not None for word in re.split(r"[\s,;|]+", text))
