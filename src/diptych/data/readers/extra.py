"""The one place where optional packages are imported."""

from __future__ import annotations

import importlib
from typing import Any

from diptych.errors import MissingExtra

__all__ = ["optional"]


def optional(module: str, purpose: str) -> Any:
    """The module of an optional package.

    Args:
        module: As in an import statement.
        purpose: What it is needed for, to begin the sentence of the error.

    Raises:
        MissingExtra: if the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise  # the package is there, but something that it needs is not
        raise MissingExtra(purpose, "data") from None
