"""Reads tables of pictures and captions: CSV, TSV, JSON Lines, JSON lists, Flickr's tokens and Parquet.

A row names a picture and gives one caption or a list of them; rows of the same picture are joined. Columns
are recognised by their usual names (`diptych.media.tables.COLUMNS`) or given by the caller. Pictures lie
beside the table, in a folder or ZIP beside it, or inside a Parquet file; a name finds its picture as in a
collection (`diptych.media.names`). A row that cannot be used is left out and counted in the report. A folder
may hold a table for each split, also in shards called ``train-00000-of-00002.parquet``, there or in its
folder ``data``, as hubs keep them; other lists in one folder are one table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych.data.base import Absent, Dataset, Pictures, Split, captioned
from diptych.data.pictures import pictures_in
from diptych.data.reading import Place, Read, common_name, split_names
from diptych.errors import BadData, MissingData
from diptych.media import tables as media
from diptych.media.names import written
from diptych.media.pictures import is_picture
from diptych.media.report import Report
from diptych.optional import optional

__all__ = ["FORM", "assemble", "lines", "place_of", "read", "recognises", "rows", "with_captions"]

FORM = (
    "a table (.csv, .tsv, .jsonl, .json, .parquet, captions.txt, Flickr's .token; also .gz) with a column of "
    "picture names and one of captions"
)

_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".jsonl.gz", ".csv.gz", ".tsv.gz", ".parquet")
_SHARD = re.compile(r"-(\d+)-of-(\d+)$")


def recognises(path: Path) -> bool:
    """Whether the path is a table, or a folder that has tables named after splits or a single table."""
    if path.is_dir():
        # One that nobody can read says nothing of what the folder holds.
        return any(not media.too_deep(one) for shards in _tables(path).values() for one in shards)
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
        BadData: naming the column, row or picture that is missing; some rows and pictures may be.
        MissingExtra: Parquet is not installed.
    """
    report = Report()
    tables = _tables(path, report) if path.is_dir() else {"all": [path]}
    if not tables:
        raise BadData(f"{path} holds no table; known endings: {', '.join(_ENDINGS)}")
    named = {"image": image, "text": text, "label": label, "split": split}
    content: dict[str, tuple[Path, Sequence[Mapping[str, Any]]]] = {
        common_name(name): (shards[0], _rows_of(shards, named, report)) for name, shards in tables.items()
    }
    for table, some in content.values():
        _check_says_something(table, some, named)
    if len(content) == 1:
        table, only = next(iter(content.values()))
        column = _column(only, "split", named["split"], table, needed=split is not None)
        if column:
            by_split: dict[str, list[Mapping[str, Any]]] = {}
            for row in only:
                by_split.setdefault(common_name(str(row[column])), []).append(row)
            content = {name: (table, part) for name, part in by_split.items()}
    classes = _class_names(content, named["label"])
    parts = {
        name: _found(table, part, pictures, named, classes, report) for name, (table, part) in content.items()
    }
    return Read(path.name.split(".")[0], parts, report, class_names=classes)


def _rows_of(tables: Sequence[Path], columns: Mapping[str, Any], report: Report) -> list[dict[str, Any]]:
    """The rows of the tables of a split; one that cannot be read costs no other.

    Raises:
        BadData: none of them can be read, or one of the shards that are a table only together.
    """
    found: list[dict[str, Any]] = []
    wrong: BadData | None = None
    for table in tables:
        try:
            found += _usable(table, columns, report)
        except BadData as error:
            if _SHARD.search(_stem(table)):
                raise
            wrong = wrong or error
            report.leave("files", str(error).removeprefix(f"{table}").lstrip(", "), str(table))
    if wrong is not None and not found:
        raise wrong
    return found


def _usable(table: Path, columns: Mapping[str, Any], report: Report) -> list[dict[str, Any]]:
    """The rows of a table that name a picture, with their captions as a list of single lines.

    Raises:
        BadData: no row can be used, or the column of pictures is missing.
    """
    found: list[dict[str, Any]] = []
    first = ""
    image, text = columns["image"], columns["text"]
    for row in _read(table):
        values = dict(row.values)
        name = _column([values], "image", image, table, needed=not row.problem)
        problem = row.problem
        if not problem and media.is_missing(values.get(name)):
            problem = f"no picture in column {name!r}"
        if problem:
            first = first or f"line {row.line}: {problem}"
            report.leave("rows", problem, f"{table.name}, line {row.line}")
            continue
        found.append(with_captions(values, text, report, f"{table.name}, line {row.line}"))
    report.use(lists=1)
    if first and not found:
        raise BadData(f"{table}, {first}; no other row can be used either")
    return found


def with_captions(values: Mapping[str, Any], text: str | None, report: Report, place: str) -> dict[str, Any]:
    """A row with its captions in the one column that is read, whichever they are in, each in one line.

    Args:
        values: The row.
        text: The column of captions, where it has none of the usual names.
        report: Counts the row, and that it has none.
        place: Where the row is, for the report.
    """
    report.use(rows=1)
    if not (text or media.has_texts(values)):
        return dict(values)
    said = media.texts(values, text or "")
    if not said:
        report.leave("captions", "the row has none", place)
    others = {name: value for name, value in values.items() if not media.has_texts([name])}
    return {**(values if text else others), text or media.COLUMNS["text"][0]: said}


