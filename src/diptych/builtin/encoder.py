"""The joint space of the built-in model, and how its scores become probabilities."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from diptych.builtin.towers import IMAGE_SIZE, WEIGHTS, ImageTower, TextTower, prepare_image
from diptych.core import Floats, Side
from diptych.errors import BadData, MissingData
from diptych.media.pictures import batches
from diptych.similarity import unit

__all__ = ["FITTED_AMONG", "HEADS", "Builtin", "compact", "concepts_of", "project"]

HEADS = "heads.npz"
_SCALE = ":scale"  # ends the name of the scales of a matrix in 8 bits
_NAMING, _CLOSE, _CLOSE_WIDTH = 8.0, 0.8, 0.05
"""Weight of the concepts for a text that names one, and the cosine at which it is half way there: captions of
photographs lie at 0.4 to their nearest concept, "a photo of a NAME" above 0.9."""
FITTED_AMONG = 100  # entries to one match, in the fit of the probabilities
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
    def prepare_image(picture: Any) -> NDArray[np.uint8]:
        """A picture as `encode_image` takes it; may run in other threads."""
        return prepare_image(picture)

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Unit vectors (n, d) of pictures, each as `open_picture` takes it or what `prepare_image` gave."""
        parts = []
        for batch in batches(images, self):
            parts.append(self.join_image(*self.image_tower(batch)))
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
        blocks = [
            concepts_of(logits, self._arrays["concepts"]) - self._arrays.get("concepts_image_mean", 0.0)
        ]
        blocks += [project(features, self._arrays, f"image{member}") for member in self._members()]
        return _joined(blocks, np.ones(len(features)))

    def join_text(self, vectors: Floats) -> Floats:
        """Unit vectors of the text tower's vectors (n, 384)."""
        blocks = [vectors - self._arrays.get("concepts_text_mean", self._arrays["concepts_origin"])]
        blocks += [project(vectors, self._arrays, f"text{member}") for member in self._members()]
        return _joined(blocks, self._concept_weights(vectors))

    def _calibrate(
        self,
        queries: Floats,
        scores: Floats,
        *,
        to: Side = "image",
        entries: int = FITTED_AMONG,
    ) -> Floats:
        """Probability that a hit is a true match, (q, k) in [0, 1].

        A score counts by how many standard deviations it lies above what the query scores with unrelated
        entries, z = (s - q.mu) / sqrt(q' Sigma q). A logistic function of z was fitted on held-out pairs,
        true matches against wrong ones a hundred times as frequent; among more entries a match is rarer.

        Args:
            queries: (q, d).
            scores: (q, k); -inf counts as impossible.
            to: The side that was searched.
            entries: How many were searched, of which one is taken to match.
        """
        z = (scores - self._expected(queries, to)) / self._deviation(queries, to)
        slope, offset = self._arrays[f"calibration_{to}"]
        offset = offset + np.log((FITTED_AMONG - 1) / (max(entries, 2) - 1))
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

    def _concept_weights(self, vectors: Floats) -> Floats:
        """How much the concepts count for each text (n,), against 1 for each head.

        The heads know the captions of everyday photographs, the concepts know things by name. So the weight
        of a text rises from the calibrated one to `_NAMING` as the text comes close to the name of a concept.
        """
        if not self.heads:
            return np.ones(len(vectors), np.float32)
        concepts = unit(self._arrays["concepts"])
        closeness = (unit(vectors - self._arrays["concepts_origin"]) @ concepts.T).max(axis=1)
        naming = 1 / (1 + np.exp(-(closeness - _CLOSE) / _CLOSE_WIDTH))
        least = float(self._arrays["concept_weight"])
        return np.asarray(least + (_NAMING - least) * naming, np.float32)


def _joined(blocks: Sequence[Floats], first: NDArray[Any]) -> Floats:
    """Unit blocks side by side, the first one weighted (n,), as unit vectors."""
    units = [unit(block) for block in blocks]
    units[0] = units[0] * first[:, None].astype(np.float32)
    return unit(np.concatenate(units, axis=1))


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


def compact(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Arrays as they are stored: matrices in 8 bits with a scale a column, vectors in half precision."""
    small: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        if array.ndim < 2:
            small[name] = np.asarray(array, np.float16 if array.size > 4 else np.float64)
            continue
        scale = np.abs(array).max(axis=0) / 127
        scale[scale == 0] = 1
        small[name] = np.round(array / scale).astype(np.int8)
        small[name + _SCALE] = scale.astype(np.float32)
    return small


def _expanded(small: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What `compact` made small, in single precision."""
    return {
        name: array.astype(np.float32) * small.get(name + _SCALE, np.float32(1))
        for name, array in small.items()
        if not name.endswith(_SCALE)
    }


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise MissingData(f"{path} is missing; give a folder that `diptych train builtin` wrote")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            return _expanded(dict(saved))
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise BadData(f"{path} is damaged ({error}); train again or install Diptych again") from error
