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

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.errors import BadData

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Sidecars", "embedded", "lines", "read_list", "signature"]

LIST_STEMS = frozenset({"captions", "metadata"})
LIST_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".json"})
_IMAGE_COLUMNS = ("image", "file_name", "filename", "file", "filepath", "path")
_TEXT_COLUMNS = ("captions", "caption", "text", "title", "description")


@dataclass(slots=True)
class Sidecars:
    """Caption lists of one folder, read once.

    Args:
        folder: The folder.
        wrong: Lists that could not be used, with the reason, after `of` was called.
    """

    folder: Path
    wrong: dict[Path, str] = field(default_factory=dict)
    _lists: dict[str, list[str]] | None = None

    def of(self, picture: Path) -> list[str]:
        """Captions of one picture of the folder from sidecar files and lists."""
        if self._lists is None:
            self._lists = self._read()
        found: list[str] = []
        for sidecar in (picture.with_suffix(".txt"), picture.with_name(picture.name + ".txt")):
            if sidecar.is_file():
                found += lines(sidecar)
        return list(dict.fromkeys(found + self._lists.get(picture.name, [])))

    def _read(self) -> dict[str, list[str]]:
        lists: dict[str, list[str]] = {}
        for path in sorted(self.folder.iterdir()):
            if path.stem.lower() not in LIST_STEMS or path.suffix.lower() not in LIST_SUFFIXES:
                continue
            try:
                for name, captions in read_list(path):
                    lists.setdefault(name, []).extend(captions)
            except BadData as error:
                self.wrong[path] = str(error)
        return lists


def lines(path: Path) -> list[str]:
    """The lines of a text file that say something; bytes that are no UTF-8 are replaced."""
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_list(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Picture name (without folders) and captions of every row of a caption list.

    Raises:
        BadData: the file is no table with a picture column and a text column.
    """
    try:
        for row in _rows(path):
            image = next((row[c] for c in _IMAGE_COLUMNS if row.get(c)), None)
            text = next((row[c] for c in _TEXT_COLUMNS if row.get(c)), None)
            if image is None or text is None:
                raise BadData(
                    f"{path.name} needs a column of pictures ({', '.join(_IMAGE_COLUMNS)}) and one of texts "
                    f"({', '.join(_TEXT_COLUMNS)}); it has {', '.join(map(str, row)) or 'none'}"
                )
            captions = text if isinstance(text, list) else [text]
            yield os.path.basename(str(image)), [str(c).strip() for c in captions if str(c).strip()]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise BadData(f"{path.name} is not a table of captions ({error})") from error


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
    found = [picture.getexif().get(0x010E), *_iptc(picture), *_xmp(picture)]
    texts = (str(text).strip("\0 \r\n\t") for text in found if text)
    return list(dict.fromkeys(text for text in texts if text))


def _iptc(picture: Image) -> list[str]:
    from PIL import IptcImagePlugin

    try:
        fields = IptcImagePlugin.getiptcinfo(picture) or {}  # type: ignore[arg-type]  # any will do
    except (SyntaxError, ValueError, OSError, KeyError, TypeError):
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


def signature(captions: list[str]) -> str:
    """Changes when the captions do."""
    return hashlib.blake2b("\0".join(captions).encode(), digest_size=8).hexdigest() if captions else ""
