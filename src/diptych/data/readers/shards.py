"""Reads webdataset shards: tar files in which ``0001.jpg`` and ``0001.txt`` (or ``.json``) are one sample.

Pictures are not unpacked: each is read from its place in the tar when looked at, so that a split of many
gigabytes opens in the time it takes to read the headers. A sample's ``.txt`` is one caption a line; of
``.json`` the field of captions is read (`diptych.media.tables.COLUMNS`); ``.cls`` is a class number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from diptych.data.base import Dataset, Loaded, Pictures, Split, captioned
from diptych.data.pictures import tar_slices
from diptych.errors import BadData
from diptych.media.pictures import SUFFIXES
from diptych.media.tables import cell, strings
from diptych.media.textfiles import parsed

__all__ = ["FORM", "read", "recognises"]

FORM = "webdataset shards (.tar, or a folder of them)"


def recognises(path: Path) -> bool:
    """Whether the path is a tar file, or a folder of tar files."""
    return path.suffix.lower() == ".tar" or (path.is_dir() and any(path.glob("*.tar")))


def read(path: Path) -> Dataset:
    """The shards as a data set; shards whose names begin alike (``train-000000.tar``) are one split.

    Raises:
        BadData: if a shard is damaged or compressed, or a picture has no text.
    """
    shards = sorted(path.glob("*.tar")) if path.is_dir() else [path]
    by_split: dict[str, list[Path]] = {}
    for shard in shards:
        by_split.setdefault(re.sub(r"[-_.]?\d*$", "", shard.stem) or "all", []).append(shard)
    samples = {name: [_samples(shard) for shard in some] for name, some in by_split.items()}
    numbers = {
        int(sample["cls"])
        for some in samples.values()
        for _, _, found in some
        for sample in found.values()
        if "cls" in sample
    }
    classes = tuple(map(str, range(max(numbers) + 1))) if numbers else ()
    return Loaded(
        path.stem, {name: _split(some, classes) for name, some in samples.items()}, class_names=classes
    )


_Shard = tuple[Path, Mapping[str, str], Mapping[str, Mapping[str, str]]]


def _samples(shard: Path) -> _Shard:
    """The shard, the picture of each key, and the other (text) parts of each key."""
    pictures: dict[str, str] = {}
    others: dict[str, dict[str, str]] = {}
    with shard.open("rb") as file:
        for name, (offset, length) in tar_slices(shard).items():
            base, _, ending = PurePosixPath(name).name.partition(".")
            key = str(PurePosixPath(name).with_name(base))
            if f".{ending.lower()}" in SUFFIXES:
                pictures[key] = name
            elif ending.lower() in ("txt", "json", "cls"):
                file.seek(offset)
                try:
                    text = file.read(length).decode("utf-8")
                except UnicodeDecodeError as error:
                    raise BadData(f"{shard}/{name} is not UTF-8 ({error})") from error
                others.setdefault(key, {})[ending.lower()] = text
    if not pictures:
        raise BadData(f"{shard} holds no pictures; known endings: {', '.join(sorted(SUFFIXES))}")
    return shard, pictures, others


def _split(shards: list[_Shard], classes: tuple[str, ...]) -> Split:
    images = Pictures([])
    captions: list[list[str]] = []
    labels: list[list[str]] = []
    ids: list[str] = []
    for shard, pictures, others in shards:
        images += Pictures.from_tar(shard, list(pictures.values()))
        for key in pictures:
            parts = others.get(key, {})
            captions.append(_captions(shard, key, parts))
            labels.append([parts["cls"].strip()] if "cls" in parts else [])
            ids.append(f"{shard.stem}/{key}")
    return captioned(images, captions, labels=labels if classes else None, class_names=classes, image_id=ids)


def _captions(shard: Path, key: str, parts: Mapping[str, str]) -> list[str]:
    if "txt" in parts:
        found = [line.strip() for line in parts["txt"].splitlines() if line.strip()]
    elif "json" in parts:
        try:
            content = parsed(parts["json"])
        except BadData as error:
            raise BadData(f"{shard}/{key}.json is {error}") from error
        found = strings(cell(content, "text")) if isinstance(content, Mapping) else []
    else:
        found = []
    if not found and "cls" not in parts:
        raise BadData(f"{shard} has no text for picture {key!r}: a .txt or a .json with a caption is needed")
    return found
