"""Reads folders that clip-retrieval writes: ``img_emb/*.npy``, ``text_emb/*.npy`` and ``metadata/*.parquet``.

Each shard is a NumPy matrix of vectors, half or single precision; row i of image, text and metadata belong
together. Captions and picture paths of the metadata become ids; the vectors are the features.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import Floats
from diptych.data.base import Absent, Dataset, Split, paired_in_order
from diptych.data.reading import Read
from diptych.data.split import features
from diptych.errors import BadData
from diptych.media.report import Report
from diptych.optional import optional

__all__ = ["FORM", "read", "recognises"]

FORM = "a folder of clip-retrieval (img_emb/, text_emb/, metadata/)"

_PARTS = {"img_emb": ".npy", "text_emb": ".npy", "metadata": ".parquet"}


def recognises(path: Path) -> bool:
    """Whether the path is a folder with ``img_emb`` or ``text_emb``."""
    return (path / "img_emb").is_dir() or (path / "text_emb").is_dir()


def read(path: Path) -> Dataset:
    """The folder as a data set with one split, "all".

    Where only pictures were embedded, the captions of the metadata are the texts, and the other way round the
    pictures are absent.

    Raises:
        BadData: if shards are missing or differ in length.
        MissingExtra: Parquet is not installed, and there is metadata.
    """
    image, text = _vectors(path / "img_emb"), _vectors(path / "text_emb")
    meta = _metadata(path / "metadata")
    sizes = {"img_emb": image, "text_emb": text, "metadata": next(iter(meta.values()), None)}
    counts = {name: len(value) for name, value in sizes.items() if value is not None}
    if len(set(counts.values())) != 1:
        raise BadData(f"{path} is not whole: its parts have different numbers of rows ({counts})")
    count = next(iter(counts.values()))
    captions = meta.get("caption")
    if text is None and captions is None:
        raise BadData(f"{path} has neither text_emb nor captions in its metadata, so nothing to pair with")
    images: Any = image if image is not None else Absent(count, f"{path} has no img_emb")
    texts: Any = text if text is not None else [str(one) for one in captions or ()]
    ids = meta.get("image_path") or meta.get("key")
    split = Split(
        images,
        texts,
        None,
        paired_in_order(count),
        image_id=None if ids is None else [str(one) for one in ids],
        text_id=None if captions is None or text is None else [str(one) for one in captions],
    )
    return Read(path.name, {"all": split}, _report(path, count))


def _report(path: Path, rows: int) -> Report:
    """How many rows and files were used, and which files were not."""
    report = Report()
    used = {shard for folder, ending in _PARTS.items() for shard in _shards(path / folder, ending)}
    inside = sorted(one for one in (*path.glob("*"), *path.glob("*/*")) if one.is_file())
    report.use(rows=rows, files=len(used))
    others = (str(one.relative_to(path)) for one in inside if one not in used)
    report.leave("files", "is no shard of vectors or metadata", *others)
    return report


def _shards(folder: Path, ending: str) -> list[Path]:
    """The shards in the order of their numbers, none left out."""
    found = sorted(folder.glob(f"*{ending}"), key=lambda one: (_number(one), one.name))
    numbers = [_number(one) for one in found]
    lost = sorted(set(range(max(numbers, default=-1) + 1)) - set(numbers))
    if lost and -1 not in numbers:
        raise BadData(f"{folder} lacks shard {lost[0]} of {max(numbers) + 1}")
    return found


def _number(path: Path) -> int:
    match = re.search(r"(\d+)$", path.stem)
    return int(match[1]) if match else -1


def _vectors(folder: Path) -> Floats | None:
    shards = _shards(folder, ".npy")
    if not shards:
        return None
    try:
        found = [(one, np.load(one, allow_pickle=False)) for one in shards]
    except (OSError, ValueError, EOFError) as error:
        raise BadData(f"{folder} cannot be read ({error})") from error
    widths = {one.shape[1:] for _, one in found}
    if len(widths) > 1:
        raise BadData(f"{folder} holds shards whose vectors have different lengths: {sorted(widths)}")
    return np.concatenate([features(vectors, str(one)).astype(np.float32) for one, vectors in found])


def _metadata(folder: Path) -> dict[str, list[Any]]:
    shards = _shards(folder, ".parquet")
    if not shards:
        return {}
    parquet = optional("pyarrow.parquet", "reading the metadata of clip-retrieval", "data")
    found: dict[str, list[Any]] = {}
    try:
        for shard in shards:
            for name, values in parquet.read_table(shard).to_pydict().items():
                found.setdefault(name, []).extend(values)
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        raise BadData(f"{folder} cannot be read as Parquet ({error})") from error
    return found
