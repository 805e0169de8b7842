"""Reads one picture from disk as 8-bit RGB, refusing what is damaged or too large before memory is spent."""

from __future__ import annotations

import contextlib
import functools
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.errors import ImageError
from diptych.media.captions import embedded

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MAX_PIXELS", "SUFFIXES", "NeedsExtra", "quiet", "read_captioned", "read_image"]

MAX_PIXELS = 178_956_970
"""Largest picture that is decoded, in pixels; Pillow refuses beyond it as well."""

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".avif", ".avifs", ".heic", ".heif", ".hif", ".svg", ".jp2", ".ppm", ".pgm", ".pbm"}
)
"""Endings that make a file a picture when a folder is walked; what it really is, its content decides."""

# What Pillow's decoders raise for damaged content; they share no base class.
_DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, AttributeError, ArithmeticError,
    MemoryError, NotImplementedError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip

# Pictures beyond this many pixels are decoded one at a time, or every thread would hold half a gigabyte.
_LARGE_PIXELS = 24_000_000
_large = threading.Lock()


class NeedsExtra(ImageError):
    """The picture may well be whole, but reading its kind needs a package that is not installed."""

    def __init__(self, path: str, kind: str, extra: str) -> None:
        super().__init__(path, f"{kind} needs an optional package: pip install 'diptych[{extra}]'")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps Pillow from warning of oddities that it decodes nevertheless.

    Warning filters belong to the whole process, so one thread enters this on behalf of those it starts.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def read_image(path: str | Path, *, size: int | None = None, max_pixels: int = MAX_PIXELS) -> Image:
    """The picture as RGB, upright, its first frame, transparent parts on white; see `read_captioned`."""
    with quiet():
        return read_captioned(path, size=size, max_pixels=max_pixels)[0]


def read_captioned(
    path: str | Path, *, size: int | None = None, max_pixels: int = MAX_PIXELS
) -> tuple[Image, list[str]]:
    """The picture as `read_image` gives it, and the captions in its own fields; call it inside `quiet`.

    Args:
        path: The file; what it is, its content decides and not its ending.
        size: The shorter side (pixels) that is enough; lets JPEG decoding skip detail. None keeps all of it.
        max_pixels: Refuse anything larger.

    Raises:
        ImageError: with path and reason, whatever is wrong.
    """
    from PIL import Image, UnidentifiedImageError

    _register_heif()
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            if width * height > max_pixels:
                raise ImageError(str(path), _too_large(max_pixels, f"{width} x {height} pixels, "))
            if size is not None:
                picture.draft("RGB", (size, size))
            with _large if picture.width * picture.height > _LARGE_PIXELS else contextlib.nullcontext():
                picture.load()
                return _upright(_rgb(picture), picture), embedded(picture)
    except FileNotFoundError as error:
        raise ImageError(str(path), "there is no such file") from error
    except PermissionError as error:
        raise ImageError(str(path), "permission denied") from error
    except UnidentifiedImageError:
        return _read_other(Path(path), size or 512), []
    except Image.DecompressionBombError as error:
        raise ImageError(str(path), _too_large(max_pixels)) from error
    except _DAMAGE as error:
        raise ImageError(str(path), f"damaged or of a kind that is not supported ({error})") from error


def _too_large(max_pixels: int, given: str = "") -> str:
    return f"too large ({given}at most {max_pixels // 1_000_000} million are read)"


def _rgb(picture: Image) -> Image:
    if picture.mode in {"I", "F"} or picture.mode.startswith("I;16"):
        return _scaled_grey(picture).convert("RGB")
    if picture.has_transparency_data:
        return _on_white(picture)
    if picture.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")
        assert converted is not None  # None only when it converts in place
        return converted
    return picture.convert("RGB")


def _upright(picture: Image, original: Image) -> Image:
    """The picture turned as its EXIF field says; a damaged field turns nothing."""
    from PIL.Image import Transpose

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
        turn = turns.get(original.getexif().get(0x0112, 1))
    except _DAMAGE:
        return picture
    return picture if turn is None else picture.transpose(turn)


def _scaled_grey(picture: Image) -> Image:
    """Deep grey as 8 bits; Pillow's own conversion would turn everything above 255 white."""
    import numpy as np
    from PIL import Image

    values = np.nan_to_num(np.asarray(picture, dtype=np.float32), posinf=0, neginf=0)
    low, high = 0.0, 65535.0
    largest = float(values.max(initial=0))
    if picture.mode == "F" or values.min(initial=0) < 0 or largest > high:
        low, high = float(values.min()), float(values.max())
    elif picture.mode == "I" and largest <= 255:  # 32 bits a pixel, but 8 of them used
        high = 255.0
    scaled = (values - low) * (255 / ((high - low) or 1))
    return Image.fromarray(np.clip(scaled, 0, 255).astype(np.uint8))


def _on_white(picture: Image) -> Image:
    from PIL import Image

    rgba = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _read_other(path: Path, size: int) -> Image:
    """What Pillow does not know: a drawing, or nothing of ours.

    Raises:
        ImageError: always with the reason, unless it is a drawing.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise ImageError(str(path), f"cannot be read ({error.strerror or error})") from error
    if not head:
        raise ImageError(str(path), "empty file")
    if b"<svg" in head:
        return _read_svg(path, 2 * size)
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and not _register_heif():
        raise NeedsExtra(str(path), "HEIC", "heic")
    raise ImageError(str(path), "not a picture, whatever its name says")


_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


@functools.cache
def _register_heif() -> bool:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _read_svg(path: Path, size: int) -> Image:
    import io

    from PIL import Image

    try:
        import resvg_py
    except ImportError:
        raise NeedsExtra(str(path), "SVG", "svg") from None
    try:
        text = path.read_text(encoding="utf-8")
        # Both sides are limits, so that no drawing, however long, needs more than size x size pixels.
        drawn = resvg_py.svg_to_bytes(svg_string=text, width=size, height=size)
        with Image.open(io.BytesIO(bytes(drawn))) as picture:
            return _on_white(picture)
    except _DAMAGE as error:
        raise ImageError(str(path), f"damaged drawing ({error})") from error
