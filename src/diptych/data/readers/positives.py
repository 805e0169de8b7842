"""More matches than a data set lists: ECCV-Caption and CxC, whose authors looked for those that COCO missed.

Both come as JSON objects from an id to the ids that match it, one file a direction (naver-ai/eccv-caption:
eccv_image_to_caption.json, cxc_caption_to_image.json and so on). Ids are COCO's numbers of pictures and of
caption annotations.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from diptych.core import Rows
from diptych.errors import BadData, MissingData
from diptych.media.textfiles import parsed
from diptych.printable import type_of

__all__ = ["left_out", "matches"]


def matches(path: Path, query_id: Sequence[str], gallery_id: Sequence[str]) -> tuple[Rows, Rows]:
    """Which queries a file has matches for, and the pairs.

    Only listed queries are to be asked: the others were never looked through. An id matches if it is equal,
    or if it alone ends in the same number ("COCO_val2014_000000391895.jpg" is 391895).

    Args:
        path: The JSON file of one direction.
        query_id, gallery_id: Names of the rows of both sides, such as `Split.image_id` and `Split.text_id`.

    Returns:
        Rows (m,) of the queries that are listed, ascending, and pairs (p, 2) of place among them and gallery
        row: what `diptych.metrics.ByPairs` takes for the scores of those queries.

    Raises:
        MissingData: there is no such file.
        BadData: it is not of this form, or names nothing that is here.
    """
    listed = _listed(path)
    queries, gallery = _Places(query_id), _Places(gallery_id)
    found = {
        row: [place for value in values if (place := gallery.of(value)) is not None]
        for key, values in listed.items()
        if (row := queries.of(key)) is not None
    }
    rows = np.array(sorted(row for row, columns in found.items() if columns), np.int64)
    if not len(rows):
        raise BadData(
            f"{path} matches none of these {len(query_id)} queries with any of {len(gallery_id)} entries; "
            "its ids are COCO's numbers of pictures and of caption annotations"
        )
    pairs = [(at, column) for at, row in enumerate(rows.tolist()) for column in found[row]]
    return rows, np.array(pairs, np.int64)


def left_out(
    path: Path, query_id: Sequence[str], gallery_id: Sequence[str]
) -> dict[str, dict[Literal["listed", "here"], int]]:
    """How many queries and matches a file lists, and how many of them `matches` finds here.

    Args:
        path, query_id, gallery_id: As for `matches`.

    Returns:
        Counts "listed" and "here", of "queries" and of "matches".

    Raises:
        MissingData, BadData: see `matches`.
    """
    listed = _listed(path)
    queries, gallery = _Places(query_id), _Places(gallery_id)
    found = {
        key: 0 if queries.of(key) is None else sum(gallery.of(value) is not None for value in values)
        for key, values in listed.items()
    }
    return {
        "queries": {"listed": len(listed), "here": sum(count > 0 for count in found.values())},
        "matches": {"listed": sum(map(len, listed.values())), "here": sum(found.values())},
    }


def _listed(path: Path) -> dict[str, list[str]]:
    if not path.is_file():
        raise MissingData(f"{path} is not there; give a file such as eccv_image_to_caption.json")
    try:
        content = parsed(path.read_text(encoding="utf-8"))
    except (BadData, UnicodeDecodeError) as error:
        raise BadData(f"{path} must map each id to a list of the ids that match it ({error})") from error
    wanted = f"{path} must map each id to a list of the ids that match it"
    if not isinstance(content, dict):
        raise BadData(f"{wanted}, but it is {type_of(content)}")
    for key, values in content.items():
        if not isinstance(values, list) or not all(isinstance(value, str | int) for value in values):
            raise BadData(f"{wanted}, but {key!r} has {str(values)[:60]!r}")
    return {key: [str(value) for value in values] for key, values in content.items()}


class _Places:
    """Rows by name, or else by the number that the name ends in, where one alone has it."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._named = {name: row for row, name in enumerate(ids)}
        self._numbered: dict[str, int | None] = {}
        for row, name in enumerate(ids):
            number = _number(name)
            self._numbered[number] = None if number in self._numbered else row

    def of(self, name: str) -> int | None:
        """The row; None if it is not here, or if several could be meant."""
        return self._named[name] if name in self._named else self._numbered.get(_number(name))


def _number(name: str) -> str:
    """The number that a name ends in, without zeros in front; the name itself if it has none."""
    # Looked for only where digits begin, so that a name of nothing but digits is passed over once.
    found = re.search(r"(?<!\d)(\d+)(?:\.\w+)?$", name)
    return str(int(found[1])) if found else name
