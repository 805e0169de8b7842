"""Tables that are JSON: a list of rows, captions by picture, and the annotations of COCO and Karpathy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from diptych.errors import BadData
from diptych.media.cells import COLUMNS, column, has_texts
from diptych.media.pictures import is_picture
from diptych.media.textfiles import DEEPEST

__all__ = ["has_captions", "image_names", "rows", "too_deep"]

# Under which an object may hold its rows.
_WRAPPED = ("images", "annotations", "data", "rows", "items", "samples", "records")
_KEY = re.compile(r'"([^"\\]{1,80})"\s{0,8}:')
_STRING = re.compile(r'"(?:[^"\\]|\\.)*(?:"|$)', re.DOTALL)
_IMAGE, _FILE = "image", COLUMNS["image"]


def rows(content: Any) -> Iterator[Any]:
    """The rows of a JSON document, each a mapping if it is sound.

    Raises:
        BadData: it is neither a list nor an object.
    """
    if isinstance(content, Mapping):
        content = _rows_of(content)
    if not isinstance(content, Sequence) or isinstance(content, str):
        raise BadData("not a table of captions: neither a list nor an object")
    yield from content


def image_names(images: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The picture's file of each image of COCO's form, by its id as text.

    Raises:
        KeyError, TypeError: it is not that form.
    """
    return {str(one["id"]): str(one["file_name"]) for one in images}


def has_captions(head: str) -> bool:
    """Whether a JSON document that begins so may list captions of pictures.

    Args:
        head: Its first characters, which may end anywhere.
    """
    head = head.lstrip()
    names = list(dict.fromkeys(_KEY.findall(head)))
    if head.startswith("[") or (head.startswith("{") and names[:1] and names[0].lower() in _WRAPPED):
        return bool(column(names, "image")) and has_texts(names)
    if not head.startswith("{") or not names:
        return False
    if is_picture(names[0].replace("\\", "/")):
        return True
    files = column(names, "image") in ("file_name", "filename", "file_path") or "image_id" in names
    return files and ("images" in names or "annotations" in names) and not _lists_objects(names)


def too_deep(head: str) -> bool:
    """Whether a JSON document that begins so has more levels than are read, whatever it is meant to be."""
    level = 0
    for mark in re.findall(r"[\[{\]}]", _STRING.sub("", head)) if head.lstrip()[:1] in ("[", "{") else ():
        level += 1 if mark in "[{" else -1
        if level > DEEPEST:
            return True
    return False


def _lists_objects(names: Sequence[str]) -> bool:
    """Whether the annotations are COCO's boxes, which say nothing in words."""
    return bool({"bbox", "segmentation", "category_id"}.intersection(names))


def _rows_of(content: Mapping[str, Any]) -> Sequence[Any]:
    images, annotations = content.get("images"), content.get("annotations")
    if isinstance(images, list) and isinstance(annotations, list):
        return _coco(images, annotations)
    for name in _WRAPPED:
        found = content.get(name)
        if isinstance(found, list) and any(isinstance(one, Mapping) for one in found):
            return [_placed(one) for one in found]
    return [{_IMAGE: name, "captions": _said(value)} for name, value in content.items()]


def _said(value: Any) -> Any:
    """The captions in what a name stands for, which may be a row."""
    if isinstance(value, Mapping):
        known = column(list(value), "text")
        return value[known] if known else value
    return value


def _placed(row: Any) -> Any:
    """A row of Karpathy's form with its picture's folder; any other as it is."""
    if isinstance(row, Mapping) and "filename" in row and isinstance(row.get("filepath"), str):
        return {**row, "filename": f"{row['filepath'].rstrip('/')}/{row['filename']}", "filepath": None}
    return row


def _coco(images: Sequence[Any], annotations: Sequence[Any]) -> list[Any]:
    """A row for each caption; where a picture is not listed, its id is its name."""
    try:
        files = image_names(images)
    except (KeyError, TypeError):
        raise BadData("not COCO's captions form: an image lacks its id or its file_name") from None
    found: list[Any] = []
    for one in annotations:
        whole = isinstance(one, Mapping) and "image_id" in one
        number = str(one["image_id"]) if whole else ""
        found.append({_IMAGE: files.get(number, number), "caption": one.get("caption")} if whole else one)
    return found
