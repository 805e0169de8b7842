"""Splits without the pictures that cannot be read: one damaged file must not end what uses thousands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.data.pictures import Absent, Pictures
from diptych.data.split import Split
from diptych.errors import BadData
from diptych.media.ahead import Trouble
from diptych.media.report import Report

__all__ = ["ORPHANED", "left_out", "name_of"]

ORPHANED = "describes only pictures that cannot be read"
"""Why a caption is left out."""

_NAMED, _SHOWN = 5, 60  # captions that are named, and letters of each


def left_out(split: Split, trouble: Trouble, report: Report) -> Split:
    """The split without pictures that cannot be read, and without the texts that are theirs alone.

    Args:
        split: Of pictures.
        trouble: What is wrong with some.
        report: They and their texts are counted and named there, and no longer as used; likewise those that
            are used in part.

    Raises:
        BadData: no picture is left.
    """
    lost = trouble.lost
    for row, reason in sorted(trouble.partly.items()):
        report.note("pictures", reason, name_of(split.image, row))
    if not lost:
        return split
    if len(lost) == len(split.image):
        raise BadData(
            f"none of these {len(lost)} pictures can be read, so there is nothing to use; the first: "
            f"{next(iter(lost.values()))}"
        )
    images, texts, pairs = np.ones(len(split.image), bool), np.ones(len(split.text), bool), split.pairs
    images[list(lost)] = False
    texts[pairs[:, 1]] = False
    texts[pairs[images[pairs[:, 0]], 1]] = True
    for _, error in sorted(lost.items()):
        report.lose("pictures", error.reason, error.path)
    orphans = np.flatnonzero(~texts)
    shown = orphans[:0] if isinstance(split.text, np.ndarray | Absent) else orphans[:_NAMED]
    names = [str(split.text[row])[:_SHOWN] for row in shown.tolist()]
    report.lose("captions", ORPHANED, *names, count=len(orphans))
    return split.select(np.flatnonzero(images), np.flatnonzero(texts))


def name_of(pictures: Sequence[Any] | NDArray[Any], row: int) -> str:
    """What to call a picture: its path, or its row."""
    if isinstance(pictures, Pictures):
        return pictures.place(row)
    one = pictures[row]
    return os.fspath(one) if isinstance(one, str | os.PathLike) else f"picture {row}"