def _read(table: Path) -> Iterator[media.Row]:
    if table.name.lower().endswith(".parquet"):
        yield from (media.Row(number, row) for number, row in enumerate(_parquet(table), start=1))
        return
    try:
        yield from media.rows(table)
    except BadData as error:
        raise BadData(f"{table}, {error}") from error


def _check_says_something(
    table: Path, content: Sequence[Mapping[str, Any]], columns: Mapping[str, Any]
) -> None:
    """Refuse a table of which no column is known to say anything of the pictures."""
    have = list(content[0]) if content else []
    if not content:
        _column(content, "image", columns["image"], table)
    if not (columns["text"] or columns["label"] or media.has_texts(have) or media.column(have, "label")):
        raise BadData(
            f"{table} has no column of captions; it has {', '.join(have)}, and one of "
            f"{', '.join(media.COLUMNS['text'])} is looked for"
        )


def _found(
    table: Path,
    content: Sequence[Mapping[str, Any]],
    pictures: Path | None,
    columns: Mapping[str, Any],
    classes: Sequence[str],
    report: Report,
) -> Split:
    """One split of the rows whose pictures are there.

    Raises:
        BadData: none of them is.
    """
    column = _column(content, "image", columns["image"], table)
    if any(isinstance(row[column], bytes | Mapping) for row in content):
        return assemble(table, content, table.parent, columns=columns, class_names=classes)
    names = list(dict.fromkeys(str(row[column]) for row in content))
    place = _place(table, pictures)
    if not place.root.exists():
        return assemble(table, content, place.root, columns=columns, class_names=classes)
    matched = place.match(names)
    if names and not matched.found:
        name, reason = next(iter(matched.lost.items()))
        raise BadData(
            f"{place.root} lacks {len(names)} of {len(names)} pictures, the first {name!r} ({reason})"
        )
    place.leave(report, matched)
    known: dict[str, str] = {}  # a picture goes by its first name
    for name, path in matched.found.items():
        known.setdefault(path, name if path.endswith(written(name)) else path)
    paths = {name: path for path, name in known.items()}
    here = [
        {**row, column: known[matched.found[str(row[column])]]}
        for row in content
        if str(row[column]) in matched.found
    ]
    return assemble(
        table,
        here,
        lambda some: place.pictures([paths[name] for name in some]),
        columns=columns,
        class_names=classes,
    )


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
    found: list[dict[str, Any]] = []
    for row in _read(path):
        if row.problem:
            raise BadData(f"{path}, line {row.line}: {row.problem}")
        found.append(dict(row.values))
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
    options = (*_archives(table), *media.picture_folders(table))
    return next((table.parent / name for name in options if (table.parent / name).exists()), table.parent)


def _archives(table: Path) -> tuple[str, ...]:
    stem = table.name.split(".")[0]
    return f"{stem}_images.zip", f"{stem}.zip", "images.zip", f"{stem}.tar"


def _place(table: Path, pictures: Path | None) -> Place:
    """Where the pictures of a table are looked for: in an archive beside it, else in its folder and below."""
    folders = media.picture_folders(table)
    if pictures is not None:
        return Place(pictures, folders)
    archives = (table.parent / name for name in _archives(table))
    return Place(next((one for one in archives if one.is_file()), table.parent), folders)


def _class_names(
    content: Mapping[str, tuple[Path, Sequence[Mapping[str, Any]]]], columns: str | Sequence[str] | None
) -> tuple[str, ...]:
    found = {
        one for table, part in content.values() for row in part for one in row_labels(row, columns, table)
    }
    return tuple(sorted(found, key=lambda name: (0, int(name), "") if name.isdigit() else (1, 0, name)))


def _tables(folder: Path, report: Report | None = None) -> dict[str, list[Path]]:
    """The tables of a folder by split, each in one or more shards.

    Tables that are not named after splits are one, "all": a single table, or all lists of captions.

    Args:
        folder: The folder.
        report: Told of the tables that belong to none.
    """
    files = sorted(one for one in folder.iterdir() if one.is_file() and not one.name.startswith("."))
    pictures = {one.stem for one in files if is_picture(one.name)}
    found: dict[str, list[Path]] = {}
    loose: list[Path] = []
    for path in files:
        if path.stem not in pictures and _is_table(path) and not _SHARD.search(_stem(path)):
            found.setdefault(_stem(path), []).append(path)
            loose.append(path)
    for home in (folder, folder / "data"):
        for path in sorted(home.iterdir()) if home.is_dir() else ():
            if _is_table(path) and (shard := _SHARD.search(_stem(path))):
                found.setdefault(_stem(path)[: shard.start()], []).append(path)
    chosen = {name: found[name] for name in split_names(found)}
    if not chosen and len(found) == 1:
        chosen = {"all": next(iter(found.values()))}
    if not chosen and (lists := [one for one in loose if _lists_captions(one)]):
        chosen = {"all": lists}
    for shards in chosen.values():
        _whole(shards)
    used = {path for shards in chosen.values() for path in shards}
    if report is not None:
        others = [one.name for one in loose if one not in used]
        report.leave("files", "is a table beside those that are used", *others)
    return chosen


def _is_table(path: Path) -> bool:
    return path.name.lower().endswith(_ENDINGS) or media.is_list(path)


def _lists_captions(path: Path) -> bool:
    return path.name.lower().endswith(".parquet") or media.is_list(path)


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
