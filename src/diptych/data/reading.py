"""What the readers of people's own data share: where pictures are, what was left out, names of splits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.base import Dataset, Loaded, Protocol, Split
from diptych.data.contents import contents_sha256
from diptych.data.pictures import Pictures, open_zip, tar_slices
from diptych.errors import BadData, ImageError
from diptych.media.names import Matched, Names, below, match
from diptych.media.pictures import is_picture
from diptych.media.report import Report

__all__ = ["Place", "Read", "common_name", "report_of", "split_names"]

_COMMON = {
    "training": "train", "trn": "train", "valid": "val", "validate": "val", "eval": "val",
    "testing": "test", "tst": "test",
}  # fmt: skip
_SPLITS = ("train", "val", "validation", "dev", "test", "query", "database")


class Read(Loaded):
    """A data set that was read from somebody's files, and the report of what was not used.

    Args:
        name: Any name.
        parts: The splits by name, at least one.
        report: What was left out; what was used is counted here.
        protocols, class_names: As for `Loaded`.

    Attributes:
        report: Of what was used and what was not.
    """

    def __init__(
        self,
        name: str,
        parts: Mapping[str, Split],
        report: Report | None = None,
        *,
        protocols: Mapping[str, Protocol] | None = None,
        class_names: Sequence[str] = (),
    ) -> None:
        super().__init__(name, parts, protocols=protocols, class_names=class_names)
        self.report = report or Report()
        self.report.use(splits=len(parts))
        for part in parts.values():
            captioned = len(np.unique(part.pairs[:, 0]))
            self.report.use(pictures=captioned or len(part.image), captions=len(part.text))
        for (one, first), (other, second) in combinations(parts.items(), 2):
            if _same(first, second):
                self.report.remarks.append(
                    f"the splits {one!r} and {other!r} hold the same pictures and captions: what is measured "
                    "on one was seen in the other"
                )

    def cases(self, protocol: str | None = None) -> Iterator[tuple[Split, Split]]:
        """Query and gallery of each fold of a protocol.

        Raises:
            BadData: one of them has no pictures or no captions to ask or to be found.
        """
        for query, gallery in super().cases(protocol):
            for part in (query, gallery):
                lacking = "captions" if not len(part.text) else "pictures" if not len(part.image) else ""
                if lacking:
                    raise BadData(
                        f"{self.name} has no {lacking} to evaluate with ({part!r}); "
                        "pictures and captions are both needed"
                    )
            yield query, gallery


def report_of(dataset: Dataset) -> Report | None:
    """What was used of the files of a data set, and what was not; None of a set with a known home.

    A view that has left out more of them (`diptych.data.views.Featured`) has a report of its own.
    """
    while not hasattr(dataset, "report") and (inner := getattr(dataset, "inner", None)) is not None:
        dataset = inner
    return getattr(dataset, "report", None)


def common_name(name: str) -> str:
    """The usual name of a split: "valid" is "val", "Training" is "train"; any other stays as it is."""
    lower = name.strip().lower()
    return lower if lower in _SPLITS else _COMMON.get(lower, name)


def split_names(names: Iterable[str]) -> dict[str, str]:
    """Which of the names are those of splits, in the order in which splits are used, with the usual name."""
    found = {name: common_name(name) for name in names}
    named = [name for name in found if found[name] in _SPLITS]
    return {name: found[name] for name in sorted(named, key=lambda name: _SPLITS.index(found[name]))}


@dataclass
class Place:
    """A folder, a ZIP or an uncompressed tar in which pictures are looked for by the names of a list.

    Args:
        root: The folder or archive.
        folders: In which of its folders they usually are, likeliest first.
    """

    root: Path
    folders: Sequence[str] = ()

    def match(self, names: Iterable[str]) -> Matched:
        """Which picture each name means.

        Raises:
            MissingData, BadData: the archive is not there, or damaged.
        """
        if self.root.is_dir():
            return match(names, self._is_file, self._below, folders=self.folders, place=self.root.as_posix())
        inside = set(self._members)
        return match(names, inside.__contains__, lambda _: Names(self._members), folders=self.folders)

    def pictures(self, paths: Sequence[str]) -> Pictures:
        """The pictures of these paths, as `match` found them."""
        if self.root.is_dir():
            return Pictures.from_folder(self.root, paths)
        if self.root.suffix.lower() == ".tar":
            return Pictures.from_tar(self.root, paths)
        return Pictures.from_zip(self.root, paths)

    def leave(self, report: Report, matched: Matched) -> None:
        """Count the names that mean no picture."""
        for name, reason in matched.lost.items():
            report.leave("names", f"{reason} ({self.root.name})", name)

    def _is_file(self, path: str) -> bool:
        try:
            return (self.root / path).is_file()
        except (OSError, ValueError):  # no file system has such a name
            return False

    def _below(self, names: Sequence[str]) -> Names:
        return below(self.root, names)

    @cached_property
    def _members(self) -> list[str]:
        tar = self.root.suffix.lower() == ".tar"
        inside: Iterable[str] = tar_slices(self.root) if tar else _zip_members(self.root)
        return [name for name in inside if is_picture(name)]


def _zip_members(archive: Path) -> list[str]:
    with open_zip(archive) as file:
        return file.namelist()


def _same(one: Split, other: Split) -> bool:
    """Whether two splits hold the same; what costs little is compared first."""
    if len(one.image) != len(other.image) or not _equal(one.text, other.text):
        return False
    if isinstance(one.image, np.ndarray) or isinstance(other.image, np.ndarray):
        return _equal(one.image, other.image)
    if not (isinstance(one.image, Pictures) and isinstance(other.image, Pictures)):
        return False
    try:
        return contents_sha256(one.image, "image") == contents_sha256(other.image, "image")
    except ImageError:
        return False  # whoever looks at that picture is told


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return type(one) is type(other) and np.array_equal(one, other)
    return list(one) == list(other)
