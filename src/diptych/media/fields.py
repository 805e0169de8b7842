"""What pictures carry in fields of their own, EXIF, IPTC and XMP: how they are read, and captions in them."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from html import unescape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["attribute", "decoded", "embedded", "exif", "iptc_of", "items", "xmp_captions", "xmp_of"]

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
    found = [*_exif(picture), *iptc_of(picture).get((2, 120), []), *xmp_captions(xmp_of(picture))]
    texts = (text.strip("\0 \r\n\t") for text in found)
    return list(dict.fromkeys(text for text in texts if text and text.upper() not in _CAMERA_WORDS))


def exif(picture: Image, *tags: int, within: int | None = None) -> list[Any]:
    """Values of EXIF fields, None for each that is not there or damaged: the picture is not worse for it.

    Args:
        picture: It need not be decoded.
        tags: Their numbers.
        within: Number of the directory that they are in; by default the first.
    """
    found = []
    for tag in tags:
        try:
            fields = picture.getexif()
            found.append((fields if within is None else fields.get_ifd(within)).get(tag))
        except _DAMAGE:
            found.append(None)
    return found


_DAMAGE = (SyntaxError, ValueError, OSError, KeyError, TypeError, struct.error)


def iptc_of(picture: Image) -> Mapping[tuple[int, int], list[str]]:
    """The texts of IPTC's fields by their numbers; none if they are damaged."""
    from PIL import IptcImagePlugin

    try:
        fields = IptcImagePlugin.getiptcinfo(picture) or {}  # type: ignore[arg-type]  # any will do
    except _DAMAGE:
        return {}
    marked = fields.get((1, 90)) == _UTF8
    given = ((number, [one] if isinstance(one, bytes) else one) for number, one in fields.items())
    return {
        number: [decoded(one, utf8=marked) for one in values] for number, values in given
    }  # may be repeated


_UTF8 = b"\x1b%G"  # IPTC 1:90, the coded character set (IPTC-NAA IIM 4.2, section 1.5.90)


def xmp_of(picture: Image) -> str:
    """The XMP packet, as far as it is looked at; empty if there is none."""
    data = picture.info.get("xmp") or b""
    text = data[:_MOST_XMP].decode("utf-8", errors="replace") if isinstance(data, bytes) else str(data)
    return text[:_MOST_XMP]


def decoded(value: bytes, *, utf8: bool = False) -> str:
    """Text of bytes: UTF-8 if they are said to be or can be, else of Windows, else Latin-1."""
    if utf8:
        return value.decode("utf-8", "replace")
    for encoding in ("utf-8", "cp1252"):
        try:
            return value.decode(encoding)
        except UnicodeDecodeError:
            continue
    return value.decode("latin-1")


# Pillow would need an XML parser that is safe against hostile input; a few fields do not need one.


def xmp_captions(xmp: str) -> list[str]:
    """Description and title of an XMP packet."""
    return [one for name in ("dc:description", "dc:title") for one in items(xmp, name, first=True)]


def items(xmp: str, name: str, *, first: bool = False) -> Iterator[str]:
    """The list items in each element of that name; every character is passed over once.

    Args:
        xmp: The packet.
        name: With its prefix.
        first: Only the first of each list, as of one text in many languages.
    """
    end = 0
    while (start := xmp.find(f"<{name}", end)) >= 0 and (end := xmp.find(f"</{name}", start)) >= 0:
        at = start
        while (item := xmp.find("<rdf:li", at, end)) >= 0:
            begin = xmp.find(">", item, end) + 1
            at = xmp.find("</rdf:li", begin, end) if begin else -1
            if at < 0:
                break
            if "<" not in xmp[begin:at]:
                yield unescape(xmp[begin:at])
            if first:
                break


def attribute(xmp: str, name: str) -> str:
    """A simple value of an XMP packet, written as an attribute or as an element; empty if there is none."""
    found = re.search(rf"""\s{name}\s{{0,8}}=\s{{0,8}}(?:"([^"<]{{0,1000}})"|'([^'<]{{0,1000}})')""", xmp)
    found = found or re.search(rf"<{name}(?:\s[^<>]{{0,200}})?>([^<]{{0,1000}})</{name}", xmp)
    return "" if found is None else unescape(next(filter(None, found.groups()), "")).strip()


def _exif(picture: Image) -> list[str]:
    value, *windows = exif(picture, 0x010E, *_XP)
    # Pillow reads Latin-1, most programs write UTF-8.
    found = [decoded(value.encode("latin-1", errors="replace"))] if isinstance(value, str) else []
    return found + [one.decode("utf-16-le", "ignore") for one in windows if isinstance(one, bytes)]


_XP = (0x9C9B, 0x9C9F, 0x9C9C)  # title, subject and comment, as Windows writes them
