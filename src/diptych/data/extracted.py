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
from diptych.data.readable import left_out, name_of
from diptych.errors import ImageError, UsageError
from diptych.files import replacing, write
from diptych.media.ahead import Trouble, ahead
from diptych.media.pictures import DECODING, Unread
from diptych.media.report import Report

__all__ = ["extract", "folder"]

Progress = Callable[[int, int], None]


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
        new["image"], trouble = _features(split.image, "image", image, progress, strict=report is None)
        if report is not None:
            split = left_out(split, trouble, report)
    if text is not None:
        new["text"], _ = _features(split.text, "text", text, progress, strict=True)
    return replace(split, **new)


def _features(
    content: Sequence[Any] | Floats, side: Side, extractor: Any, progress: Progress | None, *, strict: bool
) -> tuple[Floats | None, Trouble]:
    """Features of all items that can be read, None if there are none; and what is wrong with others.

    Args:
        content, side, extractor, progress: As for `extract`.
        strict: Refuse an item that cannot be read.
    """
    if isinstance(content, np.ndarray):
        raise UsageError(f"these {side}s are features {content.shape} already; give no extractor for them")
    if isinstance(content, Absent):
        content[0]  # says what is absent
    trouble = Trouble()
    key = _key(content, side, extractor, None if strict else trouble.lost)
    if not trouble.lost:
        path = folder() / f"{key}.npy"
        known = _marked(key, content) or (Trouble() if path.is_file() else None)
        if known is None or not (known.lost or path.is_file()):
            known = _write(key, content, side, extractor, progress, strict=strict)
        if strict and known.lost:
            raise next(iter(known.lost.values()))
        if not known.lost:
            # Torch takes nothing that it could not write to.
            return np.load(path, mmap_mode="c"), known
        trouble = known
    rows = [row for row in range(len(content)) if row not in trouble.lost]
    if not rows:
        return None, trouble
    found, more = _features(_taken(content, rows), side, extractor, progress, strict=False)
    return found, trouble | more.at(rows)


def _key(
    content: Sequence[Any], side: Side, extractor: Any, lost: dict[int, ImageError] | None = None
) -> str:
    read = f"image:{DECODING}" if side == "image" else side
    said = f"{read}|{extractor.fingerprint}|{contents_sha256(content, side, lost)}"
    return hashlib.sha256(said.encode()).hexdigest()


def _write(
    key: str, content: Sequence[Any], side: Side, extractor: Any, progress: Progress | None, *, strict: bool
) -> Trouble:
    """Extract into a file that is there only when it is whole; gives what was wrong.

    If some items cannot be read, the features of the others are in the file of those others.
    """
    trouble = Trouble()
    row, file = 0, None
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder()) as scratch:
        part = Path(scratch) / "features.npy"
        for items, more in ahead(content, extractor if side == "image" else None):
            trouble |= more
            if trouble.lost and strict:
                return trouble
            if items:
                vectors = np.asarray(getattr(extractor, f"encode_{side}")(items))
                if file is None:
                    kind = vectors.dtype if np.issubdtype(vectors.dtype, np.integer) else np.float32
                    shape = (len(content), *vectors.shape[1:])
                    file = np.lib.format.open_memmap(part, mode="w+", dtype=kind, shape=shape)
                file[row : row + len(vectors)] = vectors
                row += len(vectors)
            if progress is not None:
                progress(row + len(trouble.lost), len(content))
        if file is None:
            if trouble.lost:
                return trouble
            raise UsageError(f"there are no {side}s to extract features of")
        file.flush()
        _mark(key, trouble)
        if trouble.lost:
            rest = [at for at in range(len(content)) if at not in trouble.lost]
            key = _key(_taken(content, rest), side, extractor)
            _mark(key, Trouble({}, {rest.index(at): reason for at, reason in trouble.partly.items()}))
        with replacing(folder() / f"{key}.npy") as new:
            if trouble.lost:
                with new.open("wb") as to:
                    np.save(to, file[:row])
            del file  # lets go of the mapping before the file gets another name
            if not trouble.lost:
                os.replace(part, new)
    return trouble


def _mark(key: str, trouble: Trouble) -> None:
    """Keep what was wrong with items; nothing, if some of it may not be their fault."""
    damaged = {row: error.reason for row, error in trouble.lost.items() if not isinstance(error, Unread)}
    if len(damaged) == len(trouble.lost) and (damaged or trouble.partly):
        write(folder() / f"{key}.json", json.dumps({"lost": damaged, "partly": trouble.partly}))


def _marked(key: str, content: Sequence[Any]) -> Trouble | None:
    """What was found wrong with items before; None if nothing was kept."""
    try:
        known = json.loads((folder() / f"{key}.json").read_text(encoding="utf-8"))
        lost = {
            int(row): ImageError(name_of(content, int(row)), str(why)) for row, why in known["lost"].items()
        }
        return Trouble(lost, {int(row): str(why) for row, why in known["partly"].items()})
    except (OSError, ValueError, TypeError, AttributeError, LookupError):  # not there, or not whole
        return None


def _taken(content: Sequence[Any], rows: Sequence[int]) -> Sequence[Any]:
    return content[rows] if isinstance(content, Pictures) else [content[row] for row in rows]
