"""What passes between a collection and its home: files, items, texts, columns of vectors, and states."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats, Rows, Side
from diptych.media.metadata import Fields

__all__ = ["Caption", "Known", "Lacking", "State", "Stored", "VectorColumn", "VectorType", "Worded"]

VectorType = Literal["float16", "bits"]
"""How vectors are kept: in half precision, or as binary codes, eight bits to a byte."""


@dataclass(frozen=True, slots=True)
class VectorColumn:
    """A column of vectors, one for each item that has been encoded for it.

    Args:
        id: Number of the column.
        name: What it is called; that which searches use if no other is named is "main".
        model: Name of the system that made the vectors.
        fingerprint: Equal only if vectors compare; empty as long as nothing was encoded.
        similarity: What compares them; see `diptych.similarity`.
        dimensions: Of a vector; 0 as long as nothing was encoded.
        type: How they are kept.
    """

    id: int
    name: str
    model: str
    fingerprint: str
    similarity: str
    dimensions: int
    type: VectorType


@dataclass(frozen=True, slots=True)
class State:
    """What a home holds at one moment, as the last batch left it.

    Args:
        generation: Grows by one with each batch that changes items.
        token: Drawn at random by that batch, so that two homes that went on from one copy differ in it.
    """

    generation: int
    token: str


@dataclass(frozen=True, slots=True)
class Known:
    """What a home knows of a file: enough to see whether it changed.

    Args:
        key: Its name.
        id: Number of the file.
        size: Bytes.
        mtime_ns: Time of its last change, in nanoseconds since 1970.
        hash: Of its content.
        captions: State of the files beside it that may speak of it (`diptych.engine.plan.Work.stamp`).
        image: Whether it holds a picture.
    """

    key: bytes
    id: int
    size: int
    mtime_ns: int
    hash: bytes
    captions: str
    image: bool


@dataclass(frozen=True, slots=True)
class Caption:
    """A text item that is about to be stored; without a vector if the model encodes no texts."""

    text: str
    vector: bytes | None
    source: str


@dataclass(frozen=True, slots=True)
class Stored:
    """An item as stored.

    Args:
        row: Its number, which no other item ever had or gets.
        side: "image" or "text".
        id: Name of its file in the collection.
        path: That file; None of an item that a program gave.
        text: Of a text item; None for a picture.
        source: Where a text came from: "sidecar", "list", "own", "program" or "generated"; empty for a
            picture.
        captions: Texts of the same file, for a picture.
        fields: What is known of its file, see `diptych.media.metadata`.
        hash: Of the content of its file.
    """

    row: int
    side: Side
    id: str
    path: Path | None
    text: str | None
    source: str
    captions: tuple[str, ...] = ()
    fields: Fields = field(default_factory=dict)
    hash: bytes = b""


@dataclass(frozen=True, slots=True)
class Lacking:
    """An item that has no vector in a column.

    Args:
        row: Its number.
        key: Name of its file.
        hash: Of the content of that file.
        text: Of a text item; None for a picture.
    """

    row: int
    key: bytes
    hash: bytes
    text: str | None


@dataclass(frozen=True, slots=True)
class Worded:
    """Entries that share words with what is asked.

    Args:
        rows: (n,) of them, ascending.
        shares: (n,) which part of what is asked each has, above 0 and at most 1, words counted by how rare
            they are.
        phrases: (n,) whether one has all of it word for word.
    """

    rows: Rows
    shares: Floats
    phrases: NDArray[np.bool_]

    @classmethod
    def nothing(cls) -> Worded:
        """None at all."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.bool_))
