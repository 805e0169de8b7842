"""What decoding a picture costs in memory, and how much all threads together may take for it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from diptych.media.colours import is_deep

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MAX_DECODED", "decoding", "decoding_bytes"]

MAX_DECODED = 2**30
"""Bytes that decoding and converting one picture may take, and that of all pictures in work at a time."""

# Bytes a pixel that decoders take besides the picture, measured with pictures of 30 million pixels.
_DECODER = {"WEBP": 12, "JPEG2000": 12, "AVIF": 8, "HEIF": 4}
_PROGRESSIVE = 6  # of the whole JPEG, at whatever scale it is decoded: two for each of three colours
_NARROW = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}  # bytes a pixel; four of all others


def decoding_bytes(picture: Image, whole: tuple[int, int], *, reduced: bool = False) -> int:
    """Bytes that decoding a picture and converting it to RGB takes at its worst moment, about.

    Args:
        picture: One that is opened, perhaps at a smaller scale than its file's.
        whole: Its size in the file, (width, height).
        reduced: Whether it is made smaller on the way, see `diptych.media.colours.upright`.
    """
    each = _NARROW.get(picture.mode, 4) + _DECODER.get(picture.format or "", 0)
    if is_deep(picture.mode):
        each += 9  # single precision, grey, RGB
    elif picture.has_transparency_data:
        each += 4 if picture.mode == "RGBA" else 8
    elif not (reduced and picture.mode in {"L", "RGB"}):
        each += 4
    coefficients = _PROGRESSIVE * whole[0] * whole[1] if picture.info.get("progressive") else 0
    return each * picture.width * picture.height + coefficients


_free = threading.Condition()
_taken = 0


@contextlib.contextmanager
def decoding(cost: int) -> Iterator[None]:
    """Waits until pictures in other threads leave room; one that needs more than there is waits for all.

    Args:
        cost: Bytes that decoding one needs.
    """
    global _taken
    with _free:
        _free.wait_for(lambda: not _taken or _taken + cost <= MAX_DECODED)
        _taken += cost
    try:
        yield
    finally:
        with _free:
            _taken -= cost
            _free.notify_all()
