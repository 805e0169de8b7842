"""Raw files of a camera that does not exist: DNG, made of its parts (Adobe, Digital Negative 1.4; TIFF 6)."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

from PIL import Image

__all__ = ["dng", "jpeg"]

_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _SRATIONAL = 1, 2, 3, 4, 5, 10
_FORMS = {_BYTE: "B", _ASCII: "B", _SHORT: "H", _LONG: "I", _RATIONAL: "II", _SRATIONAL: "ii"}

_Field = tuple[int, int, Sequence[int]]


def jpeg(left: str, right: str, size: tuple[int, int] = (960, 640), **how: object) -> bytes:
    """A picture of two colours."""
    picture = Image.new("RGB", size, left)
    picture.paste(right, (size[0] // 2, 0, *size))
    return saved(picture, **how)


def saved(picture: Image.Image, **how: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", **how)  # type: ignore[arg-type]
    return file.getvalue()


def dng(
    preview: bytes = b"",
    *,
    size: tuple[int, int] = (960, 640),
    orientation: int = 1,
    green: int = 2000,
    description: str = "",
) -> bytes:
    """A raw file.

    Args:
        preview: The JPEG that the camera put in; none, if empty.
        size: Width and height of the sensor.
        orientation: How the camera was held, as EXIF has it.
        green: What the green half of the sensor saw, of at most 4095; the others saw 500.
        description: Of the picture.
    """
    width, height = size
    row = struct.pack("<2H", 500, green) * (width // 2)  # red green, green blue
    sensor = (row + struct.pack("<2H", green, 500) * (width // 2)) * (height // 2)
    preview_at = 8
    sensor_at = preview_at + len(preview) + len(preview) % 2
    raw_at = sensor_at + len(sensor)
    raw = _directory(
        [
            (254, _LONG, [0]), (256, _LONG, [width]), (257, _LONG, [height]), (258, _SHORT, [16]),
            (259, _SHORT, [1]), (262, _SHORT, [32803]), (273, _LONG, [sensor_at]), (277, _SHORT, [1]),
            (278, _LONG, [height]), (279, _LONG, [len(sensor)]), (33421, _SHORT, [2, 2]),
            (33422, _BYTE, [0, 1, 1, 2]), (50717, _LONG, [4095]),
        ],
        raw_at,
    )  # fmt: skip
    main_at = raw_at + len(raw)
    one, none = (1, 1), (0, 1)
    fields: list[_Field] = [
        (254, _LONG, [1]), (271, _ASCII, b"Diptych\0"), (272, _ASCII, b"Made\0"),
        (274, _SHORT, [orientation]), (330, _LONG, [raw_at]), (50706, _BYTE, [1, 4, 0, 0]),
        (50707, _BYTE, [1, 1, 0, 0]), (50708, _ASCII, b"Diptych Made\0"), (50778, _SHORT, [21]),
        (50721, _SRATIONAL, [*one, *none, *none, *none, *one, *none, *none, *none, *one]),
        (50728, _RATIONAL, [*one, *one, *one]),
    ]  # fmt: skip
    if description:
        fields.append((270, _ASCII, description.encode() + b"\0"))
    if preview:
        wide, high = Image.open(io.BytesIO(preview)).size
        fields += [
            (256, _LONG, [wide]), (257, _LONG, [high]), (258, _SHORT, [8, 8, 8]), (259, _SHORT, [7]),
            (262, _SHORT, [6]), (273, _LONG, [preview_at]), (277, _SHORT, [3]), (278, _LONG, [high]),
            (279, _LONG, [len(preview)]),
        ]  # fmt: skip
    head = b"II*\0" + struct.pack("<I", main_at)
    return head + preview + b"\0" * (len(preview) % 2) + sensor + raw + _directory(fields, main_at)


def _directory(fields: Sequence[_Field], at: int) -> bytes:
    """An image file directory of TIFF that begins at that byte, with what does not fit into it after it."""
    entries, more = struct.pack("<H", len(fields)), b""
    after = at + 2 + 12 * len(fields) + 4
    for tag, kind, values in sorted(fields, key=lambda field: field[0]):
        form = _FORMS[kind]
        data = struct.pack("<" + form * (len(values) // len(form)), *values)
        entries += struct.pack("<HHI", tag, kind, len(values) // len(form))
        if len(data) <= 4:
            entries += data.ljust(4, b"\0")
        else:
            entries += struct.pack("<I", after + len(more))
            more += data + b"\0" * (len(data) % 2)
    return entries + b"\0\0\0\0" + more
