"""The form in which the hashing papers share their sets: three MATLAB arrays of the whole set."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from diptych.data.base import Pictures, Protocol, Split, paired_in_order
from diptych.data.incoming import class_labels
from diptych.data.originals import Files, Layout, permuted
from diptych.data.readers import arrays
from diptych.data.split import features
from diptych.errors import BadData

__all__ = ["hashing_protocol", "matlab_layout"]


def hashing_protocol(note: str) -> Mapping[str, Protocol]:
    """The one protocol of the hashing papers: queries against the database, relevant if a label is shared."""
    return {"map": Protocol("query", "database", "label", note=note)}


def matlab_layout(
    stem: str,
    *,
    items: int | None,
    query: int,
    train: int,
    seed: int | None,
    class_names: tuple[str, ...] = (),
) -> Layout:
    """Pixels IAll, bag of words YAll and labels LAll in ``STEM-iall.mat``, ``-yall.mat``, ``-lall.mat``.

    Args:
        stem: How the three files begin.
        items: How many there must be; None if no source says so for certain.
        query, train, seed: See `permuted`.
        class_names: What each label column means.
    """
    pixels, words, labels = (
        f"{stem}-{x}.mat|{x[0].upper()}All/{stem}-{x}.mat" for x in ("iall", "yall", "lall")
    )

    def read(files: Files, name: str) -> Mapping[str, Split]:
        text = next(iter(arrays.load(files[words], "YAll").values())).astype(np.float32)
        label = next(iter(arrays.load(files[labels], "LAll").values()))
        image = Pictures.from_hdf5(files[pixels], "IAll")
        if not len(image) == len(text) == len(label):
            raise BadData(
                f"{files.folder} mixes sets: {len(image)} pictures, {len(text)} texts, {len(label)} labels"
            )
        where = f"{files.folder}: {stem}"
        text = features(text, f"{where} text")
        hot = class_labels(label, len(text), f"{where} label")
        whole = Split(image, text, hot, paired_in_order(len(text)))
        rows = permuted(len(text), query=query, train=train, seed=seed)
        return {part: whole.take(some) for part, some in rows.items()}

    sizes = {} if items is None else {
        "query": (query, query), "train": (train, train), "database": (items - query, items - query)
    }  # fmt: skip
    return Layout(
        f"{stem}-iall.mat, -yall.mat, -lall.mat of the hashing papers' codes",
        {"train": (), "query": (), "database": ()},
        read,
        shared=(pixels, words, labels),
        sizes=sizes,
        class_names=class_names,
    )
