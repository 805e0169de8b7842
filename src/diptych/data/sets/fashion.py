"""Fashion: 44,434 small product photos with titles and attributes (P. Aggarwal, 2019).

Home: https://www.kaggle.com/datasets/paramaggarwal/fashion-product-images-small
Files: train.jsonl.gz with train_images.zip, val.jsonl.gz with val_images.zip, and the same for test; rows
  with image, text, gender, master_category, sub_category, article_type, base_colour, season, year, usage
Licence: not stated on the copies read; see the Kaggle page
Counts: 32,514 train, 2,059 val
Seeds: none: the first 8 hex digits of sha1(lower-case title) modulo 1000 decide the split (below 225 test,
  below 270 val, else train), so no title is in two splits
Relevance: the same article type (143 in the whole set); as pairs, every item with the same title

Titles repeat, so a pair counts as a match if the titles are equal (`Split.positives`); `Split.pairs` joins
each photo with its own title only. Other variants label by sub-category, by master category, by article type
and colour together (multi-label: 14 % of all pairs share one), or by all attributes at once (multi-label, but
91 % share one; empty values are left out).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from diptych.core import Rows
from diptych.data.base import Protocol, Split
from diptych.data.originals import Files, Layout, Originals
from diptych.data.readers import tables

__all__ = ["Fashion"]

_PARTS = ("train", "val", "test")
_ATTRIBUTES = ("gender", "master_category", "sub_category", "article_type", "base_colour", "season", "usage")


_COLUMNS: Mapping[str, str | tuple[str, ...]] = {
    "article": "article_type",
    "sub-category": "sub_category",
    "master-category": "master_category",
    "article-colour": ("article_type", "base_colour"),
    "attributes": _ATTRIBUTES,
}


def _table(part: str) -> str:
    return f"{part}.jsonl.gz|{part}.jsonl"


def _reader(columns: str | tuple[str, ...]) -> Callable[[Files, str], Mapping[str, Split]]:
    def read(files: Files, _: str) -> Mapping[str, Split]:
        # Label columns must mean the same in every split, so all that are there are read together.
        here = {part: files[_table(part)] for part in _PARTS if _table(part) in files}
        content = {
            part: [_clean(row) for row in tables.rows(path, "image", "text", *_ATTRIBUTES)]
            for part, path in here.items()
        }
        names = class_names(content, columns)
        found = {}
        for part, path in here.items():
            archive = f"{part}_images.zip|{part}_images"
            if archive not in files:
                continue  # half of another split than the one asked for; asking for it names what is missing
            split = tables.assemble(
                path, content[part], files[archive], columns={"label": columns}, class_names=names
            )
            found[part] = replace(split, positives=_same_title(split))
        return found

    return read


def class_names(
    content: Mapping[str, Sequence[Mapping[str, Any]]], columns: str | tuple[str, ...]
) -> tuple[str, ...]:
    """Every label of the rows, sorted; those of several columns are written ``column=value``."""
    names = (columns,) if isinstance(columns, str) else columns
    found = {
        (name, str(row[name])) for rows in content.values() for row in rows for name in names if row[name]
    }
    plain = isinstance(columns, str)
    return tuple(value if plain else f"{name}={value}" for name, value in sorted(found))


def _clean(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: "" if value == "NA" else value for name, value in row.items()}


def _same_title(split: Split) -> Rows:
    """Every photo and title whose titles are equal, letter case aside."""
    _, title = np.unique([text.lower() for text in split.text], return_inverse=True)
    order = np.argsort(title, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(title[order])) + 1)
    pairs = np.concatenate([np.stack(np.meshgrid(g, g, indexing="ij"), -1).reshape(-1, 2) for g in groups])
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def _layout(columns: str | tuple[str, ...]) -> Layout:
    return Layout(
        "JSON Lines and a ZIP of pictures for each split",
        {part: (_table(part), f"{part}_images.zip|{part}_images") for part in _PARTS},
        _reader(columns),
        sizes={"train": (32514, 32514), "val": (2059, 2059)},
    )


_PROTOCOLS = {
    "article": Protocol("val", "val", "label", note="MAP by label on the validation split"),
    "title": Protocol("val", "val", "pair", note="R@K, equal titles count"),
    "test": Protocol("test", "test", "label", validation="val"),
    "test-title": Protocol("test", "test", "pair", validation="val"),
}


class Fashion(Originals):
    """The Fashion set; see the module's docstring, and `Originals` for the arguments."""

    name = "fashion"
    variants: Mapping[str, tuple[Layout, ...]] = {
        variant: (_layout(columns),) for variant, columns in _COLUMNS.items()
    }
    protocols_of: Mapping[str, Mapping[str, Protocol]] = dict.fromkeys(variants, _PROTOCOLS)

    @cached_property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """What each label column means, over the splits that are there."""
        files = self.originals()
        here = {part: files.find(_table(part)) for part in _PARTS}
        content = {
            part: [_clean(row) for row in tables.rows(path, "image", "text", *_ATTRIBUTES)]
            for part, path in here.items()
            if path
        }
        columns = _COLUMNS[self.variant]
        return class_names(content, columns)
