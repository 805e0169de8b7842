"""Reads captions and object labels in COCO's JSON form: ``captions_*.json`` and ``instances_*.json``.

The two files share image ids: captions give the texts, instances the classes shown (either may be missing).
The pictures lie in the folder named after part and year (``train2017``), in ``images``, or in a ZIP of these
names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych.data.base import Absent, Dataset, Loaded, Split, captioned
from diptych.data.pictures import pictures_in
from diptych.errors import BadData, MissingData
from diptych.media.textfiles import parsed

__all__ = ["CLASSES", "FORM", "categories", "read", "recognises", "split"]

CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase",
    "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""The 80 classes, in the order of their COCO ids."""

FORM = "COCO's JSON (captions_*.json, instances_*.json)"


def recognises(path: Path) -> bool:
    """Whether the path is such a file, or a folder with such files in it or in ``annotations``."""
    if path.is_dir():
        return bool(_parts(path))
    if path.suffix.lower() != ".json":
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        start = file.read(65536)
    return (
        '"annotations"' in start
        or path.name.startswith(("captions_", "instances_"))
        or '"file_name"' in start
    )


def read(path: Path, *, pictures: Path | None = None) -> Dataset:
    """The files as a data set; each year and part (``train2017``) is a split.

    Args:
        path: A captions or instances file, or the folder of both, or of ``annotations``.
        pictures: Folder or archive of the pictures, if elsewhere.

    Raises:
        BadData: if a file is not in this form, or pictures are missing.
    """
    if path.is_dir():
        parts = _parts(path)
    else:
        # The other file of the same part belongs to it: captions alone have no classes.
        part = path.stem.removeprefix("captions_").removeprefix("instances_")
        kind = "instances" if path.name.startswith("instances_") else "captions"
        parts = {part: {kind: path}}
    found = {
        _common_name(name): split(files.get("captions"), files.get("instances"), pictures)
        for name, files in parts.items()
    }
    named = next((files["instances"] for files in parts.values() if "instances" in files), None)
    return Loaded(path.stem, found, class_names=categories(named) if named else ())


def split(
    captions: Path | None,
    instances: Path | None,
    pictures: Path | None = None,
    *,
    only_labelled: bool = False,
) -> Split:
    """One part of COCO: every image that either file lists, in the order of the files.

    Args:
        captions: ``captions_X.json``; None leaves images without texts.
        instances: ``instances_X.json``; None leaves out labels.
        pictures: Folder or archive of the pictures; default: looked for beside the annotations.
        only_labelled: Leave out images without any object, as the hashing protocols do.
    """
    texts, text_ids, files = _captions(captions) if captions else ({}, {}, {})
    shown: dict[int, list[str]] = {}
    names: tuple[str, ...] = ()
    if instances:
        shown, more = _objects(instances)
        files = {**files, **more}
        names = categories(instances)
    ids = [number for number in files if not only_labelled or shown.get(number)]
    file = captions or instances
    if file is None:
        raise MissingData("neither captions nor instances of COCO were given")
    return captioned(
        _pictures(file, [files[number] for number in ids], pictures),
        [texts.get(number, []) for number in ids],
        labels=[shown.get(number, []) for number in ids] if instances else None,
        class_names=names,
        image_id=[str(number) for number in ids],
        text_id=[one for number in ids for one in text_ids.get(number, [])],
    )


def categories(instances: Path) -> tuple[str, ...]:
    """Names of the classes, by their COCO id (80 classes; the ids have gaps, the columns do not)."""
    return tuple(name for _, name in sorted(_categories(_load(instances), instances).items()))


def _categories(content: Mapping[str, Any], file: Path) -> dict[int, str]:
    try:
        return {int(one["id"]): str(one["name"]) for one in content["categories"]}
    except (KeyError, TypeError) as error:
        raise BadData(f"{file} is not COCO's instances form ({error!r})") from error


def _captions(file: Path) -> tuple[dict[int, list[str]], dict[int, list[str]], dict[int, str]]:
    """Captions, their ids, and the picture's file name, each by image id."""
    content = _load(file)
    texts: dict[int, list[str]] = {}
    ids: dict[int, list[str]] = {}
    try:
        files = {int(one["id"]): str(one["file_name"]) for one in content["images"]}
        for one in content["annotations"]:
            texts.setdefault(int(one["image_id"]), []).append(str(one["caption"]).strip())
            ids.setdefault(int(one["image_id"]), []).append(str(one["id"]))
    except (KeyError, TypeError) as error:
        raise BadData(f"{file} is not COCO's captions form ({error!r})") from error
    return texts, ids, files


def _objects(file: Path) -> tuple[dict[int, list[str]], dict[int, str]]:
    """Names of the classes shown, and the picture's file name, by image id."""
    content = _load(file)
    names = _categories(content, file)
    shown: dict[int, list[str]] = {}
    try:
        files = {int(one["id"]): str(one["file_name"]) for one in content["images"]}
        for one in content["annotations"]:
            row = shown.setdefault(int(one["image_id"]), [])
            if names[int(one["category_id"])] not in row:
                row.append(names[int(one["category_id"])])
    except (KeyError, TypeError) as error:
        raise BadData(f"{file} is not COCO's instances form ({error!r})") from error
    return shown, files


def _load(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        raise MissingData(f"{file} is not there")
    try:
        content = parsed(file.read_text(encoding="utf-8"))
    except (BadData, UnicodeDecodeError) as error:
        raise BadData(f"{file} is not whole ({error})") from error
    if not isinstance(content, dict):
        raise BadData(f"{file} is not COCO's form: it holds a {type(content).__name__}, not an object")
    return content


def _pictures(file: Path, names: Sequence[str], place: Path | None) -> Sequence[Any]:
    part = file.stem.removeprefix("captions_").removeprefix("instances_")
    homes = [file.parent, file.parent.parent]
    beside = [home / name for home in homes for name in (part, f"{part}.zip", "images", "images.zip")]
    options = [place] if place else [*beside, *(home / "images" / part for home in homes)]
    for option in options:
        if option.is_file() or (names and (option / names[0]).is_file()):
            return pictures_in(option, names)
    return Absent(len(names), f"the pictures of {file} are not in {' or '.join(map(str, options[:4]))}")


def _parts(folder: Path) -> dict[str, dict[str, Path]]:
    """Captions and instances file of each part."""
    found: dict[str, dict[str, Path]] = {}
    for home in (folder, folder / "annotations"):
        for kind in ("captions", "instances"):
            for file in sorted(home.glob(f"{kind}_*.json")):
                found.setdefault(file.stem.removeprefix(f"{kind}_"), {})[kind] = file
    return found


def _common_name(part: str) -> str:
    """``train2017`` is called "train"."""
    plain = part.rstrip("0123456789")
    return plain if plain in ("train", "val", "test") else part
