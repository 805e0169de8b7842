"""Pictures of a collection as files and thumbnails, and those that callers send, never longer than needed."""

from __future__ import annotations

import io
import os
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from diptych.engine.decoding import digest_of
from diptych.engine.homes.entries import Stored
from diptych.errors import ImageError
from diptych.media.colours import DAMAGE
from diptych.media.formats import HEAD
from diptych.media.opening import opened
from diptych.media.pictures import open_picture, read_file
from diptych.media.raw import open_any
from diptych.server.errors import Refused
from diptych.server.holding import Served

__all__ = ["SIZES", "Original", "Thumbnails", "Uploaded", "Uploads", "original"]

SIZES = (160, 320, 640, 1280, 2560)
"""Longer sides of thumbnails in pixels."""

_QUALITY = 82
_KEPT = 64 << 20  # bytes of thumbnails that are kept
_KINDS = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"BM": "image/bmp",
}


class Original(NamedTuple):
    """A file that may be handed out.

    Args:
        path: Links in it are resolved.
        kind: Its media type, if browsers show it as it is; else None.
        size: Bytes.
        modified: When it was last changed, in seconds since 1970.
    """

    path: Path
    kind: str | None
    size: int
    modified: float


def original(served: Served, found: Stored) -> Original:
    """The file of a picture of a collection.

    It is what the collection knows: a file inside its folder, whatever has become of it, or of one that lies
    or leads elsewhere the very content that was indexed.

    Args:
        served: The collection.
        found: The picture.

    Raises:
        Refused: it has no file, that is not there, or leads where nobody indexed anything.
    """
    if found.path is None:
        raise Refused("NotFound", "this item was given by a program, and its picture was not kept")
    try:
        path = Path(os.path.realpath(found.path, strict=True))
        facts = path.stat()
    except OSError:
        raise Refused("Gone", f"the file of {found.id} is not there now") from None
    root = Path(os.path.realpath(served.collection.folder))
    if not path.is_relative_to(root):
        try:
            same = digest_of(read_file(path)) == found.hash
        except ImageError:
            same = False
        if not same:
            raise Refused("Forbidden", f"{found.id} leads out of its collection to what was never indexed")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        raise Refused("Gone", f"the file of {found.id} cannot be read now") from None
    return Original(path, _kind(head), facts.st_size, facts.st_mtime)


def _kind(head: bytes) -> str | None:
    """The media type of what browsers show as a picture, and nothing but a picture."""
    for start, kind in _KINDS.items():
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return "image/avif" if head[4:12] in (b"ftypavif", b"ftypavis") else None


class Thumbnails:
    """Small JPEGs of pictures, the latest of which are kept."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, served: Served, found: Stored, size: int) -> bytes:
        """A picture as JPEG, upright, within `size` pixels a side.

        Args:
            served: Its collection.
            found: The picture.
            size: One of `SIZES`.

        Raises:
            Refused: as for `original`.
            ImageError: it cannot be read.
        """
        key = served.name, found.row, size
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        path = original(served, found).path
        try:
            picture = open_any(path, size=size)
        except ImageError as error:
            raise ImageError(found.id, error.reason) from None
        picture.thumbnail((size, size))
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=_QUALITY)
        made = out.getvalue()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._bytes += len(made)
            while self._bytes > _KEPT:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return made


@dataclass(slots=True)
class Uploaded:
    """A picture that somebody sent.

    Args:
        name: Under which it is asked with.
        content: Its file.
        width, height: In pixels.
        format: As Pillow calls it; None of a drawing.
        until: When it is forgotten, by `time.monotonic`.
    """

    name: str
    content: bytes
    width: int
    height: int
    format: str | None
    until: float


class Uploads:
    """The pictures that callers have sent, for as long as they are likely to ask with them.

    Args:
        largest: Bytes of one.
        most_pixels: Pixels of one.
        seconds: That one is kept after it was last asked with.
        room: Bytes of all; beyond them the oldest is forgotten.
    """

    def __init__(
        self, *, largest: int, most_pixels: int, seconds: float = 900.0, room: int = 256 << 20
    ) -> None:
        self.largest, self.most_pixels, self.seconds = largest, most_pixels, seconds
        self._room = max(room, largest)
        self._kept: OrderedDict[str, Uploaded] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, content: bytes, name: str) -> tuple[int, int, str | None]:
        """Width, height and format of a picture that may be decoded; it is not decoded for it.

        Raises:
            Refused: it is too large.
            ImageError: it is no picture.
        """
        if len(content) > self.largest:
            raise Refused("TooLarge", f"{name} has more than the {self.largest >> 20} MiB that may be sent")
        size, kind = _size(content, name)
        if size[0] * size[1] > self.most_pixels:
            raise Refused(
                "TooLarge",
                f"{name} has {size[0]} x {size[1]} pixels, and at most {self.most_pixels:,} are read",
            )
        return *size, kind

    def put(self, content: bytes, name: str) -> Uploaded:
        """Keep a picture that can be decoded.

        Raises:
            Refused: it is too large.
            ImageError: it is no picture, or a damaged one.
        """
        width, height, kind = self.check(content, name)
        open_picture(content, size=64, name=name)  # who sends a damaged one is told now and not at the search
        one = Uploaded(
            f"u{secrets.token_urlsafe(18)}", content, width, height, kind, time.monotonic() + self.seconds
        )
        with self._lock:
            self._forget()
            while (
                self._kept
                and sum(len(old.content) for old in self._kept.values()) + len(content) > self._room
            ):
                self._kept.popitem(last=False)
            self._kept[one.name] = one
        return one

    def get(self, name: str) -> Uploaded:
        """One that was kept; it is kept on.

        Raises:
            Refused: it was forgotten, or never there.
        """
        with self._lock:
            self._forget()
            found = self._kept.get(name)
            if found is None:
                raise Refused("Gone", "that picture is not kept any more; send it again", part="image")
            found.until = time.monotonic() + self.seconds
            self._kept.move_to_end(name)
            return found

    def _forget(self) -> None:
        now = time.monotonic()
        for name in [name for name, one in self._kept.items() if one.until < now]:
            del self._kept[name]


def _size(content: bytes, name: str) -> tuple[tuple[int, int], str | None]:
    from PIL.Image import DecompressionBombError

    try:
        with opened(content, name, 64) as picture:
            return picture.size, picture.format
    except DecompressionBombError as error:
        raise Refused("TooLarge", f"{name} has too many pixels ({error})") from error
    except DAMAGE as error:
        raise ImageError(name, f"damaged or of a kind that is not supported ({error})") from error
