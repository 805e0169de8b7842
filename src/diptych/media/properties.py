"""Facts that a picture carries about itself, as fields: when and where it was taken, with what, and keywords.

From EXIF, IPTC and XMP; a sidecar in XMP speaks the same language. What a field is, `diptych.media.metadata`
says. Where two say the same, EXIF comes first, as cameras write it; keywords are those of all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from diptych.media.fields import attribute, decoded, exif, iptc_of, items, xmp_of
from diptych.media.metadata import Fields, Value, fields_of_row, merged

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["own_fields", "xmp_fields"]

_CAMERA, _PLACE = 0x8769, 0x8825  # directories of EXIF
_KINDS = {"MPO": "jpeg", "JPEG2000": "jp2"}  # a JPEG with further pictures behind it is one, too
_TURNED = frozenset({5, 6, 7, 8})  # orientations of EXIF that lie on their side


def own_fields(picture: Image, size: tuple[int, int]) -> dict[str, tuple[Value, ...]]:
    """The fields of a picture that is opened.

    Args:
        picture: It need not be decoded.
        size: Its width and height in the file.
    """
    if picture.format is None:  # drawn, of no size of its own
        return fields_of_row({"format": "svg"})
    turned = exif(picture, 0x0112)[0] in _TURNED
    width, height = size[::-1] if turned else size
    shape = "square" if width == height else "landscape" if width > height else "portrait"
    iptc = iptc_of(picture)
    facts: dict[str, Any] = {
        "width": width,
        "height": height,
        "orientation": shape,
        "format": _KINDS.get(picture.format, picture.format.lower()),
    }
    said: dict[str, Any] = {
        "date": _iptc_date("".join(iptc.get((2, 55), [])[:1])),
        "city": iptc.get((2, 90), [])[:1],
        "country": iptc.get((2, 101), [])[:1],
        "tag": iptc.get((2, 25), []),
    }
    return merged(
        fields_of_row(facts), _exif_fields(picture), fields_of_row(said), xmp_fields(xmp_of(picture))
    )


def xmp_fields(xmp: str) -> dict[str, tuple[Value, ...]]:
    """The fields in an XMP packet."""
    if not xmp:
        return {}
    dates = (
        attribute(xmp, name) for name in ("exif:DateTimeOriginal", "photoshop:DateCreated", "xmp:CreateDate")
    )
    said: dict[str, Any] = {
        "date": next(filter(None, dates), ""),
        "camera": _camera(attribute(xmp, "tiff:Make"), attribute(xmp, "tiff:Model")),
        "lens": attribute(xmp, "aux:Lens") or attribute(xmp, "exifEX:LensModel"),
        "latitude": _xmp_degrees(attribute(xmp, "exif:GPSLatitude")),
        "longitude": _xmp_degrees(attribute(xmp, "exif:GPSLongitude")),
        "city": attribute(xmp, "photoshop:City"),
        "country": attribute(xmp, "photoshop:Country"),
        "rating": attribute(xmp, "xmp:Rating"),
        "tag": list(items(xmp, "dc:subject")),
    }
    return fields_of_row(said)


def _exif_fields(picture: Image) -> Fields:
    make, model, rating, words = exif(picture, 0x010F, 0x0110, 0x4746, 0x9C9E)
    taken, digitised, lens = exif(picture, 0x9003, 0x9004, 0xA434, within=_CAMERA)
    north, latitude, east, longitude = exif(picture, 1, 2, 3, 4, within=_PLACE)
    place = _degrees(latitude, north), _degrees(longitude, east)
    if not any(place):  # what cameras write that do not know
        place = None, None
    said: dict[str, Any] = {
        "date": _text(taken) or _text(digitised),
        "camera": _camera(_text(make), _text(model)),
        "lens": _text(lens),
        "latitude": place[0],
        "longitude": place[1],
        "rating": rating,
        "tag": words.decode("utf-16-le", "ignore").rstrip("\0") if isinstance(words, bytes) else None,
    }
    return fields_of_row(said)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return decoded(value).strip("\0 ")
    return decoded(value.encode("latin-1", errors="replace")).strip("\0 ") if isinstance(value, str) else ""


def _camera(make: str, model: str) -> str:
    """Make and model in one name; most models begin with their make."""
    brand = make.split()[0] if make.split() else ""
    return model if not model or model.lower().startswith(brand.lower()) else f"{make} {model}".strip()


def _degrees(parts: Any, side: Any) -> float | None:
    """Degrees north or east; None if they are not there or can be none."""
    try:
        numbers = [float(part) for part in parts] if isinstance(parts, Iterable) else []
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return _signed(numbers, str(side or ""))


def _xmp_degrees(text: str) -> float | None:
    """Degrees as XMP has them: ``48,8.5N`` or ``48,8,30N``."""
    try:
        return _signed([float(part) for part in text[:-1].split(",")], text[-1:]) if text else None
    except ValueError:
        return None


def _signed(parts: list[float], side: str) -> float | None:
    value = sum(part / 60.0**power for power, part in enumerate(parts[:3]))
    if not parts or not math.isfinite(value) or abs(value) > 180:
        return None
    return round(-value if side.upper()[:1] in ("S", "W") else value, 6)


def _iptc_date(text: str) -> str:
    """A date as IPTC has it, ``20240501``, in the usual form."""
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 and text.isdigit() else ""
