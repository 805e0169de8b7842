"""Queries of a picture and a change in words: CIRR, CIRCO and FashionIQ, from their own files.

A query names its reference, the change, and what is meant; the pictures themselves are found by their names
by whoever has them. Each file is read in the form in which its authors give it, or as JSON Lines of the
same rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.data.readers import tables
from diptych.errors import BadData, MissingData, UnknownName
from diptych.media.textfiles import parsed

__all__ = ["READERS", "Composed", "ComposedQuery", "circo", "cirr", "fashioniq"]


@dataclass(frozen=True, slots=True)
class ComposedQuery:
    """One query.

    Args:
        reference: Name of the picture that is to be changed.
        change: What is to be otherwise, in words.
        targets: Names of all pictures that are meant; none where they are kept back.
        subset: Names of the few pictures that are much like the reference; CIRR's alone.
        category: In which part of the gallery is searched; FashionIQ's alone.
    """

    reference: str
    change: str
    targets: tuple[str, ...]
    subset: tuple[str, ...] = ()
    category: str = ""


@dataclass(frozen=True, slots=True)
class Composed:
    """A set of such queries.

    Args:
        name: Of the set.
        queries: In the order of the file.
        gallery: Names of the pictures that are searched, by category; empty where the set lists none.
    """

    name: str
    queries: Sequence[ComposedQuery]
    gallery: Mapping[str, Sequence[str]]


def cirr(folder: Path, split: str = "val") -> Composed:
    """CIRR (Liu et al., ICCV 2021): one target a query, and a subset of six pictures.

    Args:
        folder: With ``cap.rc2.SPLIT.json`` and ``split.rc2.SPLIT.json`` (as in the authors' ``captions`` and
            ``image_splits``), or ``cirr_SPLIT.jsonl.gz`` and ``cirr_image_splits.jsonl.gz``.
        split: "val", or "test1", whose targets are kept back.

    Raises:
        MissingData: a file is not there.
        BadData: it is not of this form; the message gives the row.
    """
    rows = _rows(folder, f"cirr_{split}.jsonl.gz", f"cap.rc2.{split}.json", f"captions/cap.rc2.{split}.json")
    queries = []
    for at, row in enumerate(rows, 1):
        with _row("CIRR", at):
            members = tuple(str(one) for one in row["img_set"]["members"])
            target = row.get("target_hard")
            targets = (str(target),) if target else ()
            queries.append(ComposedQuery(str(row["reference"]), str(row["caption"]), targets, members))
    images = _split(folder, "cirr", split, f"split.rc2.{split}.json", f"image_splits/split.rc2.{split}.json")
    return Composed(f"CIRR {split}", queries, {"": images})


def circo(folder: Path, split: str = "val") -> Composed:
    """CIRCO (Baldrati et al., ICCV 2023): several targets a query, among COCO's unlabelled pictures.

    Args:
        folder: With ``SPLIT.json`` (as in the authors' ``annotations``) or ``circo_SPLIT.jsonl.gz``.
        split: "val", or "test", whose targets are kept back.

    Raises:
        MissingData, BadData: as for `cirr`.
    """
    rows = _rows(folder, f"circo_{split}.jsonl.gz", f"{split}.json", f"annotations/{split}.json")
    queries = []
    for at, row in enumerate(rows, 1):
        with _row("CIRCO", at):
            targets = tuple(str(one) for one in row.get("gt_img_ids") or ())
            queries.append(ComposedQuery(str(row["reference_img_id"]), str(row["relative_caption"]), targets))
    return Composed(f"CIRCO {split}", queries, {})


def fashioniq(folder: Path, split: str = "val") -> Composed:
    """FashionIQ (Wu et al., CVPR 2021): two changes a query, which are joined, in three categories.

    Args:
        folder: With ``cap.CATEGORY.SPLIT.json`` and ``split.CATEGORY.SPLIT.json`` (as in the authors'
            ``captions`` and ``image_splits``), or ``fashioniq_SPLIT.jsonl.gz`` and
            ``fashioniq_image_splits.jsonl.gz``.
        split: "train", "val", or "test", whose targets are kept back.

    Raises:
        MissingData, BadData: as for `cirr`.
    """
    categories = ("dress", "shirt", "toptee")
    try:
        rows = _rows(folder, f"fashioniq_{split}.jsonl.gz")
    except MissingData:
        rows = [
            {"category": one, **row}
            for one in categories
            for row in _rows(folder, f"cap.{one}.{split}.json", f"captions/cap.{one}.{split}.json")
        ]
    queries = []
    for at, row in enumerate(rows, 1):
        with _row("FashionIQ", at):
            change = " and ".join(str(one).strip() for one in row["captions"])
            targets = (str(row["target"]),) if row.get("target") else ()
            queries.append(ComposedQuery(str(row["candidate"]), change, targets, (), str(row["category"])))
    gallery = {
        one: _split(
            folder,
            "fashioniq",
            f"{one}_{split}",
            f"split.{one}.{split}.json",
            f"image_splits/split.{one}.{split}.json",
        )
        for one in categories
    }
    return Composed(f"FashionIQ {split}", queries, gallery)


READERS = {"cirr": cirr, "circo": circo, "fashioniq": fashioniq}
"""The sets by name."""


def _rows(folder: Path, *names: str) -> list[dict[str, Any]]:
    """The rows of the first of these files that is there."""
    for name in names:
        path = folder / name
        if path.is_file():
            found = parsed(path.read_text(encoding="utf-8")) if path.suffix == ".json" else tables.rows(path)
            if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
                raise BadData(f"{path} is no list of queries; fetch it again")
            return found
    raise MissingData(f"{folder} has no {' or '.join(names)}; fetch it from where the set's authors give it")


def _split(folder: Path, name: str, part: str, *files: str) -> list[str]:
    """The names of the pictures that are searched."""
    lines = folder / f"{name}_image_splits.jsonl.gz"
    if lines.is_file():
        found = {str(row["split"]): row["images"] for row in tables.rows(lines, "split", "images")}
        if part not in found:
            raise UnknownName(f"split of {lines.name}", part, found)
        return [str(one) for one in found[part]]
    for file in files:
        if (folder / file).is_file():
            images = parsed((folder / file).read_text(encoding="utf-8"))
            if not isinstance(images, dict | list):
                raise BadData(f"{folder / file} is no list of pictures; fetch it again")
            return [str(one) for one in images]
    raise MissingData(f"{folder} has no {' or '.join(files)}; fetch it from where the set's authors give it")


class _row:
    """A block that reads one row; what it lacks is said with the row's number."""

    def __init__(self, name: str, at: int) -> None:
        self.name, self.at = name, at

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, KeyError | TypeError):
            raise BadData(
                f"row {self.at} of {self.name} is not as its authors give it ({json.dumps(str(error))})"
            ) from error
