"""Drawings (SVG) as pictures."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from diptych.media.colours import on_white
from diptych.optional import optional

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["draw"]


def draw(data: bytes, size: int) -> Image:
    """The drawing as RGB on white, within `size` x `size` pixels.

    Raises:
        MissingExtra: the package that draws is not installed.
        ValueError, RuntimeError: the drawing is damaged.
    """
    from PIL import Image

    resvg = optional("resvg_py", "SVG", "svg")
    # Both sides are limits, so that no drawing, however long, needs more than size x size pixels.
    drawn = resvg.svg_to_bytes(svg_string=data.decode("utf-8"), width=size, height=size)
    with Image.open(io.BytesIO(bytes(drawn))) as picture:
        return on_white(picture)
