"""Data sets with a known home: finding their files, refusing half of them, and remembering where they are.

A set comes in one or more variants (features, protocols), and each variant in one or more layouts: the forms
in which people have the originals. Nothing is copied. `Originals.prepare` checks a folder of originals and
writes a small ``originals.json`` that records where they are, with sizes and checksums; files put straight
into the set's own folder are found without it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import SIDES, Rows
from diptych.data.base import Dataset, Protocol, Split
from diptych.data.readers import arrays
from diptych.data.split import features
from diptych.errors import BadData, MissingData, UnknownName
from diptych.files import write

__all__ = ["Check", "Files", "Layout", "Originals", "data_home", "describe", "listed", "permuted"]

_MANIFEST = "originals.json"


def data_home() -> Path:
    """Where data sets are kept: DIPTYCH_DATA, or ``data`` in DIPTYCH_HOME, or in the user's data folder."""
    if given := os.environ.get("DIPTYCH_DATA"):
        return Path(given).expanduser()
    if home := os.environ.get("DIPTYCH_HOME"):
        return Path(home).expanduser() / "data"
    import platformdirs

    return Path(platformdirs.user_data_dir("diptych", appauthor=False)) / "data"


@dataclass(frozen=True, slots=True)
class Files:
    """A folder of originals. A need is a relative path, ``a|b`` for either, ``f.npz::k`` for an array."""

    folder: Path

    def option(self, need: str) -> str | None:
        """The alternative that meets the need; None if none does."""
        for option in need.split("|"):
            name, _, key = option.partition("::")
            path = self.folder / name
            if path.exists() and (not key or key in arrays.names(path)):
                return option
        return None

    def find(self, need: str) -> Path | None:
        """The file or folder that meets the need; None if none does."""
        option = self.option(need)
        return None if option is None else self.folder / option.partition("::")[0]

    def __contains__(self, need: str) -> bool:
        return self.find(need) is not None

    def __getitem__(self, need: str) -> Path:
        found = self.find(need)
        if found is None:
            raise MissingData(f"{self.folder} lacks {describe(need)}")
        return found


@dataclass(frozen=True)
class Layout:
    """One form in which the originals come.

    Args:
        title: What it is, for people.
        parts: What each split needs.
        read: From the files and a split's name, that split by name, and any others that came along with it.
        shared: What all splits need.
        spare: Needs without which a split can still be read, with `Absent` in the place of what is missing;
            `prepare` refuses all the same unless told to accept parts.
        sizes: Images and texts (None: any number) that each split must have, where that is known for certain.
        class_names: What each label column means.
        checksums: How the SHA-256 of a file begins, where that is known.
    """

    title: str
    parts: Mapping[str, tuple[str, ...]]
    read: Callable[[Files, str], Mapping[str, Split]]
    shared: tuple[str, ...] = ()
    spare: frozenset[str] = frozenset()
    sizes: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    checksums: Mapping[str, str] = field(default_factory=dict)

    @property
    def needs(self) -> list[str]:
        """Everything that any split needs."""
        return list(dict.fromkeys([*self.shared, *(need for part in self.parts.values() for need in part)]))

    def lacking(self, files: Files, split: str) -> list[str]:
        """What the split needs and does not find."""
        return [need for need in (*self.shared, *self.parts[split]) if need not in files]

    def absent(self, files: Files, split: str) -> bool:
        """Whether nothing of the split is there, so that it is missing and not damaged."""
        own = self.parts[split]
        return bool(own) and not any(need in files for need in own)


@dataclass(frozen=True, slots=True)
class Check:
    """One finding of `Originals.verify`."""

    what: str
    ok: bool
    detail: str


