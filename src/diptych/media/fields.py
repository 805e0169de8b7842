"""Captions that pictures carry in fields of their own: EXIF, IPTC and XMP."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from html import unescape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["embedded"]

# What cameras write into the description by themselves; it says nothing of the picture.
_CAMERA_WORDS = frozenset(
    {"OLYMPUS DIGITAL CAMERA", "SONY DSC", "DIGITAL CAMERA", "KODAK DIGITAL STILL CAMERA", "DCIM", "DEFAULT"}
    | {"MINOLTA DIGITAL CAMERA", "KONICA MINOLTA DIGITAL CAMERA", "SAMSUNG DIGITAL CAMERA"}
)

_MOST_XMP = 1_000_000  # characters of a packet that are looked at; real ones have a few thousand


def embedded(picture: Image) -> list[str]:
    """Captions in the picture's own fields.

    EXIF description and Windows' XPTitle, XPSubject and XPComment; IPTC 2:120; XMP dc:description, dc:title.
    """
    found = [*_exif(picture), *_iptc(picture), *_xmp(picture)]
    texts = (text.strip("\0 \r\n\t") for text in found)
    return list(dict.fromkeys(text for text in texts if text and text.upper() not in _CAMERA_WORDS))


def _exif(picture: Image) -> list[str]:
    try:
        exif = picture.getexif()
        value, windows = exif.get(0x010E), [exif.get(tag) for tag in _XP]
    except (SyntaxError, ValueError, OSError, KeyError, TypeError, struct.error):
        return []  # a damaged field is no caption; the picture is not worse for it
    # Pillow reads Latin-1, most programs write UTF-8.
    found = [_decoded(value.encode("latin-1", errors="replace"))] if isinstance(value, str) else []
    return found + [one.decode("utf-16-le", "ignore") for one in windows if isinstance(one, bytes)]


_XP = (0x9C9B, 0x9C9F, 0x9C9C)  # title, subject and comment, as Windows writes them


def _iptc(picture: Image) -> list[str]:
    from PIL import IptcImagePlugin

    try:
        fields = IptcImagePlugin.getiptcinfo(picture) or {}  # type: ignore[arg-type]  # any will do
    except (SyntaxError, ValueError, OSError, KeyError, TypeError, struct.error):
        return []  # a damaged field is no caption; the picture is not worse for it
    marked = fields.get((1, 90)) == _UTF8
    given = fields.get((2, 120))
    values = [given] if isinstance(given, bytes) else given or []  # the field may be repeated
    return [_decoded(one, utf8=marked) for one in values]


_UTF8 = b"\x1b%G"  # IPTC 1:90, the coded character set (IPTC-NAA IIM 4.2, section 1.5.90)


def _decoded(value: bytes, *, utf8: bool = False) -> str:
    """Text of bytes: UTF-8 if they are said to be or can be, else of Windows, else Latin-1."""
    if utf8:
        return value.decode("utf-8", "replace")
    for encoding in ("utf-8", "cp1252"):
        try:
            return value.decode(encoding)
        except UnicodeDecodeError:
            continue
    return value.decode("latin-1")


def _xmp(picture: Image) -> list[str]:
    # Pillow would need an XML parser that is safe against hostile input; two fields do not need one.
    data = picture.info.get("xmp") or b""
    text = data.decode("utf-8", errors="replace") if isinstance(data, bytes) else str(data)
    text = text[:_MOST_XMP]
    return [unescape(value) for name in ("dc:description", "dc:title") for value in _first_items(text, name)]


def _first_items(text: str, name: str) -> Iterator[str]:
    """The first list item in each element of that name; every character is passed over once."""
    end = 0
    while (start := text.find(f"<{name}", end)) >= 0 and (end := text.find(f"</{name}", start)) >= 0:
        item = text.find("<rdf:li", start, end)
        begin = text.find(">", item, end) + 1 if item >= 0 else 0
        stop = text.find("</rdf:li", begin, end) if begin else -1
        if stop >= 0 and "<" not in text[begin:stop]:
            yield text[begin:stop]
