"""Opens the picture that a file holds, not decoded yet: of the named kinds only."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from diptych.errors import ImageError
from diptych.media.drawings import draw, is_drawing
from diptych.media.fields import embedded
from diptych.media.formats import HEAD, readers
from diptych.media.metadata import Fields, fields_of_row
from diptych.media.properties import own_fields
from diptych.optional import optional

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Described", "described", "opened"]


class Described(NamedTuple):
    """What a picture says in its own fields.

    Args:
        captions: See `diptych.media.fields.embedded`.
        fields: See `diptych.media.properties.own_fields`.
    """

    captions: list[str]
    fields: Fields


_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

_MOST_TEXT = 1 << 20  # bytes of one text in a PNG, beyond which Pillow refuses the picture
_MOST_TEXTS = 16 << 20  # and of all of them


@contextlib.contextmanager
def opened(data: bytes, name: str, drawn: int) -> Iterator[Image]:
    """The picture that a file holds, not decoded yet.

    Args:
        data: The file.
        name: What errors call it.
        drawn: A drawing is drawn within so many pixels a side.

    Raises:
        ImageError: it holds none of a kind that is read.
    """
    _hush()
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if brand in _HEIF_BRANDS and not {data[at : at + 4] for at in range(16, 64, 4)} & {b"avif", b"avis"}:
        # Opened by itself, and not registered with Pillow for the whole process.
        with optional("pillow_heif", "HEIC", "heic").HeifImageFile(io.BytesIO(data)) as picture:
            yield picture
        return
    if not data:
        raise ImageError(name, "empty file")
    found = _opened(_in_order(data))
    if found is None:
        if not is_drawing(data[:HEAD]):
            raise ImageError(name, "not a picture, whatever its name says")
        found = draw(data, name, drawn)
    with found:
        yield found


def described(data: bytes) -> Described:
    """Captions and facts in the fields of a file's picture, which is not decoded.

    Raises:
        ImageError: it is no picture.
    """
    if is_drawing(data[:HEAD]):
        return Described([], fields_of_row({"format": "svg"}))
    with opened(data, "", 1) as picture:
        if picture.format == "PNG":
            picture.info.setdefault("exif", b"")  # or Pillow would decode all of it to look for more
        return Described(embedded(picture), own_fields(picture, picture.size))


def _opened(data: bytes) -> Image | None:
    from PIL import Image, UnidentifiedImageError

    kinds = dict(readers(data[:HEAD]))
    try:
        return Image.open(io.BytesIO(data), formats=[*kinds])
    except UnidentifiedImageError:
        return None
    except Image.DecompressionBombError:
        # That limit belongs to the whole process; how large is too large here, the caller says.
        for read in kinds.values():
            with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):
                return read(io.BytesIO(data), "")
        raise


def _in_order(data: bytes) -> bytes:
    """A PNG whose fields come before its pixels, so that they are known without decoding it.

    Its colour profile, which nothing here reads, and texts that are too large are left out.
    """
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    view, at, texts = memoryview(data), 8, 0
    before, fields, pixels = [view[:8]], list[memoryview](), list[memoryview]()
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunk = view[at : at + 12 + length]
        at += len(chunk)
        if kind in _TEXT_CHUNKS:
            size = _text_size(kind, bytes(chunk[8:-4]))
            if size > _MOST_TEXT or texts + size > _MOST_TEXTS:
                continue
            texts += size
        if kind in _FIELDS and pixels:
            fields.append(chunk)
        elif kind != b"iCCP":
            (pixels if pixels or kind == b"IDAT" else before).append(chunk)
    found = [*before, *fields, *pixels, view[at:]]
    return data if not fields and sum(map(len, found)) == len(data) else b"".join(found)


_TEXT_CHUNKS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_FIELDS = _TEXT_CHUNKS | {b"eXIf"}


def _text_size(kind: bytes, chunk: bytes) -> int:
    """Bytes of a text chunk, unpacked; of a packed one no more are counted than tell that it is too large."""
    packed = b""
    if kind == b"zTXt":
        packed = chunk.partition(b"\0")[2][1:]
    elif kind == b"iTXt":
        _, _, rest = chunk.partition(b"\0")
        packed = rest[2:].split(b"\0", 2)[-1] if rest[:1] == b"\1" else b""
    if not packed:
        return len(chunk)
    unpacking = zlib.decompressobj()
    try:
        size = len(unpacking.decompress(packed, _MOST_TEXT))
    except zlib.error:
        return len(chunk)  # no text then, and no reason to refuse the picture
    return size + bool(unpacking.unconsumed_tail) * _MOST_TEXT


_quiet: Any = None


def _hush() -> None:
    """Keep Pillow from warning of oddities that it decodes nevertheless.

    Filters of warnings belong to the whole process, so this one is set once, is never taken away (which
    another thread would notice), and speaks of Pillow's own modules only.
    """
    global _quiet
    if _quiet is None or _quiet not in warnings.filters:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        _quiet = warnings.filters[0]
