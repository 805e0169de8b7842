"""Extracts the features of a split once, and keeps them in the cache folder.

A file is named after the extractor's fingerprint and the content of the pictures or texts, so that renaming
pictures costs nothing, and changing one pixel or one weight makes another file. Deleting the folder loses
nothing but time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import Floats, Side, offered
from diptych.data.base import Absent, Split
from diptych.data.contents import contents_sha256
from diptych.errors import UsageError
from diptych.files import replacing
from diptych.media.pictures import sized

__all__ = ["extract", "folder"]

_BATCH = 64  # pictures or texts between two writes

Progress = Callable[[int, int], None]


def folder() -> Path:
    """Where features are kept: ``features`` in ``$DIPTYCH_CACHE``, else in the user's cache folder."""
    import platformdirs

    root = os.environ.get("DIPTYCH_CACHE") or platformdirs.user_cache_dir("diptych", appauthor=False)
    return Path(root) / "features"


def extract(split: Split, *, image: Any = None, text: Any = None, progress: Progress | None = None) -> Split:
    """The split with features in place of pictures and texts, memory-mapped from the cache.

    Features are (n, d) float32, but pixels (n, 3, h, w) uint8 and tokens (n, length) uint32.

    Args:
        split: Of pictures and texts.
        image, text: Extractors; a side without one stays as it is.
        progress: Called with the numbers of done and all items, for what is not in the cache.

    Raises:
        UsageError: a side that has an extractor holds features already.
        MissingData: the pictures or texts are absent.
        ImageError: a picture cannot be read.
    """
    new: dict[str, Any] = {}
    if image is not None:
        new["image"] = _features(split.image, "image", image, progress)
    if text is not None:
        new["text"] = _features(split.text, "text", text, progress)
    return replace(split, **new)


def _features(
    content: Sequence[Any] | Floats, side: Side, extractor: Any, progress: Progress | None
) -> Floats:
    if isinstance(content, np.ndarray):
        raise UsageError(f"these {side}s are features {content.shape} already; give no extractor for them")
    if isinstance(content, Absent):
        content[0]  # says what is absent
    said = f"{side}|{extractor.fingerprint}|{contents_sha256(content, side)}"
    key = hashlib.sha256(said.encode()).hexdigest()
    path = folder() / f"{key}.npy"
    if not path.is_file():
        _write(path, content, side, extractor, progress)
    found: Floats = np.load(path, mmap_mode="r")
    return found


def _write(path: Path, content: Sequence[Any], side: str, extractor: Any, progress: Progress | None) -> None:
    """Extract into a file that is there only when it is whole."""
    with replacing(path) as part:
        file: Any = None
        row = 0
        for batch in _ahead(content, extractor if side == "image" else None):
            vectors = np.asarray(getattr(extractor, f"encode_{side}")(batch))
            if file is None:
                kind = vectors.dtype if np.issubdtype(vectors.dtype, np.integer) else np.float32
                shape = (len(content), *vectors.shape[1:])
                file = np.lib.format.open_memmap(part, mode="w+", dtype=kind, shape=shape)
            file[row : row + len(vectors)] = vectors
            row += len(vectors)
            if progress is not None:
                progress(row, len(content))
        if file is None:
            raise UsageError(f"there are no {side}s to extract features of")
        file.flush()
        del file  # lets go of the mapping before the file gets its name


def _ahead(content: Sequence[Any], extractor: Any) -> Iterator[list[Any]]:
    """Batches; while one is encoded, the next is read and prepared in another thread."""
    prepare = offered(extractor, "prepare_image")
    content = sized(content, offered(extractor, "image_size"))

    def batch(start: int) -> list[Any]:
        rows = range(start, min(start + _BATCH, len(content)))
        return [prepare(content[row]) if prepare else content[row] for row in rows]

    starts = range(0, len(content), _BATCH)
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(batch, start) for start in starts[:1]]
        for start in starts:
            ready = waiting.pop().result()
            if start + _BATCH < len(content):
                waiting.append(pool.submit(batch, start + _BATCH))
            yield ready
