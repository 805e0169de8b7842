"""Reads data sets that were saved with Hugging Face's ``datasets`` (``save_to_disk``).

Each split's picture and caption columns are recognised by the names that tables use (see
`diptych.data.readers.tables`), or given. Pictures stay encoded until looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from diptych.data.base import Dataset, Pictures
from diptych.data.readers.tables import assemble, row_labels, with_captions
from diptych.data.reading import Read, common_name
from diptych.errors import BadData
from diptych.media.report import Report
from diptych.optional import optional

__all__ = ["FORM", "from_datasets", "read", "recognises"]

FORM = "a data set saved by Hugging Face's datasets (dataset_info.json or dataset_dict.json)"


def recognises(path: Path) -> bool:
    """Whether the path is a folder that ``save_to_disk`` wrote."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def read(path: Path, **columns: Any) -> Dataset:
    """The folder as a data set; see `from_datasets` for the columns.

    Raises:
        BadData: if it is damaged, or a column is missing.
        MissingExtra: ``datasets`` is not installed.
    """
    datasets = optional("datasets", "reading Hugging Face data sets", "data")
    try:
        found = datasets.load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise BadData(f"{path} cannot be loaded by datasets ({error})") from error
    return from_datasets(found, name=path.name, **columns)


def from_datasets(
    found: Any,
    *,
    name: str = "datasets",
    image: str | None = None,
    text: str | None = None,
    label: str | Sequence[str] | None = None,
) -> Dataset:
    """A ``datasets.Dataset`` or ``DatasetDict`` that is already loaded, as a data set.

    Args:
        found: The object.
        name: Any name.
        image, text, label: Columns, where they do not have one of the usual names.

    Raises:
        BadData: if a column is missing.
    """
    datasets = optional("datasets", "reading Hugging Face data sets", "data")
    by_split = dict(found) if isinstance(found, datasets.DatasetDict) else {"all": found}
    columns = {"image": image, "text": text, "label": label}
    place, report = Path(name), Report()
    content = {
        split: [
            with_captions(row, text, report, f"{split}, row {number}")
            for number, row in enumerate(_rows(part, datasets), start=1)
        ]
        for split, part in by_split.items()
    }
    classes = tuple(
        sorted({one for rows in content.values() for row in rows for one in row_labels(row, label, place)})
    )
    parts = {}
    for split, rows in content.items():
        encoded = _encoded(by_split[split], datasets, image)
        source = place if encoded is None else partial(Pictures.from_reader, encoded.read)
        parts[common_name(split)] = assemble(place, rows, source, columns=columns, class_names=classes)
    return Read(name, parts, report, class_names=classes)


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A column of pictures, not decoded; a picture's name is its row number."""

    rows: Any
    column: str

    def read(self, name: str) -> bytes:
        value = self.rows[int(name)][self.column]
        return value["bytes"] if value["bytes"] is not None else Path(value["path"]).read_bytes()


def _encoded(part: Any, datasets: Any, image: str | None) -> _Encoded | None:
    """The column of pictures, given or the first; None if there is none, and names are paths."""
    column = next(
        (
            key
            for key, kind in part.features.items()
            if isinstance(kind, datasets.Image) and image in (None, key)
        ),
        None,
    )
    if column is None:
        return None
    cast = part.cast_column(column, datasets.Image(decode=False))
    return _Encoded(cast.select_columns([column]), column)


def _rows(part: Any, datasets: Any) -> Iterator[Mapping[str, Any]]:
    """Rows with row numbers in the place of pictures, and names in the place of class numbers."""
    classes = {name: kind for name, kind in part.features.items() if isinstance(kind, datasets.ClassLabel)}
    pictures = [name for name, kind in part.features.items() if isinstance(kind, datasets.Image)]
    for number, row in enumerate(part.remove_columns(pictures) if pictures else part):
        names = {name: kind.int2str(row[name]) for name, kind in classes.items()}
        yield {**row, **names, **dict.fromkeys(pictures, str(number))}
