"""Fixed extractors of pictures and texts, and the cache of what they extracted.

An extractor is an encoder of one side or both: a file of this folder, or any system ("builtin",
"clip:vit-b-32@openai"). Extracting is done once: the cache goes by fingerprint and content.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from diptych import catalogue
from diptych.core import Floats
from diptych.data.base import Dataset, Pictures, Split
from diptych.errors import BadData, UsageError

__all__ = ["Featured", "extract", "load", "named", "save"]

_BATCH = 64


def named(spec: str) -> dict[str, str]:
    """Name of the extractor of each side: ``ENCODER`` for both, or ``IMAGE+TEXT``.

    Raises:
        UsageError: more than two names, or an empty one.
    """
    names = spec.split("+")
    if len(names) > 2 or not all(names):
        raise UsageError(f"{spec!r} is neither ENCODER nor IMAGE+TEXT")
    return {"image": names[0], "text": names[-1]}


def save(folder: Path, names: Mapping[str, str]) -> None:
    """Write which extractors a head was trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.json").write_text(json.dumps(dict(names), indent=2) + "\n", encoding="utf-8")


def load(folder: Path) -> dict[str, Any]:
    """The extractors by side that `save` wrote.

    Raises:
        BadData: the folder is not whole.
        UnknownName, MissingData: an extractor is not to be had.
    """
    try:
        names = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadData(f"{folder} does not say which extractors it needs ({error}); train again") from error
    return _loaded(names)


class Featured(Dataset):
    """A data set of pictures and texts as its extractors see it.

    Args:
        dataset: Pictures and texts.
        names: Name of each side's extractor, as `named` gives.
        cache: Folder to keep features in; default: the user's cache.

    Raises:
        UsageError: an extractor does not encode its side.
    """

    def __init__(self, dataset: Dataset, names: Mapping[str, str], *, cache: Path | None = None) -> None:
        self._dataset, self.names = dataset, dict(names)
        self.name, self.splits, self.protocols = dataset.name, dataset.splits, dataset.protocols
        self.class_names = dataset.class_names
        self.extractors = _loaded(names)
        self._cache = cache or _cache_home()
        self._done: dict[str, Split] = {}

    def split(self, name: str) -> Split:
        """One split with features on both sides."""
        if name not in self._done:
            self._done[name] = extract(self._dataset.split(name), self.extractors, cache=self._cache)
        return self._done[name]


def extract(split: Split, extractors: Mapping[str, Any], *, cache: Path | None = None) -> Split:
    """The split with features (n, d) in place of pictures and texts; a side that has features keeps them."""
    cache = cache or _cache_home()
    return replace(
        split,
        image=_features(split.image, extractors["image"], "image", cache),
        text=_features(split.text, extractors["text"], "text", cache),
    )


def _features(values: Any, extractor: Any, side: str, cache: Path) -> Floats:
    if isinstance(values, np.ndarray):
        return values
    digest = hashlib.sha256(f"{side}\0{extractor.fingerprint}".encode())
    for one in _contents(values, side):
        digest.update(hashlib.sha256(one).digest())
    path = cache / "features" / f"{digest.hexdigest()}.npy"
    if path.is_file():
        stored: Floats = np.load(path)
        return stored
    encode = getattr(extractor, f"encode_{side}")
    parts = [encode(_part(values, start)) for start in range(0, len(values), _BATCH)]
    found = np.concatenate(parts).astype(np.float32) if parts else np.zeros((0, 0), np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.save(file, found)
    os.replace(partial, path)
    return found


def _part(values: Sequence[Any], start: int) -> list[Any]:
    return [values[row] for row in range(start, min(start + _BATCH, len(values)))]


def _contents(values: Any, side: str) -> Iterator[bytes]:
    """The bytes of each picture or text."""
    for row in range(len(values)):
        if isinstance(values, Pictures):
            yield values.read(row)
        elif side == "text":
            yield str(values[row]).encode()
        elif isinstance(values[row], str | Path):
            yield Path(values[row]).read_bytes()
        else:
            yield np.asarray(values[row]).tobytes()


def _loaded(names: Mapping[str, str]) -> dict[str, Any]:
    features = set(catalogue.names("feature"))
    made: dict[str, Any] = {}
    for name in dict.fromkeys(names.values()):
        key = name.replace("-", "_")
        if key in features:
            module = importlib.import_module(catalogue.card("feature", key).module)
            made[name] = getattr(module, module.__all__[0])()
        else:
            made[name] = catalogue.load(name)
    for side, name in names.items():
        if not hasattr(made[name], f"encode_{side}"):
            raise UsageError(f"{name} does not encode {side}s; give IMAGE+TEXT, two extractors of one side")
    return {side: made[name] for side, name in names.items()}


def _cache_home() -> Path:
    if "DIPTYCH_CACHE" in os.environ:
        return Path(os.environ["DIPTYCH_CACHE"])
    import platformdirs

    return Path(platformdirs.user_cache_dir("diptych", appauthor=False))
