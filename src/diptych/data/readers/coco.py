"""Reads captions and object labels in COCO's JSON form: ``captions_*.json`` and ``instances_*.json``.

The two files share image ids: captions give the texts, instances the classes shown (either may be missing).
The pictures lie in the folder named after part and year (``train2017``), in ``images``, or in a ZIP of these
names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych.data.base import Absent, Dataset, Split, captioned
from diptych.data.pictures import pictures_in
from diptych.data.reading import Place, Read
from diptych.errors import BadData, MissingData
from diptych.media.cells import is_missing, one_line
from diptych.media.report import Report
from diptych.media.structured import image_names
from diptych.media.textfiles import parsed
from diptych.printable import type_of

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
        BadData: if a file is not in this form. Pictures and captions that are missing are left out, and
            counted in the report.
    """
    report = Report()
    if path.is_dir():
        parts = _parts(path)
    else:
        # The other file of the same part belongs to it: captions alone have no classes.
        part = path.stem.removeprefix("captions_").removeprefix("instances_")
        kind = "instances" if path.name.startswith("instances_") else "captions"
        parts = {part: {kind: path}}
    found = {
        _common_name(name): split(files.get("captions"), files.get("instances"), pictures, report=report)
        for name, files in parts.items()
    }
    named = next((files["instances"] for files in parts.values() if "instances" in files), None)
    return Read(path.stem, found, report, class_names=categories(named) if named else ())


def split(
    captions: Path | None,
    instances: Path | None,
    pictures: Path | None = None,
    *,
    only_labelled: bool = False,
    report: Report | None = None,
) -> Split:
    """One part of COCO: every image that either file lists, in the order of the files.

    Args:
        captions: ``captions_X.json``; None leaves images without texts.
        instances: ``instances_X.json``; None leaves out labels.
        pictures: Folder or archive of the pictures; default: looked for beside the annotations.
        only_labelled: Leave out images without any object, as the hashing protocols do.
        report: Told of pictures that are not there and captions that are missing, which are then left out;
            without it, a picture that is not there is an error.
    """
    texts, text_ids, files = _captions(captions) if captions else ({}, {}, {})
    shown: dict[str, list[str]] = {}
    names: tuple[str, ...] = ()
    if instances:
        shown, more = _objects(instances)
        files = {**files, **more}
        names = categories(instances)
    ids = [number for number in files if not only_labelled or shown.get(number)]
    file = captions or instances
    if file is None:
        raise MissingData("neither captions nor instances of COCO were given")
    if report is None:
        images = _pictures(file, [files[number] for number in ids], pictures)
    else:
        _tidy(file, texts, text_ids, files, report)
        ids, images = _found(file, ids, files, pictures, report)
    return captioned(
        images,
        [texts.get(number, []) for number in ids],
        labels=[shown.get(number, []) for number in ids] if instances else None,
        class_names=names,
        image_id=[str(number) for number in ids],
        text_id=[one for number in ids for one in text_ids.get(number, [])],
    )


def categories(instances: Path) -> tuple[str, ...]:
    """Names of the classes, by their COCO id (80 classes; the ids have gaps, the columns do not)."""
    return tuple(name for _, name in sorted(_categories(_load(instances), instances).items(), key=_by_id))


def _categories(content: Mapping[str, Any], file: Path) -> dict[str, str]:
    try:
        return {str(one["id"]): str(one["name"]) for one in content["categories"]}
    except (KeyError, TypeError) as error:
        raise BadData(f"{file} is not COCO's instances form ({error!r})") from error


def _by_id(category: tuple[str, str]) -> tuple[int, int, str]:
    number = category[0]
    return (0, int(number), "") if number.isdecimal() else (1, 0, number)


def _captions(file: Path) -> tuple[dict[str, list[str]], dict[str, list[str]], dict[str, str]]:
    """Captions, their ids, and the picture's file name, each by image id."""
    content = _load(file)
    texts: dict[str, list[str]] = {}
    ids: dict[str, list[str]] = {}
    try:
        files = image_names(content["images"])
        for one in content["annotations"]:
            texts.setdefault(str(one["image_id"]), []).append(str(one["caption"]).strip())
            ids.setdefault(str(one["image_id"]), []).append(str(one["id"]))
    except (KeyError, TypeError) as error:
        raise BadData(f"{file} is not COCO's captions form ({error!r})") from error
    return texts, ids, files


def _objects(file: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Names of the classes shown, and the picture's file name, by image id."""
    content = _load(file)
    names = _categories(content, file)
    shown: dict[str, list[str]] = {}
    try:
        files = image_names(content["images"])
        for one in content["annotations"]:
            row = shown.setdefault(str(one["image_id"]), [])
            if names[str(one["category_id"])] not in row:
                row.append(names[str(one["category_id"])])
    except (KeyError, TypeError) as error:
        raise BadData(f"{file} is not COCO's instances form ({error!r})") from error
    return shown, files


def _tidy(
    file: Path,
    texts: dict[str, list[str]],
    text_ids: dict[str, list[str]],
    files: Mapping[str, str],
    report: Report,
) -> None:
    """Drop captions that say nothing, or of images that are not listed; put each in one line."""
    for number, said in texts.items():
        if number not in files:
            report.leave("captions", f"their image is not listed in {file.name}", *text_ids[number])
            continue
        pairs = list(zip(said, text_ids[number], strict=True))
        empty = [one for text, one in pairs if is_missing(text)]
        report.leave("captions", f"is empty in {file.name}", *empty)
        texts[number] = [one_line(text) for text, _ in pairs if not is_missing(text)]
        text_ids[number] = [one for text, one in pairs if not is_missing(text)]


def _found(
    file: Path, ids: Sequence[str], files: Mapping[str, str], pictures: Path | None, report: Report
) -> tuple[list[str], Sequence[Any]]:
    """The images whose pictures are there, and these; all of them, absent, if none is."""
    options = _options(file, pictures)
    for option in (one for one in options if one.exists()):
        place = Place(option)
        matched = place.match([files[number] for number in ids])
        if matched.found:
            place.leave(report, matched)
            here = [number for number in ids if files[number] in matched.found]
            return here, place.pictures([matched.found[files[number]] for number in here])
    return list(ids), _absent(file, len(ids), options)


def _load(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        raise MissingData(f"{file} is not there")
    try:
        content = parsed(file.read_text(encoding="utf-8"))
    except (BadData, UnicodeDecodeError) as error:
        raise BadData(f"{file} is not whole ({error})") from error
    if not isinstance(content, dict):
        raise BadData(f"{file} is not COCO's form: it holds {type_of(content)}, not an object")
    return content


def _pictures(file: Path, names: Sequence[str], place: Path | None) -> Sequence[Any]:
    options = _options(file, place)
    for option in options:
        if option.is_file() or (names and (option / names[0]).is_file()):
            return pictures_in(option, names)
    return _absent(file, len(names), options)


def _options(file: Path, place: Path | None) -> list[Path]:
    """Where the pictures may be, likeliest first."""
    part = file.stem.removeprefix("captions_").removeprefix("instances_")
    homes = [file.parent, file.parent.parent]
    beside = [home / name for home in homes for name in (part, f"{part}.zip", "images", "images.zip")]
    return [place] if place else [*beside, *(home / "images" / part for home in homes)]


def _absent(file: Path, count: int, options: Sequence[Path]) -> Absent:
    return Absent(count, f"the pictures of {file} are not in {' or '.join(map(str, options[:4]))}")


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
