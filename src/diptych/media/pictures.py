"""The one eye: whatever a picture is given as, it becomes the same upright 8-bit RGB picture here.

Indexing, queries, data sets and encoders all look through `open_picture`, so that one picture has one vector
wherever it comes from. Damaged and oversized files are refused before memory is spent on them.
"""

from __future__ import annotations

import contextlib
import os
import stat
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

from diptych.errors import ImageError, MissingExtra, UsageError
from diptych.media.colours import DAMAGE, upright
from diptych.media.fields import embedded
from diptych.media.memory import MAX_DECODED, decoding, decoding_bytes
from diptych.media.opening import Described, described, opened
from diptych.media.properties import own_fields

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "DECODING",
    "MAX_BYTES",
    "MAX_PIXELS",
    "SUFFIXES",
    "TOO_LARGE",
    "TRUNCATED",
    "NeedsExtra",
    "Source",
    "Unread",
    "batches",
    "is_picture",
    "open_picture",
    "own_captions",
    "own_description",
    "read_described",
    "read_file",
    "sized",
]

MAX_PIXELS = 178_956_970
"""Largest picture that is decoded unasked, in pixels."""

DECODING = "2"
"""Another number, whenever pixels of some picture come out otherwise than before; what is kept of pictures
is known by it."""

MAX_BYTES = 2**30
"""Largest file that is read."""

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".avif", ".avifs", ".heic", ".heif", ".hif", ".svg", ".svgz", ".jp2", ".ppm", ".pgm", ".pbm"}
)
"""Endings (lower case) that make a file a picture, in a folder and in an archive; what it really is, its
content decides."""

TRUNCATED = "the file ends before its picture does; what is there is used"
"""What `info["truncated"]` says of a picture whose file is cut off."""

TOO_LARGE = "too large"
"""How the reason begins of a picture that is read only if more is allowed."""

_LARGE_PIXELS = 24_000_000  # beyond them no more detail is kept than is enough
_FIELDS = 1 << 20  # bytes at the beginning of a JPEG that hold its fields
_MOST_MISSING = 0.75  # share of the rows of a JPEG that may be cut off


Source: TypeAlias = Union[str, os.PathLike[str], bytes, "Image", NDArray[np.uint8]]
"""All that a picture may be given as; see `open_picture`."""


class Unread(ImageError):
    """The file cannot be read as things are; that says nothing of the picture, which may well be whole."""


class NeedsExtra(Unread):
    """Reading pictures of this kind needs a package that is not installed."""

    def __init__(self, path: str, kind: str, extra: str) -> None:
        super().__init__(path, f"{kind} needs an optional package: pip install 'diptych[{extra}]'")


def open_picture(
    picture: Source, *, size: int | None = None, max_pixels: int | None = None, name: str = ""
) -> Image:
    """A picture as 8-bit RGB, upright, its first frame, transparent parts on white.

    The same picture comes out the same from a path, from the bytes of the file, from an archive and from
    Pillow's `Image.open`. Only where the file is gone (a picture that Pillow has decoded already, an array)
    is there nothing to leave out with `size`; then a JPEG of more than twice the size differs by the rounding
    of its decoder. A JPEG that is cut off comes out as far as it is there, grey below, and its
    ``info["truncated"]`` says so.

    Args:
        picture: A path, the bytes of a file, a PIL picture, or an array (h, w, 3), (h, w, 4) or (h, w) of
            uint8: RGB, RGBA or grey.
        size: Pixels of the shorter side that are enough: an encoder's `image_size`. Lets decoding skip
            detail beyond it; the result is never smaller, but for drawings and for pictures that are. None
            keeps everything.
        max_pixels: Refuse anything larger. None refuses what has more than `MAX_PIXELS`, and what would take
            more than `diptych.media.memory.MAX_DECODED` bytes to decode; whoever gives a number has the
            memory for it, up to twenty bytes a pixel.
        name: What errors call it; by default its path.

    Raises:
        ImageError: with the picture's name and the reason, whatever is wrong with it.
        UsageError: it is none of these.

    Example:
        >>> import numpy as np
        >>> open_picture(np.zeros((3, 4), np.uint8)).size
        (4, 3)
    """
    from PIL.Image import Image

    if isinstance(picture, np.ndarray):
        picture = _of_array(picture)
    if isinstance(picture, Image):
        return _of_picture(picture, size, max_pixels, name)
    if isinstance(picture, str | os.PathLike | bytes):
        return read_described(picture, size=size, max_pixels=max_pixels, name=name)[0]
    raise UsageError(
        f"{type(picture).__name__} is no picture; give a path, the bytes of a file, a PIL picture, or an "
        "array (h, w, 3), (h, w, 4) or (h, w) of uint8"
    )


