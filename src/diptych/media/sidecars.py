"""Files that describe one picture: XMP, as programs for photographs write it, and JSON.

JSON is an object whose names are fields, or a list with one such object (ExifTool's form); of Google Photos'
form (Takeout) the time, place and description are read.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diptych.errors import BadData
from diptych.media import textfiles
from diptych.media.cells import others, texts
from diptych.media.fields import xmp_captions
from diptych.media.metadata import fields_of_row
from diptych.media.opening import Described
from diptych.media.properties import xmp_fields

__all__ = ["read_sidecar"]

_MOST = 16 << 20  # bytes; real ones have a few thousand


def read_sidecar(path: Path) -> Described:
    """Captions and fields of the picture that a file describes.

    Args:
        path: Ends in ``.xmp`` or ``.json``.

    Raises:
        BadData: it cannot be read, or is nothing of the kind; the message leaves out the path.
    """
    try:
        text = textfiles.decoded(textfiles.content(path, most=_MOST))
    except OSError as error:
        raise BadData(f"cannot be read ({error.strerror or error})") from error
    if path.suffix.lower() == ".xmp":
        if "<rdf:" not in text:
            raise BadData("is no XMP; a sidecar is what a program for photographs writes beside a picture")
        return Described([one for one in map(str.strip, xmp_captions(text)) if one], xmp_fields(text))
    values = textfiles.parsed(text)
    if isinstance(values, list) and len(values) == 1:
        values = values[0]
    if not isinstance(values, Mapping):
        raise BadData("is no JSON object; a sidecar holds one whose names are fields")
    values = {str(name): value for name, value in values.items()}
    values |= _takeout(values)
    return Described(texts(values), fields_of_row(others(values)))


def _takeout(values: Mapping[str, Any]) -> dict[str, Any]:
    """What Google Photos says of time and place, under our names; it leaves the time zone open: UTC."""
    found: dict[str, Any] = {}
    taken, place = values.get("photoTakenTime"), values.get("geoData")
    if isinstance(taken, Mapping) and str(taken.get("timestamp", "")).lstrip("-").isdigit():
        try:
            moment = datetime.datetime.fromtimestamp(int(taken["timestamp"]), datetime.UTC)
            found["date"] = moment.strftime("%Y-%m-%d %H:%M:%S")
        except (OverflowError, ValueError, OSError):
            pass  # no time that a calendar has
    if isinstance(place, Mapping) and (place.get("latitude") or place.get("longitude")):
        found |= {name: place.get(name) for name in ("latitude", "longitude")}
    return found
