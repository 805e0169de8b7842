"""The kinds of pictures that Diptych reads, and how the beginning of a file tells them.

Whatever else Pillow could open stays closed: PostScript would start another program, and few of the rest are
ever tested against hostile files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import IO, TYPE_CHECKING

from diptych.media.drawings import is_drawing

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["FORMATS", "HEAD", "may_be_picture", "readers"]

FORMATS: Mapping[str, tuple[str, ...]] = {
    "JPEG": ("JPEG", "MPO"),
    "PNG": ("PNG",),
    "WebP": ("WEBP",),
    "GIF": ("GIF",),
    "BMP": ("BMP", "DIB"),
    "TIFF": ("TIFF",),
    "AVIF": ("AVIF",),
    "HEIC": (),  # read by a package of its own
    "JPEG 2000": ("JPEG2000",),
    "PNM": ("PPM",),
    "SVG": (),  # drawn
}
"""Kinds by the names that people know, each with Pillow's names for what reads it."""

HEAD = 4096
"""Bytes that are enough to tell."""


def readers(head: bytes) -> Iterator[tuple[str, Callable[[IO[bytes], str], Image]]]:
    """What reads a file that begins so, likeliest first: its name in Pillow, and what takes file and name.

    Args:
        head: The first `HEAD` bytes of a file, or all that it has.
    """
    from PIL import Image

    start = head[:16].ljust(16, b"\0")
    tried: set[str] = set()
    for load in (Image.preinit, Image.init):  # first the few that are common, as Pillow does
        load()
        for name in (name for names in FORMATS.values() for name in names if name in Image.OPEN):
            read, accepts = Image.OPEN[name]
            if name in tried or accepts is None:
                continue
            accepted = accepts(start)
            if accepted and not isinstance(accepted, str):  # a sentence says what this build of Pillow lacks
                tried.add(name)
                yield name, read


def may_be_picture(head: bytes) -> bool:
    """Whether a file may hold a picture of one of the `FORMATS`, whatever its name.

    Args:
        head: Its first `HEAD` bytes, or all that it has.
    """
    return head[4:8] == b"ftyp" or is_drawing(head) or next(readers(head), None) is not None
