"""More matches than a data set lists: ECCV-Caption and CxC, whose authors looked for those that COCO missed.

Both come as JSON objects from an id to the ids that match it, one file a direction (naver-ai/eccv-caption:
eccv_image_to_caption.json, cxc_caption_to_image.json and so on). Ids are COCO's numbers of pictures and of
caption annotations.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diptych.core import Rows
from diptych.errors import BadData, MissingData
from diptych.media.textfiles import parsed

__all__ = ["matches"]


def matches(path: Path, query_id: Sequence[str], gallery_id: Sequence[str]) -> tuple[Rows, Rows]:
    """Which queries a file has matches for, and the pairs.

    Only listed queries are to be asked: the others were never looked through. An id matches if it is equal,
    or if it ends in the same number ("COCO_val2014_000000391895.jpg" is 391895).

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
    if not path.is_file():
        raise MissingData(f"{path} is not there; give a file such as eccv_image_to_caption.json")
    try:
        content = parsed(path.read_text(encoding="utf-8"))
        listed = {str(key): [str(value) for value in values] for key, values in content.items()}
    except (BadData, UnicodeDecodeError, AttributeError, TypeError) as error:
        raise BadData(f"{path} must map each id to a list of the ids that match it ({error})") from error
    queries, gallery = _by_number(query_id), _by_number(gallery_id)
    found = {
        queries[_number(key)]: [gallery[_number(value)] for value in values if _number(value) in gallery]
        for key, values in listed.items()
        if _number(key) in queries
    }
    rows = np.array(sorted(row for row, columns in found.items() if columns), np.int64)
    if not len(rows):
        raise BadData(
            f"{path} matches none of these {len(query_id)} queries with any of {len(gallery_id)} entries; "
            "its ids are COCO's numbers of pictures and of caption annotations"
        )
    pairs = [(at, column) for at, row in enumerate(rows.tolist()) for column in found[row]]
    return rows, np.array(pairs, np.int64)


def _by_number(ids: Sequence[str]) -> dict[str, int]:
    return {_number(name): row for row, name in enumerate(ids)}


def _number(name: str) -> str:
    """The number that a name ends in, without zeros in front; the name itself if it has none."""
    # Looked for only where digits begin, so that a name of nothing but digits is passed over once.
    found = re.search(r"(?<!\d)(\d+)(?:\.\w+)?$", name)
    return str(int(found[1])) if found else name
