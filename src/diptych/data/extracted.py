"""Extracts the features of a split once, and keeps them in the cache folder.

A file is named after the extractor's fingerprint and the content of the pictures or texts, so that renaming
pictures costs nothing, and changing one pixel or one weight makes another file; so does a decoder that reads
pictures otherwise. Pictures that cannot be read
have no rows in any file; which of a content's are damaged is kept beside, so that they are not decoded again.
Deleting the folder loses nothing but time.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import Floats, Side
from diptych.data.base import Absent, Pictures, Split
from diptych.data.contents import contents_sha256
from diptych.data.readable import left_out
from diptych.errors import ImageError, UsageError
from diptych.files import replacing, write
from diptych.media.ahead import ahead
from diptych.media.pictures import DECODING, Unread
from diptych.media.report import Report

__all__ = ["extract", "folder"]

Progress = Callable[[int, int], None]
_Lost = dict[int, ImageError]


def folder() -> Path:
    """Where features are kept: ``features`` in ``$DIPTYCH_CACHE``, else in the user's cache folder."""
    import platformdirs

    root = os.environ.get("DIPTYCH_CACHE") or platformdirs.user_cache_dir("diptych", appauthor=False)
    return Path(root) / "features"


def extract(
    split: Split,
    *,
    image: Any = None,
    text: Any = None,
    progress: Progress | None = None,
    report: Report | None = None,
) -> Split:
    """The split with features in place of pictures and texts, memory-mapped from the cache.

    Features are (n, d) float32, but pixels (n, 3, h, w) uint8 and tokens (n, length) uint32.

    Args:
        split: Of pictures and texts.
        image, text: Extractors; a side without one stays as it is.
        progress: Called with the numbers of done and all items, for what is not in the cache.
        report: Pictures that cannot be read are left out with their texts, and told there; None refuses them.

    Raises:
        UsageError: a side that has an extractor holds features already.
        MissingData: the pictures or texts are absent.
        ImageError: a picture cannot be read, and there is no report.
        BadData: none of the pictures can be read.
    """
    new: dict[str, Any] = {}
    if image is not None:
        lost: dict[int, ImageError] = {}
        new["image"] = _features(split.image, "image", image, progress, None if report is None else lost)
        if report is not None:
            split = left_out(split, lost, report)
    if text is not None:
        new["text"] = _features(split.text, "text", text, progress, None)
    return replace(split, **new)


def _features(
    content: Sequence[Any] | Floats, side: Side, extractor: Any, progress: Progress | None, lost: _Lost | None
) -> Floats | None:
    """Features of all items but those that cannot be read, which are told; None if there is no other.

    Args:
        content, side, extractor, progress: As for `extract`.
        lost: Gets why items cannot be read, by row; None refuses them.
    """
    if isinstance(content, np.ndarray):
        raise UsageError(f"these {side}s are features {content.shape} already; give no extractor for them")
    if isinstance(content, Absent):
        content[0]  # says what is absent
    key = _key(content, side, extractor, lost)
    if not lost:
        path = folder() / f"{key}.npy"
        damaged = {} if path.is_file() else _marked(key, content)
        if damaged is None:
            damaged = _write(key, content, side, extractor, progress, strict=lost is None)
        if not damaged:
            found: Floats = np.load(path, mmap_mode="c")  # torch takes nothing that it could not write to
            return found
        if lost is None:
            raise next(iter(damaged.values()))
        lost |= damaged
    rows = [row for row in range(len(content)) if row not in lost]
    if not rows:
        return None
    fewer: _Lost = {}
    features = _features(_taken(content, rows), side, extractor, progress, fewer)
    lost |= {rows[at]: error for at, error in fewer.items()}
    return features


def _key(content: Sequence[Any], side: Side, extractor: Any, lost: _Lost | None = None) -> str:
    read = f"image:{DECODING}" if side == "image" else side
    said = f"{read}|{extractor.fingerprint}|{contents_sha256(content, side, lost)}"
    return hashlib.sha256(said.encode()).hexdigest()


def _write(
    key: str, content: Sequence[Any], side: Side, extractor: Any, progress: Progress | None, *, strict: bool
) -> _Lost:
    """Extract into a file that is there only when it is whole; gives what could not be read.

    The features of the others are then in the file of those others, and which they are is kept. Nothing is
    kept if it is not the pictures' fault.
    """
    lost: _Lost = {}
    row, file = 0, None
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder()) as scratch:
        part = Path(scratch) / "features.npy"
        for batch in ahead(content, extractor if side == "image" else None):
            lost |= batch.lost
            if lost and strict:
                return lost
            if batch.items:
                vectors = np.asarray(getattr(extractor, f"encode_{side}")(batch.items))
                if file is None:
                    kind = vectors.dtype if np.issubdtype(vectors.dtype, np.integer) else np.float32
                    shape = (len(content), *vectors.shape[1:])
                    file = np.lib.format.open_memmap(part, mode="w+", dtype=kind, shape=shape)
                file[row : row + len(vectors)] = vectors
                row += len(vectors)
            if progress is not None:
                progress(row + len(lost), len(content))
        if file is None:
            if lost:
                return lost
            raise UsageError(f"there are no {side}s to extract features of")
        file.flush()
        rest = {at: one.reason for at, one in lost.items() if not isinstance(one, Unread)}
        if len(rest) == len(lost) > 0:
            write(folder() / f"{key}.json", json.dumps(rest))
        if lost:
            key = _key(_taken(content, [at for at in range(len(content)) if at not in lost]), side, extractor)
        with replacing(folder() / f"{key}.npy") as new:
            if lost:
                with new.open("wb") as to:
                    np.save(to, file[:row])
            del file  # lets go of the mapping before the file gets another name
            if not lost:
                os.replace(part, new)
    return lost


def _marked(key: str, content: Sequence[Any]) -> _Lost | None:
    """Which items were found damaged before; None if nobody has looked."""
    try:
        known = json.loads((folder() / f"{key}.json").read_text(encoding="utf-8"))
        return {int(row): ImageError(_name(content, int(row)), str(known[row])) for row in known}
    except (OSError, ValueError, TypeError, AttributeError, IndexError):  # not there, or not whole
        return None


def _name(content: Sequence[Any], row: int) -> str:
    if isinstance(content, Pictures):
        return content.place(row)
    return os.fspath(content[row]) if isinstance(content[row], str | os.PathLike) else f"picture {row}"


def _taken(content: Sequence[Any], rows: Sequence[int]) -> Sequence[Any]:
    return content[rows] if isinstance(content, Pictures) else [content[row] for row in rows]
