"""Reads data sets that were saved with Hugging Face's ``datasets`` (``save_to_disk``).

Each split's picture and caption columns are recognised by the names that tables use (see
`diptych.data.readers.tables`), or given. Pictures stay encoded until looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych.data.base import Dataset, Loaded
from diptych.data.readers.extra import optional
from diptych.data.readers.tables import assemble, row_labels
from diptych.errors import BadData

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
    datasets = optional("datasets", "reading Hugging Face data sets")
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
    datasets = optional("datasets", "reading Hugging Face data sets")
    by_split = dict(found) if isinstance(found, datasets.DatasetDict) else {"all": found}
    columns = {"image": image, "text": text, "label": label}
    content = {split: list(_rows(part, split, datasets)) for split, part in by_split.items()}
    place = Path(name)
    classes = tuple(
        sorted({one for rows in content.values() for row in rows for one in row_labels(row, label, place)})
    )
    parts = {
        split: assemble(place, rows, place, columns=columns, class_names=classes)
        for split, rows in content.items()
    }
    return Loaded(name, parts, class_names=classes)


def _rows(part: Any, split: str, datasets: Any) -> Iterator[Mapping[str, Any]]:
    """Rows with pictures as files in memory, and class numbers as their names."""
    classes = {name: kind for name, kind in part.features.items() if isinstance(kind, datasets.ClassLabel)}
    for name, kind in part.features.items():
        if isinstance(kind, datasets.Image):
            part = part.cast_column(name, datasets.Image(decode=False))
    for number, row in enumerate(part):
        found = dict(row)
        for name, kind in classes.items():
            found[name] = kind.int2str(row[name])
        for name, value in row.items():
            if isinstance(value, Mapping) and value.get("bytes") is not None:
                # Names are not unique or not given; the row number is.
                found[name] = {"path": f"{split}/{number}", "bytes": value["bytes"]}
        yield found
