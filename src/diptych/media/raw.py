"""Raw files of cameras: the picture that the camera put into them, or a development at half size.

A raw file holds what the sensor saw, and nearly always a JPEG that the camera made of it. That JPEG is what
is looked at, as whoever took the picture saw it; where there is none, or only a stamp, LibRaw (package rawpy)
develops what the sensor saw with the camera's white balance. LibRaw reads hundreds of formats, so this
happens in a process of its own, which may take only so much time and memory; what goes wrong there is an
`ImageError` here. The ending decides what is a raw file: many of them are TIFF by their content.
"""

from __future__ import annotations

import atexit
import importlib.util
import io
import json
import os
import struct
import sys
from pathlib import PurePath
from typing import IO, TYPE_CHECKING, Any

from diptych.errors import ImageError, MissingExtra
from diptych.media.metadata import fields_of_row, merged
from diptych.media.opening import Described
from diptych.media.pictures import (
    MAX_PIXELS,
    TOO_LARGE,
    NeedsExtra,
    Source,
    Unread,
    open_picture,
    own_description,
    read_described,
    read_file,
)
from diptych.media.worker import Ended, Worker, exactly, limit_memory
from diptych.optional import optional

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "RAW_MEMORY",
    "RAW_SECONDS",
    "RAW_SUFFIXES",
    "can_read_raw",
    "description_of",
    "is_raw",
    "open_any",
    "read_raw",
]

RAW_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw"}
    | {".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srw", ".x3f"}
)
"""Endings (lower case) of raw files of cameras."""

RAW_SECONDS = 60.0
"""Longest time that one file may take."""
RAW_MEMORY = 4 << 30
"""Memory in bytes that the process may take, where the system can limit it."""

_ENOUGH = 512  # pixels of the shorter side of what the camera put in, where nobody says what is enough
# Whether pixels are wanted; size that is enough and most pixels, -1 for None; bytes of the file.
_ASKED = struct.Struct("!BiqQ")
_ANSWER = struct.Struct("!BIIQ")  # what it is; width, height; bytes of the JSON, which the pixels follow
_PICTURE, _REFUSED = 1, 0


def is_raw(name: str | os.PathLike[str]) -> bool:
    """Whether a file of that name is a raw file of a camera, by its ending."""
    return PurePath(name).suffix.lower() in RAW_SUFFIXES


def can_read_raw() -> bool:
    """Whether the package is there that reads them."""
    return importlib.util.find_spec("rawpy") is not None


def read_raw(
    file: str | os.PathLike[str] | bytes,
    *,
    size: int | None = None,
    max_pixels: int | None = None,
    name: str = "",
) -> tuple[Image, Described]:
    """The picture of a raw file as RGB, upright, and what the file says of it.

    Args:
        file: Path or bytes.
        size: Pixels of the shorter side that are enough, as for `diptych.media.pictures.open_picture`; what
            the camera put in is looked at only if it has as many.
        max_pixels: As there.
        name: What errors call it; by default its path.

    Raises:
        ImageError: damaged, too large, of no kind that is known, or more work than is allowed.
        NeedsExtra: the package is not installed.
    """
    from PIL import Image

    name = name or (f"raw picture of {len(file)} bytes" if isinstance(file, bytes) else os.fspath(file))
    pixels_of, told, pixels = _told(file, name, True, size, max_pixels)
    found = Image.frombytes("RGB", pixels_of, pixels)
    found.info.update(told["info"])
    return found, _described(told)


def description_of(path: str | os.PathLike[str], data: bytes | None = None) -> Described:
    """What a picture's file says of it, without decoding it; of a raw file what `read_raw` gives.

    Args:
        path: The file.
        data: Its content, if it has been read.

    Raises:
        Unread: it cannot be read, or is a raw file and the package is not installed.
    """
    if not is_raw(path):
        return own_description(path, data)
    data = read_file(path) if data is None else data
    try:
        return _described(_told(data, os.fspath(path), False)[1])
    except Unread:
        raise
    except ImageError:
        return Described([], {})


