"""Fingerprint of what one side of a split shows: array bytes, texts, or the files of pictures."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Side
from diptych.data.pictures import Absent, Pictures
from diptych.errors import ImageError
from diptych.media.pictures import read_file

__all__ = ["contents_sha256"]


def contents_sha256(
    contents: Sequence[Any] | NDArray[Any], side: Side, lost: dict[int, ImageError] | None = None
) -> str:
    """SHA-256, in hex digits, over everything that a side holds, in its order.

    Pictures count by the bytes of their files, undecoded, and not by their names; PIL pictures by mode, size
    and pixels; texts by their UTF-8. An array counts by shape, type and bytes, so that it is the same on a
    machine of another byte order. Nothing is known of `Absent` items but their number.

    Args:
        contents: What `Split.image` or `Split.text` holds.
        side: Which of them; a `str` is the path of a picture or a text.
        lost: Gets the pictures whose files cannot be read, by row, which then count as if they were not
            there.

    Raises:
        ImageError: a picture's file cannot be read, and nobody asked for those.
    """
    digest = hashlib.sha256()
    if isinstance(contents, Absent):
        digest.update(f"absent {len(contents)}".encode())
    elif isinstance(contents, np.ndarray):
        digest.update(_array_head(contents))
        digest.update(_array_bytes(contents))
    else:
        for row in range(len(contents)):
            try:
                data = contents.read(row) if isinstance(contents, Pictures) else _bytes(contents[row], side)
            except ImageError as error:
                if lost is None:
                    raise
                lost[row] = error
                continue
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
    return digest.hexdigest()


def _bytes(item: Any, side: Side) -> bytes:
    if side == "text":
        return str(item).encode("utf-8", "surrogatepass")
    if isinstance(item, bytes):
        return item
    if isinstance(item, str | os.PathLike):
        return read_file(item)
    if isinstance(item, np.ndarray):
        return _array_head(item) + bytes(_array_bytes(item))
    return f"{item.mode}{item.size}".encode() + bytes(item.tobytes())


def _array_head(array: NDArray[Any]) -> bytes:
    return f"{array.shape}{array.dtype.str[1:]};".encode()


def _array_bytes(array: NDArray[Any]) -> memoryview:
    ordered = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return ordered.reshape(-1).view(np.uint8).data
