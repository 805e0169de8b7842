"""Texts that belong to pictures: sidecar files, caption lists and the pictures' own fields.

A picture's captions come from all of these, in this order, without repeats:

1. ``beach.txt`` (or ``beach.jpg.txt``) beside ``beach.jpg``: each line is a caption;
2. ``captions.*`` or ``metadata.*`` beside it, ending in csv, tsv, jsonl or json: a table with the picture
   in one of the columns image, file, file_name, filename, filepath, path and the text in caption,
   captions, text, title, description (a list counts as several);
3. its own EXIF description, IPTC caption and XMP description.

A ``.txt`` file that stands beside no picture of its name is a list of texts, one a line.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from diptych.errors import BadData

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Sidecars", "embedded", "lines", "read_list"]

_T = TypeVar("_T")

LIST_STEMS = frozenset({"captions", "metadata"})
LIST_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".json"})
_IMAGE_COLUMNS = ("image", "file_name", "filename", "file", "filepath", "path")
_TEXT_COLUMNS = ("captions", "caption", "text", "title", "description")


class Sidecars:
    """What one folder says of its pictures in files beside them; those are read only when asked for.

    Args:
        folder: The folder.

    Attributes:
        files: Size (bytes) and time (nanoseconds) of every caption list and every ``.txt``.
        read: Those that were read.
        wrong: Those that could not be used, with the reason.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[Path, tuple[int, int]] = {}
        self.read: set[Path] = set()
        self.wrong: dict[Path, str] = {}
        self._tables: list[Path] = []
        self._by_name: dict[str, list[str]] | None = None
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name.lower())
            table = stem in LIST_STEMS and suffix in LIST_SUFFIXES
            if not (table or suffix == ".txt") or not entry.is_file():
                continue
            path, status = folder / entry.name, entry.stat()
            self.files[path] = (status.st_size, status.st_mtime_ns)
            if table:
                self._tables.append(path)

    def stamp(self, picture: Path) -> str:
        """Changes when a file changes that may say something of the picture; empty if there is none."""
        beside = [path for path in (*_beside(picture), *self._tables) if path in self.files]
        stamps = [f"{path.name}:{self.files[path]}" for path in beside]
        return hashlib.blake2b(repr(stamps).encode(), digest_size=8).hexdigest() if stamps else ""

    def of(self, picture: Path) -> list[str]:
        """Captions of one picture of the folder, from its sidecar and then from the lists."""
        if self._by_name is None:
            self._by_name = {}
            for table in self._tables:
                for name, captions in self._use(read_list, table):
                    self._by_name.setdefault(name, []).extend(captions)
        beside = [
            caption for path in _beside(picture) if path in self.files for caption in self._use(lines, path)
        ]
        return list(dict.fromkeys(beside + self._by_name.get(picture.name, [])))

    def _use(self, reader: Callable[[Path], list[_T]], path: Path) -> list[_T]:
        self.read.add(path)
        try:
            return reader(path)
        except BadData as error:
            self.wrong[path] = str(error)
            return []


def _beside(picture: Path) -> tuple[Path, Path]:
    return picture.with_suffix(".txt"), picture.with_name(picture.name + ".txt")


def lines(text: Path | bytes) -> list[str]:
    """The lines that say something, of a text file or its bytes: UTF-8, or UTF-16 with its mark.

    Raises:
        BadData: it is no such text, or cannot be read.
    """
    try:
        data = text if isinstance(text, bytes) else text.read_bytes()
        utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        decoded = data.decode("utf-16" if utf16 else "utf-8-sig")
    except OSError as error:
        raise BadData(f"cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise BadData(f"is not UTF-8 text (byte {error.start})") from error
    if "\0" in decoded:
        raise BadData("is not text (it holds a zero byte)")
    return [line.strip() for line in decoded.splitlines() if line.strip()]


def read_list(path: Path) -> list[tuple[str, list[str]]]:
    """Picture name (without folders) and captions of every row of a caption list.

    Raises:
        BadData: the file is no table with a picture column and a text column.
    """
    found: list[tuple[str, list[str]]] = []
    try:
        for row in _rows(path):
            image = next((row[c] for c in _IMAGE_COLUMNS if row.get(c)), None)
            text = next((row[c] for c in _TEXT_COLUMNS if row.get(c)), None)
            if image is None or text is None:
                raise BadData(
                    f"needs a column of pictures ({', '.join(_IMAGE_COLUMNS)}) and one of texts "
                    f"({', '.join(_TEXT_COLUMNS)}); it has {', '.join(map(str, row)) or 'none'}"
                )
            captions = text if isinstance(text, list) else [text]
            found.append((os.path.basename(str(image)), [str(c).strip() for c in captions if str(c).strip()]))
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise BadData(f"is not a table of captions ({error})") from error
    return found


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix.lower() in {".csv", ".tsv"}:
            yield from csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        elif path.suffix.lower() == ".jsonl":
            yield from (_object(json.loads(line)) for line in file if line.strip())
        else:
            content = json.load(file)
            if isinstance(content, dict):  # {"a.jpg": "caption" or ["caption", ...]}
                yield from ({"image": name, "captions": text} for name, text in content.items())
            else:
                yield from map(_object, content)


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"a row must be an object, not {value!r:.40}")
    return value


def embedded(picture: Image) -> list[str]:
    """Captions in the picture's own fields: EXIF description, IPTC 2:120, XMP dc:description and dc:title."""
    found = [*_exif(picture), *_iptc(picture), *_xmp(picture)]
    texts = (text.strip("\0 \r\n\t") for text in found)
    return list(dict.fromkeys(text for text in texts if text and text.upper() not in _CAMERA_WORDS))


# What cameras write into the description by themselves; it says nothing of the picture.
_CAMERA_WORDS = frozenset(
    {"OLYMPUS DIGITAL CAMERA", "SONY DSC", "DIGITAL CAMERA", "KODAK DIGITAL STILL CAMERA", "DCIM", "DEFAULT"}
    | {"MINOLTA DIGITAL CAMERA", "KONICA MINOLTA DIGITAL CAMERA", "SAMSUNG DIGITAL CAMERA"}
)


def _exif(picture: Image) -> list[str]:
    try:
        value = picture.getexif().get(0x010E)
    except (SyntaxError, ValueError, OSError, KeyError, TypeError, struct.error):
        return []  # a damaged field is no caption; the picture is not worse for it
    if not isinstance(value, str):
        return []
    try:
        return [value.encode("latin-1").decode("utf-8")]  # Pillow reads Latin-1, most programs write UTF-8
    except UnicodeError:
        return [value]


def _iptc(picture: Image) -> list[str]:
    from PIL import IptcImagePlugin

    try:
        fields = IptcImagePlugin.getiptcinfo(picture) or {}  # type: ignore[arg-type]  # any will do
    except (SyntaxError, ValueError, OSError, KeyError, TypeError, struct.error):
        return []  # a damaged field is no caption; the picture is not worse for it
    value = fields.get((2, 120))
    return [value.decode("utf-8", errors="replace")] if isinstance(value, bytes) else []


def _xmp(picture: Image) -> list[str]:
    import re
    from html import unescape

    # Pillow would need an XML parser that is safe against hostile input; two fields do not need one.
    data = picture.info.get("xmp") or b""
    text = data.decode("utf-8", errors="replace") if isinstance(data, bytes) else str(data)
    fields = re.findall(r"<dc:(?:description|title)\b.*?<rdf:li[^>]*>([^<]*)</rdf:li>", text, re.DOTALL)
    return [unescape(value) for value in fields]
