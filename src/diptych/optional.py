"""The one place where packages that an extra brings are imported."""

from __future__ import annotations

import importlib
from typing import Any

from diptych.errors import MissingExtra

__all__ = ["optional"]


def optional(module: str, purpose: str, extra: str) -> Any:
    """The module of an optional package.

    Args:
        module: As in an import statement.
        purpose: What it is needed for, to begin the sentence of the error ("reading HDF5 files").
        extra: The extra of Diptych that brings it ("data").

    Raises:
        MissingExtra: the package is not installed.
        ImportError: it is there, but broken or without something that it needs.

    Example:
        >>> optional("json", "reading settings", "data").loads("[1, 2]")
        [1, 2]
        >>> optional("no_such_package", "reading HDF5 files", "data")
        Traceback (most recent call last):
        diptych.errors.MissingExtra: reading HDF5 files needs an optional package: pip install 'diptych[data]'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        raise MissingExtra(purpose, extra) from None