def _told(
    file: str | os.PathLike[str] | bytes,
    name: str,
    wanted: bool,
    size: int | None = None,
    max_pixels: int | None = None,
) -> tuple[tuple[int, int], dict[str, Any], bytes]:
    """Size of what is seen of a file, what is said of it, and its pixels if they are wanted."""
    try:
        optional("rawpy", "raw pictures of cameras", "raw")
    except MissingExtra as error:
        raise NeedsExtra(name, error.purpose, error.extra) from None
    data = file if isinstance(file, bytes) else read_file(file)
    asked = (-1 if given is None else given for given in (size, max_pixels))
    try:
        what, seen, told, pixels = _worker.ask(
            _ASKED.pack(wanted, *asked, len(data)) + data, _answer, seconds=RAW_SECONDS
        )
    except Ended as ended:
        why = f"takes longer than {RAW_SECONDS:.0f} s" if ended.late else "ends the program that reads it"
        raise ImageError(name, f"a raw picture that {why}, so it is passed over") from None
    if what == _REFUSED:
        raise ImageError(name, str(told["reason"]))
    return seen, told, pixels


def _described(told: dict[str, Any]) -> Described:
    return Described(told["captions"], {name: tuple(values) for name, values in told["fields"].items()})


def open_any(picture: Source, *, size: int | None = None, max_pixels: int | None = None) -> Image:
    """What `diptych.media.pictures.open_picture` gives, and of the path of a raw file its picture."""
    if isinstance(picture, str | os.PathLike) and is_raw(picture):
        return read_raw(picture, size=size, max_pixels=max_pixels)[0]
    return open_picture(picture, size=size, max_pixels=max_pixels)


_worker = Worker("diptych.media.raw", "serve", environment={"OMP_NUM_THREADS": "1"})
atexit.register(_worker.end)


def _answer(stream: IO[bytes]) -> tuple[int, tuple[int, int], dict[str, Any], bytes]:
    what, width, height, length = _ANSWER.unpack(exactly(stream, _ANSWER.size))
    told = json.loads(exactly(stream, length))
    return what, (width, height), told, exactly(stream, 3 * width * height)


# What runs in the process of its own


def serve() -> None:
    """Read the raw files that come on standard input until it ends; answers on standard output."""
    import rawpy

    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # LibRaw and Pillow may speak, and the answers must stay whole
    limit_memory(RAW_MEMORY)
    while header := asked.read(_ASKED.size):
        wanted, size, most, length = _ASKED.unpack(header)
        data = exactly(asked, length)
        try:
            with rawpy.imread(io.BytesIO(data)) as raw:
                thumb = _thumb(raw)
                told = _description(raw, thumb, data)
                picture = _seen(raw, thumb, _given(size), _given(most)) if wanted else None
        except ImageError as error:
            _send(answers, _REFUSED, (0, 0), {"reason": error.reason})
        except MemoryError:
            _send(
                answers, _REFUSED, (0, 0), {"reason": f"{TOO_LARGE} (needs more than {RAW_MEMORY >> 30} GiB)"}
            )
        except (rawpy.LibRawError, OSError, ValueError) as error:
            why = error.args[0].decode("utf-8", "replace") if _is_bytes(error) else str(error)
            reason = f"damaged, or raw of a camera that is not supported ({why})"
            _send(answers, _REFUSED, (0, 0), {"reason": reason})
        else:
            if picture is None:
                _send(answers, _PICTURE, (0, 0), told)
            else:
                told["info"] = {key: value for key, value in picture.info.items() if isinstance(value, str)}
                _send(answers, _PICTURE, picture.size, told, picture.tobytes())


def _is_bytes(error: Exception) -> bool:
    return bool(error.args) and isinstance(error.args[0], bytes)


def _given(number: int) -> int | None:
    return None if number < 0 else number


def _send(
    stream: IO[bytes], what: int, size: tuple[int, int], told: dict[str, Any], pixels: bytes = b""
) -> None:
    said = json.dumps(told).encode()
    stream.write(_ANSWER.pack(what, *size, len(said)) + said + pixels)
    stream.flush()


