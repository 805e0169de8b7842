"""Reads tables of pictures and captions: CSV, TSV, JSON Lines (also gzipped) and Parquet.

A row names a picture and gives one caption or a list of them; rows of the same picture are joined. Columns
are recognised by their usual names (`diptych.media.tables.COLUMNS`) or given by the caller. Pictures lie
beside the table, in a folder or ZIP beside it, or inside a Parquet file. A folder may hold a table for each
split, also in shards called ``train-00000-of-00002.parquet``, there or in its folder ``data``, as hubs keep
them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych.data.base import Absent, Dataset, Loaded, Pictures, Split, captioned
from diptych.data.pictures import pictures_in
from diptych.errors import BadData, MissingData
from diptych.media import tables as media
from diptych.optional import optional

__all__ = ["FORM", "assemble", "lines", "place_of", "read", "recognises", "rows"]

FORM = (
    "a table (.csv, .tsv, .jsonl, .jsonl.gz, .parquet, captions.txt) with a column of picture names and "
    "one of captions"
)

_NAMES = ("captions.txt",)  # a CSV all the same, in the form in which Flickr8k is passed on
_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".jsonl.gz", ".csv.gz", ".parquet")
_SHARD = re.compile(r"-(\d+)-of-(\d+)$")
_SPLITS = ("train", "val", "valid", "validation", "dev", "test", "query", "database")


def recognises(path: Path) -> bool:
    """Whether the path is a table, or a folder that has tables named after splits or a single table."""
    if path.is_dir():
        return bool(_tables(path))
    return _is_table(path)


def read(
    path: Path,
    *,
    image: str | None = None,
    text: str | None = None,
    label: str | Sequence[str] | None = None,
    split: str | None = None,
    pictures: Path | None = None,
) -> Dataset:
    """The table, or the tables of a folder (each a split), as a data set.

    Args:
        path: The file or folder.
        image, text, label, split: Names of columns, where they are not among `COLUMNS`. Several label columns
            make a multi-label set.
        pictures: Folder or archive of the pictures, if they are not beside the table.

    Raises:
        BadData: naming the column, row or picture that is missing.
        MissingExtra: Parquet is not installed.
    """
    tables = _tables(path) if path.is_dir() else {"all": [path]}
    if not tables:
        raise BadData(f"{path} holds no table; known endings: {', '.join(_ENDINGS)}")
    named = {"image": image, "text": text, "label": label, "split": split}
    content = {
        name: (shards[0], [row for shard in shards for row in rows(shard)]) for name, shards in tables.items()
    }
    if len(content) == 1:
        table, only = next(iter(content.values()))
        column = _column(only, "split", named["split"], table, needed=split is not None)
        if column:
            by_split: dict[str, list[dict[str, Any]]] = {}
            for row in only:
                by_split.setdefault(str(row[column]), []).append(row)
            content = {name: (table, part) for name, part in by_split.items()}
    classes = _class_names(content, named["label"])
    parts = {
        name: assemble(table, part, pictures or place_of(table), columns=named, class_names=classes)
        for name, (table, part) in content.items()
    }
    return Loaded(path.name.split(".")[0], parts, class_names=classes)


def rows(path: Path, *fields: str) -> list[dict[str, Any]]:
    """Every row of a table, by column name.

    Args:
        path: The table.
        fields: Columns that every row must have.

    Raises:
        MissingData: the file is not there.
        BadData: it is damaged, or a field is missing; the message gives line or row.
    """
    if not path.is_file():
        raise MissingData(f"{path} is not there")
    found = _rows(path)
    for number, row in enumerate(found, start=1):
        lost = [name for name in fields if name not in row]
        if lost:
            raise BadData(f"{path}, row {number}: the field {lost[0]!r} is missing")
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.name.lower().endswith(".parquet"):
        return _parquet(path)
    found: list[dict[str, Any]] = []
    try:
        for row in media.rows(path):
            if row.problem:
                raise BadData(f"line {row.line}: {row.problem}")
            found.append(dict(row.values))
    except BadData as error:
        raise BadData(f"{path}, {error}") from error
    return found


def lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file, gzipped or not.

    Raises:
        BadData: if it is not UTF-8, or the gzip is cut short.
    """
    try:
        return media.lines(path)
    except BadData as error:
        raise BadData(f"{path} {error}") from error


