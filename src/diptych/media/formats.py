"""The kinds of pictures that Diptych reads, and how the beginning of a file tells them.

Whatever else Pillow could open stays closed: PostScript would start another program, and few of the rest are
ever tested against hostile files.
"""

from __future__ import annotations

from collections.abc import Mapping

from diptych.media.drawings import is_drawing

__all__ = ["FORMATS", "HEAD", "may_be_picture"]

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


def may_be_picture(head: bytes) -> bool:
    """Whether a file may hold a picture of one of the `FORMATS`, whatever its name.

    Args:
        head: Its first `HEAD` bytes, or all that it has.
    """
    from PIL import Image

    if head[4:8] == b"ftyp" or is_drawing(head):
        return True
    start = head[:16].ljust(16, b"\0")
    for load in (Image.preinit, Image.init):  # first the few that are common, as Pillow does
        load()
        kinds = (Image.OPEN[name] for names in FORMATS.values() for name in names if name in Image.OPEN)
        if any(accepts is not None and accepts(start) for _, accepts in kinds):
            return True
    return False
