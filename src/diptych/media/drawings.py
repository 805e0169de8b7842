"""Draws SVG in a process of its own, which may take only so much time and memory and opens no other file.

A drawing is a program: two kilobytes of nested groups overflow the renderer's stack, a filter runs for hours,
and a link reads any file that this user may read. So a worker process parses the drawing, drops every
reference that leads out of it, and renders it; what goes wrong there is an `ImageError` here. The worker is
started when first needed and serves one drawing after another.
"""

from __future__ import annotations

import atexit
import contextlib
import gzip
import io
import struct
import sys
import zlib
from typing import IO, TYPE_CHECKING

from diptych.errors import ImageError
from diptych.media.worker import Ended, Worker, exactly, limit_memory
from diptych.optional import optional

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["DRAWING_BYTES", "DRAWING_MEMORY", "DRAWING_SECONDS", "draw", "is_drawing"]

DRAWING_SECONDS = 10.0
"""Longest time that one drawing may take."""
DRAWING_MEMORY = 1 << 30
"""Memory in bytes that the worker may take, where the system can limit it."""
DRAWING_BYTES = 32 << 20
"""Largest drawing that is read, unpacked."""

_HEADER = struct.Struct("!BI")  # 1 for a picture, 0 for a reason; bytes that follow
_ASKED = struct.Struct("!II")  # side in pixels; bytes that follow
_REFERENCES = ("href", "{http://www.w3.org/1999/xlink}href", "src")


def is_drawing(head: bytes) -> bool:
    """Whether the beginning of a file (a few thousand bytes) is that of an SVG, plain, UTF-16 or gzipped."""
    if head.startswith(b"\x1f\x8b"):
        unpacked = zlib.decompressobj(zlib.MAX_WBITS | 16)
        with contextlib.suppress(zlib.error):
            return is_drawing(unpacked.decompress(head, 4096))
        return False
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head.decode("utf-16", "ignore").encode()
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    # A comment may be longer than the head; whatever begins like XML is left to the parser.
    return b"<svg" in head or start.startswith((b"<?xml", b"<!--", b"<!DOCTYPE svg"))


def draw(data: bytes, name: str, side: int) -> Image:
    """A drawing as RGB on white, its longer side `side` pixels.

    Args:
        data: The file.
        name: How to call it in errors.
        side: Pixels.

    Raises:
        ImageError: damaged, too large, or more work than is allowed.
        MissingExtra: the renderer is not installed.
    """
    from PIL import Image

    from diptych.media.colours import on_white  # here, so that the worker does not wait for NumPy

    optional("resvg_py", "SVG", "svg")
    if data.startswith(b"\x1f\x8b"):
        try:
            with gzip.open(io.BytesIO(data)) as packed:
                data = packed.read(DRAWING_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise ImageError(name, f"damaged drawing ({error})") from error
    if len(data) > DRAWING_BYTES:
        raise ImageError(name, f"too large a drawing (at most {DRAWING_BYTES >> 20} MB are read)")
    with Image.open(io.BytesIO(_asked(data, name, side))) as picture:
        return on_white(picture)


_worker = Worker("diptych.media.drawings", "serve")
atexit.register(_worker.end)


def _asked(data: bytes, name: str, side: int) -> bytes:
    """The drawing as PNG; see `draw`."""
    try:
        drawn, found = _worker.ask(_ASKED.pack(side, len(data)) + data, _answer, seconds=DRAWING_SECONDS)
    except Ended as ended:
        why = f"takes longer than {DRAWING_SECONDS:.0f} s" if ended.late else "ends the renderer"
        raise ImageError(name, f"a drawing that {why}, so it is passed over") from None
    if not drawn:
        raise ImageError(name, f"damaged drawing ({found.decode('utf-8', 'replace')})")
    return found


def _answer(stream: IO[bytes]) -> tuple[int, bytes]:
    drawn, length = _HEADER.unpack(exactly(stream, _HEADER.size))
    return drawn, exactly(stream, length)


# What runs in the worker


def serve() -> None:
    """Draw what comes on standard input until it ends; answers on standard output."""
    limit_memory(DRAWING_MEMORY)
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    while header := asked.read(_ASKED.size):
        side, length = _ASKED.unpack(header)
        data = asked.read(length)
        try:
            drawn, found = 1, _drawn(data, side)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is told and the next drawing is served
            drawn, found = 0, (str(error) or type(error).__name__).splitlines()[0].encode()
        answers.write(_HEADER.pack(drawn, len(found)) + found)
        answers.flush()


def _drawn(data: bytes, side: int) -> bytes:
    import resvg_py

    # Both sides are limits, so that no drawing, however long, needs more than side x side pixels.
    return bytes(resvg_py.svg_to_bytes(svg_string=_without_references(data), width=side, height=side))


def _without_references(data: bytes) -> str:
    """The drawing, with references only to its own parts (#name) and to what it holds (data:).

    Parsed and written anew, so that entities and encodings hide nothing.
    """
    import xml.etree.ElementTree as Xml

    root = Xml.fromstring(data)
    if root.tag.rpartition("}")[2] != "svg":
        raise ValueError(f"begins with <{root.tag.rpartition('}')[2]}> and not with <svg>")
    for part in root.iter():
        for name in _REFERENCES:
            value = part.get(name)
            if value is not None and not value.strip().startswith(("#", "data:")):
                del part.attrib[name]
    return Xml.tostring(root, encoding="unicode")