def _thumb(raw: Any) -> Any:
    """What the camera put in; None if there is nothing that LibRaw can find."""
    import rawpy

    try:
        return raw.extract_thumb()
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
        return None


def _description(raw: Any, thumb: Any, data: bytes) -> dict[str, Any]:
    """Captions and fields of the file itself, where it is built like TIFF, and of what the camera put in."""
    width, height = _upright_size(raw)
    shape = "square" if width == height else "landscape" if width > height else "portrait"
    facts = fields_of_row({"width": width, "height": height, "orientation": shape, "format": "raw"})
    said = [own_description("", data)]
    if thumb is not None and isinstance(thumb.data, bytes):
        said.append(own_description("", thumb.data))
    fields = merged(facts, *({k: v for k, v in one.fields.items() if v != _NO_DATE} for one in said))
    return {"captions": list(dict.fromkeys(text for one in said for text in one.captions)), "fields": fields}


_NO_DATE = ("1970-01-01 00:00:00",)  # which LibRaw writes where it knows none


def _seen(raw: Any, thumb: Any, size: int | None, most: int | None) -> Image:
    """The picture of a raw file, upright."""
    import rawpy

    inside = _inside(raw, thumb, size, most)
    if inside is not None and min(inside.size) >= min(size or _ENOUGH, min(_upright_size(raw)) // 2):
        return inside
    try:
        return _developed(raw, most)
    except rawpy.LibRawError:
        if inside is None:
            raise
        return inside


def _upright_size(raw: Any) -> tuple[int, int]:
    sizes = raw.sizes
    turned = sizes.flip in _QUARTERS
    return (sizes.height, sizes.width) if turned else (sizes.width, sizes.height)


def _inside(raw: Any, thumb: Any, size: int | None, most: int | None) -> Image | None:
    """What the camera put in, upright; None if that cannot be read."""
    from PIL import Image

    if thumb is None:
        return None
    if not isinstance(thumb.data, bytes):
        return _turned(Image.fromarray(thumb.data).convert("RGB"), raw, 1)
    try:
        picture, _ = read_described(thumb.data, size=size, max_pixels=most)
    except ImageError:
        return None
    with Image.open(io.BytesIO(thumb.data)) as head:
        turn = head.getexif().get(_ORIENTATION, 1)
    return _turned(picture, raw, turn)


_ORIENTATION = 0x0112  # field of EXIF; LibRaw writes it into a JPEG that has no EXIF of its own
_QUARTERS = (5, 6)  # LibRaw's numbers for a quarter to the left and to the right; 3 is a half


def _turned(picture: Image, raw: Any, turn: int) -> Image:
    """The picture as the camera was held.

    Args:
        picture: Turned already as its own field says.
        raw: The file, which says how the camera was held.
        turn: That field of its own, 1 where there is none.
    """
    from PIL.Image import Transpose

    width, height = _upright_size(raw)
    if raw.sizes.flip in _QUARTERS and (width > height) != (picture.width > picture.height):
        # Either it has no field, or it was upright before that field, LibRaw's, turned it once more.
        left = (raw.sizes.flip == 5) == (turn == 1)
        return picture.transpose(Transpose.ROTATE_90 if left else Transpose.ROTATE_270)
    return picture.transpose(Transpose.ROTATE_180) if raw.sizes.flip == 3 and turn == 1 else picture


def _developed(raw: Any, most: int | None) -> Image:
    """A development at half size, upright: LibRaw turns it itself."""
    from PIL import Image

    pixels = raw.sizes.raw_width * raw.sizes.raw_height
    if pixels > (MAX_PIXELS if most is None else most):
        size = f"{raw.sizes.raw_width} x {raw.sizes.raw_height} pixels"
        at_most = f"{(MAX_PIXELS if most is None else most):,}"
        raise ImageError("", f"{TOO_LARGE} ({size}, at most {at_most} are read)")
    return Image.fromarray(raw.postprocess(half_size=True, use_camera_wb=True, output_bps=8))