def assemble(
    table: Path,
    content: Sequence[Mapping[str, Any]],
    place: Path | Callable[[list[str]], Sequence[Any]],
    *,
    columns: Mapping[str, Any] | None = None,
    class_names: Sequence[str] = (),
) -> Split:
    """One split of the rows of a table; rows that name the same picture are joined.

    Args:
        table: Where the rows are from, for messages.
        content: The rows.
        place: Folder or archive of the pictures, or a function that gives them by name.
        columns: Column of "image", "text" and "label", where they are not among `COLUMNS`.
        class_names: All labels, in the order of the label columns; empty to leave labels out.
    """
    columns = columns or {}
    image = _column(content, "image", columns.get("image"), table)
    text = _column(content, "text", columns.get("text"), table, needed=columns.get("text") is not None)
    captions: dict[str, list[str]] = {}
    labels: dict[str, list[str]] = {}
    data: dict[str, bytes] = {}
    for number, row in enumerate(content, start=1):
        name, inline = _picture(row.get(image), number)
        if not name:
            raise BadData(f"{table}, row {number}: no picture in column {image!r}")
        if inline is not None:
            data[name] = inline
        captions.setdefault(name, []).extend(media.strings(row.get(text)) if text else ())
        if class_names:
            known = labels.setdefault(name, [])
            known.extend(one for one in row_labels(row, columns.get("label"), table) if one not in known)
    found = list(captions)
    pictures: Sequence[Any]
    if data:
        if len(data) < len(found):
            raise BadData(f"{table} holds the bytes of only {len(data)} of {len(found)} pictures")
        pictures = Pictures.from_bytes(data)
    elif not isinstance(place, Path):
        pictures = place(found)
    elif place.exists():
        pictures = pictures_in(place, found)
    else:
        pictures = Absent(len(found), f"the pictures of {table} are not there: {place} does not exist")
    return captioned(
        pictures,
        list(captions.values()),
        labels=list(labels.values()) if class_names else None,
        class_names=class_names,
        image_id=found,
    )


def row_labels(row: Mapping[str, Any], columns: str | Sequence[str] | None, table: Path) -> list[str]:
    """The labels of a row; those of several columns are written ``column=value``, empty ones left out."""
    if columns is None or isinstance(columns, str):
        column = _column([row], "label", columns, table, needed=columns is not None)
        return media.strings(row[column]) if column else []
    for column in columns:
        _column([row], "label", column, table)
    return [f"{column}={value}" for column in columns for value in media.strings(row[column])]


def place_of(table: Path) -> Path:
    """Where the pictures of table X are: ``X_images.zip``, ``images.zip``, ``images/`` or beside it, ..."""
    stem = table.name.split(".")[0]
    options = (
        f"{stem}_images.zip",
        f"{stem}.zip",
        "images.zip",
        f"{stem}.tar",
        *media.picture_folders(table),
    )
    return next((table.parent / name for name in options if (table.parent / name).exists()), table.parent)


def _class_names(
    content: Mapping[str, tuple[Path, Sequence[Mapping[str, Any]]]], columns: str | Sequence[str] | None
) -> tuple[str, ...]:
    found = {
        one for table, part in content.values() for row in part for one in row_labels(row, columns, table)
    }
    return tuple(sorted(found, key=lambda name: (0, int(name), "") if name.isdigit() else (1, 0, name)))


def _tables(folder: Path) -> dict[str, list[Path]]:
    """The tables of a folder by split, each in one or more shards; a single table may have any name."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and _is_table(path) and not _SHARD.search(_stem(path)):
            found[_stem(path)] = [path]
    for home in (folder, folder / "data"):
        for path in sorted(home.iterdir()) if home.is_dir() else ():
            if _is_table(path) and (shard := _SHARD.search(_stem(path))):
                found.setdefault(_stem(path)[: shard.start()], []).append(path)
    named = {name: shards for name, shards in found.items() if name.lower() in _SPLITS}
    ordered = sorted(named, key=lambda name: _SPLITS.index(name.lower()))
    chosen = {name: named[name] for name in ordered} or (
        {"all": next(iter(found.values()))} if len(found) == 1 else {}
    )
    for shards in chosen.values():
        _whole(shards)
    return chosen


def _is_table(path: Path) -> bool:
    return path.name.lower().endswith(_ENDINGS) or path.name.lower() in _NAMES


def _stem(table: Path) -> str:
    return table.name.split(".")[0]


def _whole(shards: Sequence[Path]) -> None:
    """Refuse shards of which some are missing, by their own count."""
    numbers = [(int(one[1]), int(one[2])) for one in map(_SHARD.search, map(_stem, shards)) if one]
    lost = sorted(set(range(max((count for _, count in numbers), default=0))) - {at for at, _ in numbers})
    if lost:
        raise BadData(
            f"{shards[0].parent} lacks shard {lost[0]} of {numbers[0][1]} that belong to {shards[0].name}"
        )


def _column(
    content: Sequence[Mapping[str, Any]],
    role: str,
    given: str | Sequence[str] | None,
    table: Path,
    needed: bool = True,
) -> str:
    """The column that plays a role; "" if there is none and none is needed."""
    have = list(content[0]) if content else []
    if isinstance(given, str):
        if given not in have:
            raise BadData(f"{table} has no column {given!r}; it has {', '.join(have)}")
        return given
    found = media.column(have, role)
    if not found and needed and role != "label":
        raise BadData(
            f"{table} has no column for the {role}; it has {', '.join(have) or 'no rows'}, "
            f"and one of {', '.join(media.COLUMNS[role])} is looked for"
        )
    return found


def _picture(value: Any, number: int) -> tuple[str, bytes | None]:
    """Name and, if the table holds it, content of a picture."""
    if isinstance(value, Mapping):
        return str(value.get("path") or f"row {number}"), value.get("bytes")
    if isinstance(value, bytes):
        return f"row {number}", value
    return str(value or ""), None


def _parquet(path: Path) -> list[dict[str, Any]]:
    parquet = optional("pyarrow.parquet", "reading Parquet files", "data")
    try:
        found: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        raise BadData(f"{path} cannot be read as Parquet ({error})") from error
    return found
