"""Reads webdataset shards: tar files in which ``0001.jpg`` and ``0001.txt`` (or ``.json``) are one sample.

Pictures are not unpacked: each is read from its place in the tar when looked at, so that a split of many
gigabytes opens in the time it takes to read the headers. A sample's ``.txt`` is one caption a line; of
``.json`` the field of captions is read (`diptych.media.tables.COLUMNS`), or it is a list of captions;
``.cls`` is a class, by number or name. What macOS leaves in archives is passed over; a sample that says
nothing is left out and counted in the report.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from diptych.data.base import Dataset, Pictures, Split, captioned
from diptych.data.pictures import tar_slices
from diptych.data.reading import Read, common_name
from diptych.errors import BadData
from diptych.media.captions import lines
from diptych.media.cells import captions as in_cell
from diptych.media.cells import is_missing, texts
from diptych.media.pictures import SUFFIXES, is_picture
from diptych.media.report import Report
from diptych.media.textfiles import parsed

__all__ = ["FORM", "read", "recognises"]

FORM = "webdataset shards (.tar, or a folder of them)"

_SILENT = "has no text"


def recognises(path: Path) -> bool:
    """Whether the path is a tar file, or a folder of tar files."""
    return path.suffix.lower() == ".tar" or (path.is_dir() and any(path.glob("*.tar")))


def read(path: Path) -> Dataset:
    """The shards as a data set; shards whose names begin alike (``train-000000.tar``) are one split.

    Raises:
        BadData: if a shard is damaged or compressed, or no picture has a text.
    """
    report = Report()
    shards = sorted(path.glob("*.tar")) if path.is_dir() else [path]
    by_split: dict[str, list[Path]] = {}
    for shard in shards:
        name = common_name(re.sub(r"[-_.]?\d*$", "", shard.stem) or "all")
        by_split.setdefault(name, []).append(shard)
    samples = {name: [_samples(shard, report) for shard in some] for name, some in by_split.items()}
    names = {
        sample["cls"].strip()
        for some in samples.values()
        for _, _, found in some
        for sample in found.values()
        if "cls" in sample
    }
    classes = _classes(names - {""})
    parts = {name: _split(some, classes, report) for name, some in samples.items()}
    parts = {name: part for name, part in parts.items() if len(part)}
    if not parts:
        first = Path(next(left.first[0] for left in report.left if left.reason == _SILENT))
        raise BadData(
            f"{first.parent} has no text for picture {first.stem!r}: a .txt or a .json with a caption is "
            "needed"
        )
    return Read(path.stem, parts, report, class_names=classes)


def _classes(names: set[str]) -> tuple[str, ...]:
    """All classes in the order of their columns: numbers from 0 without a gap, or names."""
    if names and all(re.fullmatch(r"\d{1,6}", name) for name in names):
        return tuple(map(str, range(max(map(int, names)) + 1)))
    return tuple(sorted(names))


_Shard = tuple[Path, Mapping[str, str], Mapping[str, Mapping[str, str]]]


def _samples(shard: Path, report: Report) -> _Shard:
    """The shard, the picture of each key, and the other (text) parts of each key."""
    pictures: dict[str, str] = {}
    others: dict[str, dict[str, str]] = {}
    with shard.open("rb") as file:
        for name, (offset, length) in tar_slices(shard).items():
            base, _, ending = PurePosixPath(name).name.partition(".")
            if not base or "__MACOSX" in PurePosixPath(name).parts:
                continue  # hidden, such as the ._a.jpg of macOS
            key = str(PurePosixPath(name).with_name(base))
            if is_picture(name):
                pictures[key] = name
            elif ending.lower() in ("txt", "json", "cls"):
                file.seek(offset)
                try:
                    text = "\n".join(lines(file.read(length)))
                except BadData as error:
                    report.leave("files", str(error), f"{shard.name}/{name}")
                else:
                    others.setdefault(key, {})[ending.lower()] = text
    if not pictures:
        raise BadData(f"{shard} holds no pictures; known endings: {', '.join(sorted(SUFFIXES))}")
    return shard, pictures, others


def _split(shards: list[_Shard], classes: tuple[str, ...], report: Report) -> Split:
    images = Pictures([])
    captions: list[list[str]] = []
    labels: list[list[str]] = []
    ids: list[str] = []
    for shard, pictures, others in shards:
        used: list[str] = []
        for key, member in pictures.items():
            parts = others.get(key, {})
            found = _captions(f"{shard.name}/{key}", parts, report)
            shown = _class(parts, classes)
            if not found and not shown:
                report.leave("pictures", _SILENT, f"{shard}/{member}")
                continue
            used.append(member)
            captions.append(found)
            labels.append(shown)
            ids.append(f"{shard.stem}/{key}")
        images += Pictures.from_tar(shard, used)
    return captioned(images, captions, labels=labels if classes else None, class_names=classes, image_id=ids)


def _class(parts: Mapping[str, str], classes: tuple[str, ...]) -> list[str]:
    name = parts.get("cls", "").strip()
    if name and name not in classes:  # 007 of numbered classes
        name = str(int(name))
    return [name] if name else []


def _captions(sample: str, parts: Mapping[str, str], report: Report) -> list[str]:
    if "txt" in parts:
        return [line for line in parts["txt"].splitlines() if not is_missing(line)]
    if "json" not in parts:
        return []
    try:
        content = parsed(parts["json"])
    except BadData as error:
        report.leave("files", str(error), f"{sample}.json")
        return []
    if isinstance(content, Mapping):
        return texts(content)
    return in_cell(content) if isinstance(content, list | str) else []