def read_described(
    file: str | os.PathLike[str] | bytes,
    *,
    size: int | None = None,
    max_pixels: int | None = None,
    name: str = "",
) -> tuple[Image, Described]:
    """The picture of a file as `open_picture` gives it, and what it says in its own fields.

    Args:
        file: Path or bytes; what it is, its content decides and not its ending.
        size, max_pixels, name: As for `open_picture`.

    Raises:
        ImageError: with name and reason, whatever is wrong.
    """
    data = file if isinstance(file, bytes) else read_file(file)
    name = name or (f"picture of {len(file)} bytes" if isinstance(file, bytes) else os.fspath(file))
    with _refusing(name):
        try:
            return _read(data, name, size, max_pixels)
        except OSError as error:
            if not data.startswith(_JPEG) or "image file is truncated" not in str(error):
                raise
        # With an end of its own, the decoder gives what there is before it.
        return _read(data + _JPEG_END, name, size, max_pixels, cut=True)


_JPEG, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


def _read(
    data: bytes, name: str, size: int | None, max_pixels: int | None, *, cut: bool = False
) -> tuple[Image, Described]:
    """The picture of a file and what it says of itself; `cut` if its end is not its own."""
    with opened(data, name, 2 * (size or 512)) as picture:
        whole = picture.size
        _check_pixels(whole, name, max_pixels)
        if size is not None:
            picture.draft("RGB", (size, size))
        found = _decoded(picture, name, size, max_pixels, whole, cut)
        return found, Described(embedded(picture), own_fields(picture, whole))


def own_captions(path: str | os.PathLike[str]) -> list[str]:
    """The captions in a picture's own fields, as `read_described` gives them, but without decoding it.

    Args:
        path: The file. One that cannot be read has none here; whoever reads it is told.
    """
    try:
        data = read_file(path)
        with _refusing(os.fspath(path)):
            return described(data).captions
    except ImageError:
        return []


def own_description(path: str | os.PathLike[str], data: bytes | None = None) -> Described:
    """What a picture says in its own fields, as `read_described` gives it, but without decoding it.

    Args:
        path: The file; of a JPEG only the beginning is read.
        data: Its content, if it has been read.

    Raises:
        Unread: it cannot be read. Fields that are damaged are none.
    """
    data = read_file(path, most=_FIELDS) if data is None else data
    try:
        with _refusing(os.fspath(path)):
            return described(data)
    except ImageError:
        return Described([], {})


