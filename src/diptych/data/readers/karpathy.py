"""Reads caption files in Andrej Karpathy's form: ``dataset_flickr8k.json``, ``dataset_coco.json`` and so on.

One JSON object with a list ``images``; each has ``filename`` (and ``filepath``, its folder), ``split`` and
``sentences``, each with ``raw``. COCO's split "restval" counts as "train", as everywhere in the literature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych.data.base import Absent, Dataset, Split, captioned
from diptych.data.pictures import pictures_in
from diptych.data.reading import Place, Read, common_name
from diptych.errors import BadData
from diptych.media.cells import is_missing, one_line
from diptych.media.report import Report
from diptych.media.textfiles import parsed

__all__ = ["FORM", "read", "recognises", "splits"]

FORM = "Karpathy's JSON (a list `images` with filename, split and sentences)"


def recognises(path: Path) -> bool:
    """Whether the path is such a file, or a folder that holds one called dataset_*.json."""
    if path.is_dir():
        return len(list(path.glob("dataset*.json"))) == 1
    if path.suffix.lower() != ".json":
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        start = file.read(4096)
    return '"sentences"' in start or '"sentids"' in start


def read(path: Path, *, pictures: Path | None = None) -> Dataset:
    """The file as a data set.

    Args:
        path: The file, or the folder that holds it.
        pictures: Folder or archive of the pictures; default: ``images`` beside the file, or its folder.

    Raises:
        BadData: if it is not such a file. Pictures and captions that are missing are left out, and counted in
            the report.
    """
    report = Report()
    file = next(iter(path.glob("dataset*.json"))) if path.is_dir() else path
    found = {common_name(name): part for name, part in splits(file, pictures, report=report).items()}
    return Read(file.stem.removeprefix("dataset_"), found, report)


def splits(
    file: Path, pictures: Path | None = None, restval: bool = True, report: Report | None = None
) -> dict[str, Split]:
    """Every split of the file.

    Args:
        file: The JSON.
        pictures: Folder or archive of the pictures; default as for `read`.
        restval: Count COCO's "restval" as "train"; else it stays a split of its own.
        report: Told of pictures that are not there and captions that are missing, which are then left out;
            without it, a picture that is not there is an error.
    """
    try:
        content = parsed(file.read_text(encoding="utf-8"))
    except (BadData, UnicodeDecodeError) as error:
        raise BadData(f"{file} is not in Karpathy's form ({error})") from error
    try:
        images: Sequence[Mapping[str, Any]] = content["images"]
        by_split: dict[str, list[Mapping[str, Any]]] = {}
        for image in images:
            name = "train" if image["split"] == "restval" and restval else image["split"]
            by_split.setdefault(name, []).append(image)
        if report is None:
            return {name: _split(file, part, pictures) for name, part in by_split.items()}
        return {name: _found(file, part, pictures, report) for name, part in by_split.items()}
    except (KeyError, TypeError) as error:
        raise BadData(f"{file} is not in Karpathy's form ({error!r})") from error


def _found(file: Path, images: Sequence[Mapping[str, Any]], pictures: Path | None, report: Report) -> Split:
    """One split of the images whose pictures are there, all if none is, with the captions that are any."""
    tidy: list[Mapping[str, Any]] = []
    for image in images:
        sentences = [one for one in image["sentences"] if not is_missing(one["raw"])]
        empty = len(image["sentences"]) - len(sentences)
        report.leave("captions", f"is empty in {file.name}", str(image["filename"]), count=empty)
        tidy.append({**image, "sentences": [{**one, "raw": one_line(str(one["raw"]))} for one in sentences]})
    names = [Path(image.get("filepath") or "", image["filename"]).as_posix() for image in tidy]
    for option in _options(file, pictures):
        if not option.exists():
            continue
        place = Place(option, ("images",))
        matched = place.match(names)
        if matched.found:
            place.leave(report, matched)
            here = [
                (one, matched.found[name])
                for one, name in zip(tidy, names, strict=True)
                if name in matched.found
            ]
            return _split(file, [one for one, _ in here], place.pictures([path for _, path in here]))
    return _split(file, tidy, _absent(file, len(tidy), _options(file, pictures)))


def _split(file: Path, images: Sequence[Mapping[str, Any]], pictures: Path | Sequence[Any] | None) -> Split:
    if pictures is None or isinstance(pictures, Path):
        pictures = _pictures(file, images, pictures)
    ids = [str(image["filename"]) for image in images]
    captions = [[str(sentence["raw"]).strip() for sentence in image["sentences"]] for image in images]
    text_ids = [
        str(sentence.get("sentid", f"{name}#{number}"))
        for name, image in zip(ids, images, strict=True)
        for number, sentence in enumerate(image["sentences"])
    ]
    return captioned(pictures, captions, image_id=ids, text_id=text_ids)


def _pictures(file: Path, images: Sequence[Mapping[str, Any]], place: Path | None) -> Sequence[Any]:
    """The pictures, in the folder that ``filepath`` names if they are there, else in the place itself."""
    options = _options(file, place)
    flat = [str(image["filename"]) for image in images]
    nested = [str(Path(image.get("filepath", ""), image["filename"]).as_posix()) for image in images]
    for option in options:
        if option.is_file():
            return pictures_in(option, flat)
        for names in (nested, flat):
            if names and (option / names[0]).is_file():
                return pictures_in(option, names)
    return _absent(file, len(flat), options)


def _options(file: Path, place: Path | None) -> list[Path]:
    """Where the pictures may be, likeliest first."""
    return [place] if place else [file.parent / "images", file.parent / "images.zip", file.parent]


def _absent(file: Path, count: int, options: Sequence[Path]) -> Absent:
    return Absent(count, f"the pictures of {file} are not in {' or '.join(map(str, options))}")
