"""The joint space of the built-in model, and how its scores become probabilities."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from diptych.builtin.towers import IMAGE_SIZE, WEIGHTS, ImageTower, TextTower, prepare
from diptych.core import Floats
from diptych.errors import BadData, MissingData
from diptych.similarity import unit

__all__ = ["HEADS", "Builtin", "concepts_of", "project"]

HEADS = "heads.npz"
_VERSION = 1  # of everything that is not in a file: preparation, tokens, arithmetic


class Builtin:
    """Encodes pictures and English texts into one space of unit vectors.

    Args:
        heads: Whether to use the trained heads beside the concepts.
        threads: Threads of one run of a tower; None for every core.
        weights: Folder with the heads; None for those that come with Diptych.

    Raises:
        MissingData: no heads in the folder.
        BadData: they are damaged.
    """

    similarity = "cosine"
    image_size = IMAGE_SIZE
    batch_size = 16

    def __init__(self, *, heads: bool = True, threads: int | None = None, weights: str | None = None) -> None:
        self.heads, self.threads = heads, threads
        self._folder = WEIGHTS if weights is None else Path(weights).expanduser()
        self._arrays = _read(WEIGHTS / "concepts.npz")
        if heads:
            self._arrays = {**self._arrays, **_read(self._folder / HEADS)}
            self.calibrate = self._calibrate  # the concepts alone were fitted to nothing
        self._image_tower: ImageTower | None = None
        self._text_tower: TextTower | None = None

    @classmethod
    def from_weights(cls, weights: str, **parameters: Any) -> Self:
        """The encoder with the heads that `diptych train builtin` wrote into a folder."""
        return cls(weights=weights, **parameters)

    @property
    def image_tower(self) -> ImageTower:
        """The image tower, loaded when first needed."""
        if self._image_tower is None:
            self._image_tower = ImageTower(self.threads)
        return self._image_tower

    @property
    def text_tower(self) -> TextTower:
        """The text tower, loaded when first needed."""
        if self._text_tower is None:
            self._text_tower = TextTower(self.threads)
        return self._text_tower

    @functools.cached_property
    def fingerprint(self) -> str:
        """Changes whenever vectors would."""
        digest = hashlib.sha256(f"{_VERSION} {self.heads}".encode())
        for name, array in sorted(self._arrays.items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return f"builtin{'' if self.heads else ':concepts'}:{digest.hexdigest()[:12]}"

    @staticmethod
    def prepare(picture: Any) -> NDArray[np.uint8]:
        """A PIL picture as `encode_image` takes it; may run in other threads."""
        return prepare(picture)

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Unit vectors (n, d) of pictures: paths, PIL pictures or what `prepare` gave."""
        parts = []
        for start in range(0, len(images), self.batch_size):
            batch = [_prepared(image) for image in images[start : start + self.batch_size]]
            parts.append(self.join_image(*self.image_tower(np.stack(batch))))
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Unit vectors (n, d) of texts."""
        return self.join_text(self.text_tower(texts)) if len(texts) else np.zeros((0, self.dim), np.float32)

    @property
    def dim(self) -> int:
        """Dimensions d of a vector."""
        concepts = self._arrays["concepts"].shape[1]
        return int(concepts + sum(self._arrays[f"text{i}.bias"].size for i in self._members()))

    def join_image(self, features: Floats, logits: Floats) -> Floats:
        """Unit vectors of the image tower's features (n, 1280) and logits (n, 1000)."""
        blocks = [concepts_of(logits, self._arrays["concepts"]) - self._arrays.get("concepts_image_mean", 0)]
        for member in self._members():
            inputs = np.concatenate([features, logits], axis=1)
            blocks.append(project(inputs, self._arrays, f"image{member}"))
        return self._joined(blocks)

    def join_text(self, vectors: Floats) -> Floats:
        """Unit vectors of the text tower's vectors (n, 384)."""
        blocks = [vectors - self._arrays["concepts_text_mean"]]
        blocks += [project(vectors, self._arrays, f"text{member}") for member in self._members()]
        return self._joined(blocks)

    def _calibrate(
        self, queries: Floats, scores: Floats, *, to: Literal["image", "text"] = "image"
    ) -> Floats:
        """Probability that a hit is a true match, (q, k) in [0, 1].

        A score counts by how many standard deviations it lies above what the query scores with unrelated
        entries, z = (s - q.mu) / sqrt(q' Sigma q). A logistic function of z was fitted on held-out pairs,
        true matches against wrong ones a hundred times as frequent.

        Args:
            queries: (q, d).
            scores: (q, k); -inf counts as impossible.
            to: The side that was searched.
        """
        z = (scores - self._expected(queries, to)) / self._deviation(queries, to)
        slope, offset = self._arrays[f"calibration_{to}"]
        with np.errstate(over="ignore"):
            chance = 1 / (1 + np.exp(-(slope * z + offset)))
        return np.where(np.isfinite(scores), chance, 0).astype(np.float32)

    def _expected(self, queries: Floats, to: str) -> Floats:
        return np.asarray(queries @ self._arrays[f"background_{to}_mean"])[:, None]

    def _deviation(self, queries: Floats, to: str) -> Floats:
        spread = np.square(queries @ self._arrays[f"background_{to}_factor"]).sum(axis=1)
        rest = float(self._arrays[f"background_{to}_rest"]) * np.square(queries).sum(axis=1)
        return np.asarray(np.sqrt(spread + rest), np.float32)[:, None]

    def _members(self) -> range:
        return range(int(self._arrays["members"])) if self.heads else range(0)

    def _joined(self, blocks: Sequence[Floats]) -> Floats:
        weights = [float(self._arrays["concept_weight"]), 1.0, 1.0, 1.0] if self.heads else [1.0]
        return unit(
            np.concatenate([np.sqrt(w) * unit(b) for w, b in zip(weights, blocks, strict=False)], axis=1)
        )


def concepts_of(logits: Floats, concepts: Floats) -> Floats:
    """ConSE: the mean of the concept vectors (1000, 384), weighted by softmax(logits / 2) (n, 1000)."""
    scaled = logits / 2
    likely = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(likely / likely.sum(axis=1, keepdims=True) @ concepts, np.float32)


def project(inputs: Floats, arrays: Mapping[str, NDArray[Any]], name: str) -> Floats:
    """One head: standardise, then a linear map plus a two-layer one with GELU; unit rows."""
    x = (inputs - arrays[f"{name}.mean"]) / arrays[f"{name}.scale"]
    hidden = x @ arrays[f"{name}.inner"] + arrays[f"{name}.inner_bias"]
    # tanh form of GELU: needs no special functions, and training uses the same form.
    gelu = 0.5 * hidden * (1 + np.tanh(0.7978845608 * (hidden + 0.044715 * hidden**3)))
    return unit(x @ arrays[f"{name}.linear"] + gelu @ arrays[f"{name}.outer"] + arrays[f"{name}.bias"])


def _prepared(image: Any) -> NDArray[np.uint8]:
    if isinstance(image, np.ndarray):
        return np.asarray(image, np.uint8)
    if isinstance(image, (str, Path)):
        from PIL import Image, ImageOps

        with Image.open(image) as opened:
            return prepare(ImageOps.exif_transpose(opened))
    return prepare(image)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise MissingData(f"{path} is missing; give a folder that `diptych train builtin` wrote")
    try:
        with np.load(path, allow_pickle=False) as saved:
            return {name: saved[name].astype(np.float32) for name in saved.files}
    except (OSError, ValueError, EOFError) as error:
        raise BadData(f"{path} is damaged ({error}); train again or install Diptych again") from error