def read_file(path: str | os.PathLike[str], *, most: int | None = None) -> bytes:
    """The bytes of a picture's file.

    Args:
        path: The file.
        most: Bytes that are enough of a JPEG; all, if None.

    Raises:
        Unread: it is not there, or may not or cannot be read.
        ImageError: it is no regular file, or larger than `MAX_BYTES`.
    """
    name = os.fspath(path)
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise ImageError(name, "is a folder" if stat.S_ISDIR(mode) else "is not a regular file")
        with Path(path).open("rb") as file:
            large = os.fstat(file.fileno()).st_size > MAX_BYTES
            data = b"" if large else file.read(MAX_BYTES + 1 if most is None else most)
            if most is not None and not data.startswith(_JPEG):
                data += file.read(MAX_BYTES + 1 - len(data))
    except FileNotFoundError as error:
        raise Unread(name, "cannot be read: there is no such file") from error
    except PermissionError as error:
        raise Unread(name, "cannot be read: permission denied") from error
    except (OSError, ValueError) as error:  # a zero in the name is a ValueError
        raise Unread(name, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if large or len(data) > MAX_BYTES:
        raise ImageError(name, f"too large a file (at most {MAX_BYTES // 2**20} MiB are read)")
    return data


def is_picture(name: str) -> bool:
    """Whether a file of that name counts as a picture: by its ending, and no leftover of macOS."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith("._") and "__MACOSX" not in path.parts


def sized(images: Sequence[Any], size: int | None) -> Sequence[Any]:
    """Pictures as an encoder should be given them.

    A sequence that decodes its pictures itself (it has a method `sized`, as a data set's `Pictures`) is told
    how much is enough, so that they come out as from their files; any other stays as it is.

    Args:
        images: Pictures of one kind or another.
        size: The encoder's `image_size`; None for all detail.
    """
    told = getattr(images, "sized", None)
    return images if told is None else told(size)


def batches(images: Sequence[Any], encoder: Any, *, size: int | None = None) -> Iterator[NDArray[Any]]:
    """What an encoder's network takes of pictures, (b, ...) a batch.

    Args:
        images: Each a picture as `open_picture` takes it, or what `prepare_image` gave: an array that is no
            picture, or that `prepare_image` does not change.
        encoder: Offers `prepare_image` and `image_size`, and `batch_size` unless `size` is given.
        size: Pictures in a batch.
    """
    size = encoder.batch_size if size is None else size
    images = sized(images, encoder.image_size)
    for start in range(0, len(images), size):
        found = (images[row] for row in range(start, min(start + size, len(images))))
        yield np.stack(
            [
                one if isinstance(one, np.ndarray) and not _is_pixels(one) else encoder.prepare_image(one)
                for one in found
            ]
        )


def _is_pixels(array: NDArray[Any]) -> bool:
    colours = array.shape[2:]
    return array.dtype == np.uint8 and array.ndim in {2, 3} and array.size > 0 and colours in {(), (3,), (4,)}


def _of_array(array: NDArray[Any]) -> Image:
    from PIL import Image

    if not _is_pixels(array):
        raise UsageError(
            f"an array {array.shape} of {array.dtype} is no picture; give one (h, w, 3), (h, w, 4) or (h, w) "
            "of uint8"
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _of_picture(picture: Image, size: int | None, max_pixels: int | None, name: str) -> Image:
    from PIL.JpegImagePlugin import JpegImageFile

    name = name or str(getattr(picture, "filename", "")) or "picture"
    with _refusing(name):
        _check_pixels(picture.size, name, max_pixels)
        # Opened and not decoded yet: read from its file, as any other road would, and leave it as it is.
        if isinstance(picture, JpegImageFile) and picture.tile and picture.fp:
            place = picture.fp.tell()
            picture.fp.seek(0)
            data = picture.fp.read()
            picture.fp.seek(place)
            return read_described(data, size=size, max_pixels=max_pixels, name=name)[0]
        return _decoded(picture, name, size, max_pixels, picture.size)


def _decoded(
    picture: Image,
    name: str,
    size: int | None,
    max_pixels: int | None,
    whole: tuple[int, int],
    cut: bool = False,
) -> Image:
    """Decode and convert within the memory that there is; a large picture is then no larger than it must be.

    Args:
        picture: One that is opened.
        name, size, max_pixels: As for `open_picture`.
        whole: Its size in the file.
        cut: Whether its file is cut off.
    """
    large = size is not None and picture.width * picture.height > _LARGE_PIXELS
    reduce = max(1, min(picture.size) // (2 * size)) if large and size is not None else 1
    cost = decoding_bytes(picture, whole, reduced=reduce > 1)
    if max_pixels is None and cost > MAX_DECODED:
        kind = f" of {picture.format}" if picture.format else ""
        raise ImageError(
            name,
            f"{TOO_LARGE} ({whole[0]} x {whole[1]} pixels{kind} need {cost / 2**30:.1f} GiB of memory, "
            f"at most {MAX_DECODED / 2**30:.0f} GiB is used)",
        )
    with decoding(cost):
        missing = _missing(picture) if cut else 0.0
        if missing > _MOST_MISSING:
            raise ImageError(name, "damaged: its file ends before most of the picture")
        found = upright(picture, reduce)
    if cut:
        found.info["truncated"] = TRUNCATED
    return found


def _missing(picture: Image) -> float:
    """Share of the rows of a JPEG, from below, that are what its decoder fills in: even grey."""
    picture.load()

    def is_filled(row: int) -> bool:
        spans = picture.crop((0, row, picture.width, row + 1)).getextrema()
        return all(span == (128, 128) for span in (spans if isinstance(spans[0], tuple) else (spans,)))

    return 1 - bisect_left(range(picture.height), True, key=is_filled) / picture.height


@contextlib.contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Turns whatever Pillow raises into an `ImageError` with the picture's name."""
    from PIL.Image import DecompressionBombError

    try:
        yield
    except MissingExtra as error:
        raise NeedsExtra(name, error.purpose, error.extra) from None
    except DecompressionBombError as error:
        raise ImageError(
            name, f"too large (at most {MAX_PIXELS // 1_000_000} million pixels are read of its kind)"
        ) from error
    except DAMAGE as error:
        raise ImageError(name, f"damaged or of a kind that is not supported ({error})") from error


def _check_pixels(size: tuple[int, int], name: str, max_pixels: int | None) -> None:
    most = MAX_PIXELS if max_pixels is None else max_pixels
    if size[0] * size[1] > most:
        at_most = f"{most // 1_000_000} million" if most >= 1_000_000 else f"{most:,}"
        raise ImageError(name, f"{TOO_LARGE} ({size[0]} x {size[1]} pixels, at most {at_most} are read)")