class Originals(Dataset):
    """A data set with a known home.

    Subclasses set `name`, `variants` and `protocols_of`, and say in their module's docstring (fields
    ``Home:`` and ``Files:``) where the originals come from.

    Args:
        root: Folder of the originals or of the prepared set, or a folder that has it inside under the set's
            name; default: under `data_home`.
        variant: One of `variants`; default: the first of which files are there, else the first.

    Raises:
        UnknownName: no such variant.
    """

    variants: Mapping[str, tuple[Layout, ...]]
    """Layouts of each variant; the first variant is the default."""
    protocols_of: Mapping[str, Mapping[str, Protocol]]
    """Protocols of each variant."""
    folders: tuple[str, ...] = ()
    """Other names that the set's folder may have under the data home."""

    def __init__(self, root: str | Path | None = None, *, variant: str | None = None) -> None:
        if variant is not None and variant not in self.variants:
            raise UnknownName(f"variant of {self.name}", variant, self.variants)
        self.root = self._root(root, variant)
        self.variant = variant or self._variant_here()
        self._loaded: dict[str, Split] = {}

    @classmethod
    def open(cls, root: str | Path | None = None, variant: str | None = None) -> Originals:
        """The set, or one of its variants, with its files under `root`.

        Raises:
            UnknownName: if there is no such variant.
        """
        return cls(root, variant=variant)

    def _root(self, root: str | Path | None, variant: str | None) -> Path:
        parent = data_home() if root is None else Path(root).expanduser()
        if root is not None and ((parent / _MANIFEST).is_file() or self._any_file(parent)):
            return parent
        names = (self.name, self.name.replace("_", "-"), *self.folders)
        homes = [parent / name for name in names if (parent / name).is_dir()]
        # Variants of one set can lie in folders of their own.
        for home in homes:
            if (home / _MANIFEST).is_file() or self._any_file(home, variant):
                return home
        if homes:
            return homes[0]
        return parent / self.name if root is None else parent

    def _any_file(self, folder: Path, variant: str | None = None) -> bool:
        files = Files(folder)
        chosen = self.variants.values() if variant is None else (self.variants[variant],)
        return any(need in files for layouts in chosen for way in layouts for need in way.needs)

    def _variant_here(self) -> str:
        """The first variant of which a whole split is there, else any file, else the first of all."""
        best = {variant: self._best(self.originals(variant), variant) for variant in self.variants}
        for variant, layout in best.items():
            files = self.originals(variant)
            if layout and any(not layout.lacking(files, split) for split in layout.parts):
                return variant
        return next((variant for variant, layout in best.items() if layout), next(iter(self.variants)))

    def originals(self, variant: str | None = None) -> Files:
        """Where the originals of a variant are, whether or not they are there.

        Raises:
            BadData: the record of `prepare` is damaged.
        """
        entry = self._manifest().get(variant or self.variant)
        return Files(Path(entry["folder"]) if entry else self.root)

    def _manifest(self) -> Mapping[str, Any]:
        path = self.root / _MANIFEST
        if not path.is_file():
            return {}
        try:
            found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))["variants"]
            return found
        except (ValueError, KeyError, TypeError) as error:
            raise BadData(f"{path} is damaged ({error}); delete it and prepare {self.name} again") from error

    def _best(self, files: Files, variant: str) -> Layout | None:
        """The layout of which most is there; None if nothing is."""
        counts = [sum(need in files for need in way.needs) for way in self.variants[variant]]
        return self.variants[variant][int(np.argmax(counts))] if any(counts) else None

    def layout(self) -> Layout:
        """The layout that the files have.

        Raises:
            MissingData: if there is none of the set's files.
        """
        found = self._best(self.originals(), self.variant)
        if found is None:
            raise MissingData(self.where())
        return found

    def where(self) -> str:
        """Where the originals come from and where to put them, in a sentence or two."""
        first = self.variants[self.variant][0]
        return (
            f"{self.name} ({self.variant}) is not in {self.originals().folder}. It comes from: "
            f"{self.field('Home').rstrip('.')}. Put {listed(first.needs)} there, "
            f"or let `diptych data prepare {self.name}:{self.variant}` record the folder where they are"
        )

    def _forms(self) -> str:
        """What each layout of the variant needs."""
        return "; or ".join(listed(layout.needs) for layout in self.variants[self.variant])

    def field(self, name: str) -> str:
        """One ``Field: text`` of the card; "" if the card does not have it."""
        match = re.search(rf"^{name}:[ ]*(.*(?:\n[ \t]+.*)*)", self.card, re.MULTILINE)
        return " ".join(match[1].split()) if match else ""

    @property
    def splits(self) -> tuple[str, ...]:  # type: ignore[override]
        """Every split of the variant, in the layout that is there or, if none is, the first."""
        found = self._best(self.originals(), self.variant)
        return tuple((found or self.variants[self.variant][0]).parts)

    @property
    def available(self) -> tuple[str, ...]:
        """The splits whose files are there."""
        layout, files = self._best(self.originals(), self.variant), self.originals()
        if layout is None:
            return ()
        return tuple(split for split in layout.parts if not set(layout.lacking(files, split)) - layout.spare)

    @property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """What each label column means; empty where nobody recorded it."""
        return (self._best(self.originals(), self.variant) or self.variants[self.variant][0]).class_names

    @property
    def protocols(self) -> Mapping[str, Protocol]:  # type: ignore[override]
        """Named ways to evaluate, those whose splits are there first; the very first is the default."""
        here, known = set(self.available), self.protocols_of[self.variant]
        return dict(sorted(known.items(), key=lambda item: not {item[1].query, item[1].gallery} <= here))

    def split(self, name: str) -> Split:
        """One split, read on first use.

        Raises:
            UnknownName: if there is none of that name.
            MissingData: if its files are not there.
            BadData: if only some of them are, or their contents are not as expected.
        """
        if name not in self._loaded:
            layout, files = self.layout(), self.originals()
            self.check_split(name)
            self._refuse_half(layout, files, name, tolerated=layout.spare)
            for part, split in self._read(layout, files, name).items():
                _check_size(f"{part} of {self.name}", split, layout.sizes.get(part))
                for side in SIDES:
                    if isinstance(values := getattr(split, side), np.ndarray):
                        features(values, f"{self.name}: {part} {side}")
                self._loaded[part] = split
        return self._loaded[name]

    def _read(self, layout: Layout, files: Files, name: str) -> Mapping[str, Split]:
        """What the reader returns; files that are not what they are called must not end in a traceback."""
        try:
            return layout.read(files, name)
        except (KeyError, ValueError, OSError) as error:
            raise BadData(
                f"{files.folder} is not {self.name} in the form of {layout.title}: "
                f"{type(error).__name__} {error}"
            ) from error

    def _refuse_half(self, layout: Layout, files: Files, split: str, tolerated: frozenset[str]) -> None:
        lacking = [need for need in layout.lacking(files, split) if need not in tolerated]
        if not lacking:
            return
        if layout.absent(files, split):
            others = ", ".join(self.available) or "none"
            raise MissingData(
                f"the split {split!r} of {self.name} is not in {files.folder} (splits that are: {others}). "
                f"It comes from: {self.field('Home')}"
            )
        there = [one for one in map(files.option, (*layout.shared, *layout.parts[split])) if one]
        raise BadData(
            f"{files.folder} holds only a part of {self.name} ({split}): "
            f"{listed(lacking)} missing, while {listed(there)} {'is' if len(there) == 1 else 'are'} there"
        )

    def prepare(self, originals: str | Path | None = None, *, partial: bool = False) -> Path:
        """Check a folder of originals, read every split once, and remember where it is.

        Args:
            originals: The folder; default: the set's own folder.
            partial: Accept a set of which a spare part is missing.

        Returns:
            The record written.

        Raises:
            MissingData: none of the set's files is there.
            BadData: only some of a split's files are, or their contents are not as expected.
        """
        files = Files(Path(originals).expanduser().resolve() if originals else self.originals().folder)
        layout = self._best(files, self.variant) if files.folder.is_dir() else None
        if layout is None:
            if originals is None:
                raise MissingData(self.where())
            of = f"the files of {self.name}:{self.variant}"
            raise MissingData(
                (
                    f"{files.folder} holds none of {of}, which are "
                    if files.folder.is_dir()
                    else f"{files.folder} is not a folder; give the one with {of}, "
                )
                + f"{self._forms()}. They come from: {self.field('Home')}"
            )
        for split in layout.parts:
            if not layout.absent(files, split) or layout.lacking(files, split) == list(layout.shared):
                self._refuse_half(layout, files, split, layout.spare if partial else frozenset())
        source = type(self)(files.folder, variant=self.variant)
        if not source.available:
            there = [one for one in map(files.option, layout.needs) if one]
            lacking = [need for need in layout.needs if need not in files]
            raise BadData(
                f"{files.folder} holds only {listed(there)} of {self.name}; missing: {listed(lacking)}"
            )
        for split in source.available:
            source.split(split)
        entry = {
            "folder": str(files.folder),
            "layout": layout.title,
            "splits": list(source.available),
            "files": {need: _fingerprint(files[need]) for need in layout.needs if need in files},
        }
        manifest = {"format": 1, "dataset": self.name, "variants": {**self._manifest(), self.variant: entry}}
        path = self.root / _MANIFEST
        write(path, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
        self._loaded.clear()
        return path

    def verify(self) -> list[Check]:
        """Compare the files with the record of `prepare`, and read every split that is there.

        Raises:
            MissingData: none of the set's files is there.
        """
        layout, files = self.layout(), self.originals()
        found: list[Check] = []
        optional = {
            need for split, part in layout.parts.items() if layout.absent(files, split) for need in part
        }
        recorded = self._manifest().get(self.variant, {}).get("files", {})
        for need in layout.needs:
            path = files.find(need)
            wanted = layout.checksums.get(need, "")
            if path is None:
                absent = need in optional and need not in recorded
                found.append(Check(describe(need), absent, "not here" if absent else "missing"))
                continue
            now = _fingerprint(path)
            if not now["sha256"].startswith(wanted):
                found.append(Check(describe(need), False, f"not the original, whose SHA-256 begins {wanted}"))
            elif need in recorded:
                same = now == recorded[need]
                found.append(Check(describe(need), same, "as recorded" if same else "changed since prepared"))
            else:
                detail = "as published" if wanted else "present; not prepared, so without checksum"
                found.append(Check(describe(need), True, detail))
        for split in self.available:
            try:
                part = type(self)(self.root, variant=self.variant).split(split)
            except BadData as error:
                found.append(Check(split, False, str(error)))
            else:
                found.append(Check(split, True, f"{part!r} sha256 {part.sha256()[:16]}"))
        return found


def permuted(count: int, *, query: int, train: int, seed: int | None) -> dict[str, Rows]:
    """The usual hashing split of one random order: first the queries, then the training items.

    The database is everything but the queries, the training items included.

    Args:
        count: Number of items.
        query, train: Sizes.
        seed: For `numpy.random.RandomState`, as in the papers' codes; None keeps the order of the file.
    """
    if query + train > count:
        raise BadData(f"{count} items are too few for {query} queries and {train} training items")
    order = np.arange(count) if seed is None else np.random.RandomState(seed).permutation(count)
    return {"query": order[:query], "train": order[query : query + train], "database": order[query:]}


def describe(need: str) -> str:
    """A need in words: ``a (or b)``, ``array k of f``."""
    return listed([need])


def listed(needs: Sequence[str]) -> str:
    """Needs in a sentence: ``a (or b) and arrays k and l of f``."""
    words: dict[str, list[str]] = {}
    for need in needs:
        first, *others = need.split("|")
        name, _, key = first.partition("::")
        if key:
            words.setdefault(f"of {name}", []).append(key)
        else:
            words[f"{name} (or {', '.join(others)})" if others else name] = []
    return _joined(
        [
            f"array{'s' * (len(keys) > 1)} {_joined(keys)} {word}" if keys else word
            for word, keys in words.items()
        ]
    )


def _joined(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _check_size(what: str, split: Split, expected: tuple[int, int | None] | None) -> None:
    if expected is None:
        return
    images, texts = expected
    got = (len(split.image), len(split.text))
    if got != (images, got[1] if texts is None else texts):
        raise BadData(
            f"{what} has {got[0]:,} images and {got[1]:,} texts, but {images:,} images"
            f"{'' if texts is None else f' and {texts:,} texts'} belong to it: this is another set, or not "
            "whole"
        )


def _fingerprint(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file; of a folder, how many files, and the SHA-256 of their names and sizes."""
    digest = hashlib.sha256()
    if path.is_dir():
        inside: Sequence[Path] = sorted(one for one in path.rglob("*") if one.is_file())
        for one in inside:
            digest.update(f"{one.relative_to(path).as_posix()}\0{one.stat().st_size}\n".encode())
        return {"entries": len(inside), "sha256": digest.hexdigest()}
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}
