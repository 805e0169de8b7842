"""Any picture of Pillow's as upright 8-bit RGB: deep grey, palettes, transparency, inks, EXIF turns."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image, Transpose

__all__ = ["DAMAGE", "is_deep", "on_white", "upright"]

# What Pillow's decoders raise for damaged content; they share no base class.
DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, AttributeError, ArithmeticError,
    MemoryError, NotImplementedError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip


def upright(picture: Image, reduce: int = 1) -> Image:
    """The picture as RGB, turned as its EXIF field says, transparent parts on white.

    Doing it twice changes nothing: what comes out holds no field that could turn it again.

    Args:
        picture: Any, decoded or not.
        reduce: Make it so many times smaller; first, where that spares a copy of the whole.
    """
    from PIL.ImageFile import ImageFile

    turn = _turn(picture)
    plain = picture.mode == "RGB" and not picture.has_transparency_data
    if plain and turn is None and reduce == 1 and not isinstance(picture, ImageFile):
        return picture
    if reduce > 1 and (plain or picture.mode == "L"):
        picture, reduce = picture.reduce(reduce), 1
    found = _rgb(picture)
    if reduce > 1:
        found = found.reduce(reduce)
    if turn is not None:
        found = found.transpose(turn)
    found.info = {}
    return found


def is_deep(mode: str) -> bool:
    """Whether a picture of that mode has more than eight bits a pixel and colour."""
    return mode in {"I", "F"} or mode.startswith("I;16")


def _rgb(picture: Image) -> Image:
    """A new picture in RGB."""
    if is_deep(picture.mode):
        return _scaled_grey(picture).convert("RGB")
    if picture.has_transparency_data:
        return on_white(picture)
    if picture.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")
        assert converted is not None  # None only when it converts in place
        return converted
    return picture.convert("RGB")


def _turn(picture: Image) -> Transpose | None:
    """How the EXIF field says that the picture is to be turned; a damaged field turns nothing."""
    from PIL.Image import Exif, Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        if picture.format == "AVIF":
            # The container turns, and Pillow hands that on as EXIF; an XMP field may only repeat what a
            # program has done to the pixels already, and must not be taken in its place.
            exif = Exif()
            exif.load(picture.info.get("exif", b""))
        else:
            exif = picture.getexif()
        return turns.get(exif.get(0x0112, 1))
    except DAMAGE:
        return None


def _scaled_grey(picture: Image) -> Image:
    """Deep grey as 8 bits; Pillow's own conversion would turn everything above 255 white."""
    import numpy as np
    from PIL import Image

    values = np.array(picture, dtype=np.float32)  # in place, or a large one would be held four times
    np.nan_to_num(values, copy=False, posinf=0, neginf=0)
    low, high = 0.0, 65535.0
    largest = float(values.max(initial=0))
    if picture.mode == "F" or values.min(initial=0) < 0 or largest > high:
        low, high = float(values.min()), float(values.max())
    elif picture.mode == "I" and largest <= 255:  # 32 bits a pixel, but 8 of them used
        high = 255.0
    values -= low
    values *= 255 / ((high - low) or 1)
    return Image.fromarray(np.clip(values, 0, 255, out=values).astype(np.uint8))


def on_white(picture: Image) -> Image:
    """The picture in RGB, its transparent parts white."""
    from PIL import Image

    if picture.mode != "RGBA":
        picture = picture.convert("RGBA")
    ground = Image.new("RGB", picture.size, "white")
    ground.paste(picture, mask=picture)  # not `alpha_composite`, which needs three more copies
    return ground
