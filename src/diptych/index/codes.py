"""Binary codes for any dual tower: signs after a rotation, each modality around its own mean.

A vector's signs say little about it as it comes: a few directions carry most of the variance, and texts lie
elsewhere than pictures do. So the mean of its own modality is taken off, and an orthogonal map spreads the
variance over all bits. Codes are packed, eight bits to a byte, first bit highest, everywhere.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from diptych import similarity
from diptych.core import Floats
from diptych.errors import BadData, UsageError

__all__ = ["Codes", "Method", "Packed"]

Packed = NDArray[np.uint8]
Method = Literal["random", "itq"]

_ROWS = 20_000  # what a rotation is learned from: more changes its bits no more than another seed does
_BLOCK = 8192


class Codes:
    """Turns vectors of a dual tower into codes.

    Args:
        rotation: (d, bits) with orthonormal columns, or rows if there are more bits than dimensions.
        means: (d,) by side, "image" and "text".
        made_with: How the rotation came about, for the record.

    Raises:
        UsageError: bits that are no multiple of 8.
    """

    def __init__(
        self, rotation: NDArray[Any], means: dict[str, NDArray[Any]], *, made_with: str = ""
    ) -> None:
        self.rotation = np.asarray(rotation, np.float32)
        self.means = {side: np.asarray(mean, np.float32) for side, mean in means.items()}
        self.made_with = made_with
        if self.bits % 8 or not self.bits:
            raise UsageError(f"codes have a multiple of 8 bits, not {self.bits}; take 64, 128, 256 or 512")

    @property
    def bits(self) -> int:
        """Code length."""
        return int(self.rotation.shape[1])

    @classmethod
    def fit(
        cls,
        bits: int,
        image: NDArray[Any],
        text: NDArray[Any] | None = None,
        *,
        method: Method = "itq",
        iterations: int = 30,
        seed: int = 0,
    ) -> Self:
        """Learn means and rotation.

        Args:
            bits: Code length, a multiple of 8.
            image: (n, d) vectors of pictures.
            text: (m, d) vectors of texts; without any, texts are taken around the images' mean, which costs
                recall.
            method: "random" is an orthogonal map drawn at random; "itq" turns it until signs lose least
                (Gong et al., TPAMI 2013, eq. 2 and 3), after a projection onto the leading directions if
                there are fewer bits than dimensions.
            iterations: Of ITQ.
            seed: Of the draws.

        Raises:
            UsageError: no vectors, or bits that are no multiple of 8.
        """
        image = np.asarray(image, np.float32)
        if image.ndim != 2 or not len(image):
            raise UsageError("codes are learned from vectors of at least one picture, and there are none")
        rng = np.random.default_rng(seed)
        means = {"image": image.mean(axis=0)}
        means["text"] = means["image"] if text is None or not len(text) else np.asarray(text).mean(axis=0)
        learn = image[np.sort(rng.permutation(len(image))[:_ROWS])] - means["image"]
        dim = image.shape[1]
        if method == "random" or bits > dim:
            return cls(_orthogonal(dim, bits, rng), means, made_with=f"random rotation, seed {seed}")
        basis = _leading(learn, bits)
        rows = learn @ basis
        turn = _orthogonal(bits, bits, rng)
        for _ in range(iterations):
            left, _, right = np.linalg.svd(rows.T @ np.where(rows @ turn > 0, 1.0, -1.0))
            turn = (left @ right).astype(np.float32)
        return cls(basis @ turn, means, made_with=f"ITQ, {iterations} iterations, seed {seed}")

    def encode(self, vectors: NDArray[Any], side: str) -> Packed:
        """Packed codes (n, bits / 8) of vectors (n, d) of "image" or "text"."""
        vectors = np.asarray(vectors)
        if vectors.ndim != 2 or vectors.shape[1] != len(self.rotation):
            raise UsageError(f"these codes are of vectors (n, {len(self.rotation)}), not {vectors.shape}")
        found = np.zeros((len(vectors), self.bits // 8), np.uint8)
        for start in range(0, len(vectors), _BLOCK):
            part = vectors[start : start + _BLOCK].astype(np.float32) - self.means[side]
            found[start : start + len(part)] = similarity.pack(part @ self.rotation)
        return found

    def to_bytes(self) -> bytes:
        """Everything, in NumPy's zip format; the same codes give the same bytes."""
        file = io.BytesIO()
        np.savez(
            file,
            rotation=self.rotation,
            image=self.means["image"],
            text=self.means["text"],
            made_with=np.array(self.made_with),
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The codes whose bytes these are.

        Raises:
            BadData: they are not what `to_bytes` gave.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as saved:
                means = {side: saved[side] for side in ("image", "text")}
                return cls(saved["rotation"], means, made_with=str(saved["made_with"]))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise BadData(f"these are no codes, or they are damaged ({error}); make them again") from error

    def save(self, path: Path) -> None:
        """Write everything to the file `path`."""
        path.write_bytes(self.to_bytes())

    @classmethod
    def open(cls, path: Path) -> Self:
        """The codes that were saved.

        Raises:
            BadData: the file is not one that `save` wrote.
        """
        try:
            return cls.from_bytes(path.read_bytes())
        except (OSError, BadData) as error:
            raise BadData(f"{path} holds no codes, or is damaged ({error}); make them again") from error


def _orthogonal(rows: int, columns: int, rng: np.random.Generator) -> Floats:
    """(rows, columns) with orthonormal columns, or rows where there are fewer of those."""
    size = max(rows, columns)
    turned = np.linalg.qr(rng.standard_normal((size, size)))[0]
    return np.asarray(turned[:rows, :columns], np.float32)


def _leading(rows: Floats, count: int) -> Floats:
    """(d, count) directions of most variance."""
    values, vectors = np.linalg.eigh((rows.T @ rows).astype(np.float64))
    return np.asarray(vectors[:, np.argsort(-values)[:count]], np.float32)
