"""Every home that a collection can live in, opened alike."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diptych.engine.collection import Collection, open_collection

_numbers = itertools.count()

Opening = Callable[..., Collection]


@pytest.fixture(params=["folder", "postgresql", "milvus"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which home."""
    return str(request.param)


@pytest.fixture
def where(kind: str, photos: Path, request: pytest.FixtureRequest) -> str:
    """A place of that kind in which there is no collection yet."""
    if kind == "folder":
        return str(photos)
    name = f"every{next(_numbers)}"
    if kind == "milvus":
        return str(request.getfixturevalue("milvus").address(name, photos))
    return str(request.getfixturevalue("postgres").address(name))


@pytest.fixture
def opening(where: str, photos: Path, encoder: Any) -> Opening:
    """Opens the collection of that place, made with the encoder of colours unless told otherwise."""

    def opening(**how: Any) -> Collection:
        return open_collection(where, **{"model": encoder, "folder": photos, **how})

    return opening
