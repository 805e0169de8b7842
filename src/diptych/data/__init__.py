"""Data sets: known ones by name, and readers for the forms in which people keep their own."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from diptych import catalogue
from diptych.errors import BadData, MissingData, UnknownName, UsageError
from diptych.printable import type_of

if TYPE_CHECKING:
    from diptych.data.base import Dataset

__all__ = ["names", "open_data"]

# In this order: what a reader recognises for certain comes before what it may only seem to be.
_READERS = (
    "readers.hugging_face",
    "readers.clip_retrieval",
    "readers.shards",
    "readers.karpathy",
    "readers.coco",
    "readers.folder",
    "readers.precomputed",
    "readers.labelled",
    "readers.tables",
    "readers.arrays",
    "readers.lists",
)


def names() -> list[str]:
    """Name of every data set that Diptych knows, sorted."""
    return catalogue.names("dataset")


def open_data(name_or_path: str | Path, root: str | Path | None = None) -> Dataset:
    """The data set of that name, or whatever a path holds.

    Args:
        name_or_path: ``NAME`` or ``NAME:VARIANT`` (dashes and underscores are the same), or a file or
            folder in any form that a reader recognises; several joined by "+" are one, see
            `diptych.data.joined`.
        root: Where the files of a named set are; default: where ``diptych data prepare`` recorded them.

    Raises:
        UsageError: what is neither a name nor a path.
        UnknownName: neither the name of a set or variant, nor a path.
        MissingData: there is no such path.
        BadData: no reader recognises what the path holds.

    Example:
        >>> open_data("planted:syn").split("query")
        <Split: 200 images, 200 texts, 200 pairs, 24 classes>
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise UsageError(
            f"data are opened by their name or path, such as 'flickr8k' or Path('photos'), not by "
            f"{type_of(name_or_path)}"
        )
    name, colon, variant = str(name_or_path).partition(":")
    key = name.replace("-", "_").lower()
    if key in names() and not isinstance(name_or_path, Path):
        kind = catalogue.named_by(catalogue.card("dataset", key))
        opened: Dataset = kind.open(root, variant if colon else None)
        return opened
    path = Path(name_or_path).expanduser()
    if (
        not path.exists()
        and isinstance(name_or_path, str)
        and all(parts := name_or_path.split("+"))
        and parts[1:]
    ):
        from diptych.data.joined import Joined

        return Joined([open_data(part, root) for part in parts])
    if not path.exists():
        if isinstance(name_or_path, str) and not any(mark in name_or_path for mark in "/\\."):
            raise UnknownName("data set or path", name_or_path, names())
        raise MissingData(f"{path} does not exist; give a file or folder, or one of {', '.join(names())}")
    readers = [importlib.import_module(f"diptych.data.{reader}") for reader in _READERS]
    for reader in readers:
        if reader.recognises(path):
            found: Dataset = reader.read(path)
            return found
    forms = "; ".join(reader.FORM for reader in readers)
    raise BadData(f"{path} holds nothing that can be read as a data set. What can be read: {forms}")
