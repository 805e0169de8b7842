"""Reads one picture from disk as 8-bit RGB, refusing what is damaged or too large before memory is spent."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.engine.captions import embedded
from diptych.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MAX_PIXELS", "SUFFIXES", "read_captioned", "read_image"]

MAX_PIXELS = 178_956_970
"""Largest picture that is decoded, in pixels; Pillow refuses beyond it as well."""

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".avif", ".avifs", ".heic", ".heif", ".hif", ".svg", ".jp2", ".ppm", ".pgm", ".pbm"}
)
"""Endings that make a file a picture when a folder is walked; what it really is, its content decides."""

# What Pillow's decoders raise for damaged content; they share no base class.
_DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError, AttributeError,
    ArithmeticError, MemoryError, NotImplementedError, RuntimeError,
)  # fmt: skip


def read_image(path: str | Path, *, size: int | None = None, max_pixels: int = MAX_PIXELS) -> Image:
    """The picture as RGB, upright, its first frame, transparent parts on white; see `read_captioned`."""
    return read_captioned(path, size=size, max_pixels=max_pixels)[0]


def read_captioned(
    path: str | Path, *, size: int | None = None, max_pixels: int = MAX_PIXELS
) -> tuple[Image, list[str]]:
    """The picture as `read_image` gives it, and the captions in its own fields.

    Args:
        path: The file.
        size: The shorter side (pixels) that is enough; lets JPEG decoding skip detail. None keeps all of it.
        max_pixels: Refuse anything larger.

    Raises:
        ImageError: with path and reason, whatever is wrong.
    """
    from PIL import Image, UnidentifiedImageError

    if Path(path).suffix.lower() == ".svg":
        return _read_svg(path, size or 512), []
    _register_heif()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of oddities that it decodes nevertheless
        try:
            with Image.open(path) as picture:
                width, height = picture.size
                if width * height > max_pixels:
                    raise ImageError(
                        str(path), f"too large ({width} x {height} pixels, at most {max_pixels:,} are read)"
                    )
                if size is not None:
                    picture.draft("RGB", (size, size))
                picture.load()
                return _upright_rgb(picture), embedded(picture)
        except FileNotFoundError as error:
            raise ImageError(str(path), "vanished while it was being indexed") from error
        except PermissionError as error:
            raise ImageError(str(path), "permission denied") from error
        except UnidentifiedImageError as error:
            raise ImageError(str(path), _unidentified(Path(path))) from error
        except Image.DecompressionBombError as error:
            raise ImageError(str(path), f"too large (at most {max_pixels:,} pixels are read)") from error
        except _DAMAGE as error:
            raise ImageError(str(path), f"damaged or of a kind that is not supported ({error})") from error


def _upright_rgb(picture: Image) -> Image:
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(picture)
    if upright.mode in {"I", "F"} or upright.mode.startswith("I;16"):
        return _scaled_grey(upright).convert("RGB")
    if upright.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in upright.info:
        return _on_white(upright)
    return upright.convert("RGB")


def _scaled_grey(picture: Image) -> Image:
    """Deep grey as 8 bits; Pillow's own conversion would turn everything above 255 white."""
    import numpy as np
    from PIL import Image

    values = np.nan_to_num(np.asarray(picture, dtype=np.float32), posinf=0, neginf=0)
    low, high = 0.0, 65535.0
    if picture.mode == "F" or values.min(initial=0) < 0 or values.max(initial=0) > high:
        low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255 / ((high - low) or 1))
    return Image.fromarray(np.clip(scaled, 0, 255).astype(np.uint8))


def _on_white(picture: Image) -> Image:
    from PIL import Image

    rgba = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _unidentified(path: Path) -> str:
    if path.stat().st_size == 0:
        return "empty file"
    if path.suffix.lower() in {".heic", ".heif", ".hif"} and not _register_heif():
        return "HEIC needs an optional package: pip install 'diptych[heic]'"
    return "not a picture, whatever its name says"


def _register_heif() -> bool:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _read_svg(path: str | Path, size: int) -> Image:
    import io

    from PIL import Image

    try:
        import resvg_py
    except ImportError:
        raise ImageError(str(path), "SVG needs an optional package: pip install 'diptych[svg]'") from None
    try:
        drawn = resvg_py.svg_to_bytes(svg_string=Path(path).read_text(encoding="utf-8"), width=size)
    except (OSError, ValueError, RuntimeError) as error:
        raise ImageError(str(path), f"not an SVG drawing ({error})") from error
    return _on_white(Image.open(io.BytesIO(bytes(drawn))))
