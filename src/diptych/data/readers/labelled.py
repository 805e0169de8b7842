"""Reads the lists of the hashing codes: a line names a picture, and 0/1 columns say which classes it shows.

``train.txt``, ``test.txt`` and ``database.txt`` (``images/1.jpg 0 1 0``) are the splits. There are no texts
in them: the set has pictures and labels, for whoever brings words or features of his own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.base import Absent, Dataset, Split
from diptych.data.reading import Place, Read, split_names
from diptych.errors import BadData
from diptych.media.pictures import is_picture
from diptych.media.report import Report
from diptych.media.tables import lines

__all__ = ["FORM", "read", "recognises"]

FORM = "lists of picture names and 0/1 columns (train.txt, test.txt, database.txt)"

_HEAD = 65536  # bytes in which the first line must end
_WRONG = "is no name with as many 0/1 columns as the first"
_SEPARATOR = re.compile(r"[\s,;]+")


def recognises(path: Path) -> bool:
    """Whether the path is such a list, or a folder that holds some named after splits."""
    return bool(_lists(path)) if path.is_dir() else _is_labelled(path)


def read(path: Path) -> Dataset:
    """The lists as a data set of pictures and labels.

    Raises:
        BadData: the lists differ in their numbers of classes, or no row of one can be used.
    """
    report = Report()
    lists = _lists(path) if path.is_dir() else {"all": path}
    parts = {name: _split(file, report) for name, file in lists.items()}
    classes = {part.label.shape[1] for part in parts.values() if part.label is not None}
    if len(classes) > 1:
        raise BadData(f"the lists in {path} have different numbers of classes ({sorted(classes)})")
    return Read(path.stem, parts, report, class_names=[str(one) for one in range(classes.pop())])


def _lists(folder: Path) -> dict[str, Path]:
    files = {one.stem: one for one in sorted(folder.glob("*.txt")) if _is_labelled(one)}
    return {usual: files[name] for name, usual in split_names(files).items()}


def _is_labelled(path: Path) -> bool:
    if path.suffix.lower() not in (".txt", ".lst") or not path.is_file():
        return False
    with path.open("rb") as file:
        return _row(file.readline(_HEAD).decode("utf-8", errors="replace")) is not None


def _row(line: str) -> tuple[str, list[int]] | None:
    """A picture's name and its columns; None if the line is no such row."""
    name, *columns = _SEPARATOR.split(line.strip())
    if len(columns) < 2 or not is_picture(name.replace("\\", "/")) or not set(columns) <= {"0", "1"}:
        return None
    return name, [int(one) for one in columns]


def _split(file: Path, report: Report) -> Split:
    try:
        found = lines(file)
    except BadData as error:
        raise BadData(f"{file} {error}") from error
    rows: dict[str, list[int]] = {}
    width = 0
    for number, line in enumerate(found, start=1):
        row = _row(line) if line.strip() else ("", [])
        if row is None or (width and row[0] and len(row[1]) != width):
            report.leave(
                "rows", "is no name with as many 0/1 columns as the first", f"{file.name}, line {number}"
            )
        elif row[0]:
            width = len(row[1])
            rows[row[0]] = row[1]
    report.use(rows=len(rows), lists=1)
    place = Place(file.parent, ("images",))
    matched = place.match(rows)
    names: Sequence[str] = list(rows)
    images: Sequence[Any] = Absent(len(rows), f"the pictures of {file} are not in {file.parent}")
    if matched.found:
        place.leave(report, matched)
        names = [name for name in rows if name in matched.found]
        images = place.pictures([matched.found[name] for name in names])
    label = np.array([rows[name] for name in names], np.uint8).reshape(len(names), width)
    return Split(images, [], label, np.empty((0, 2), np.int64), image_id=names)
