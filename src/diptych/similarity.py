"""The four similarities of the field, and packed codes. Arrays in, arrays out; larger is better.

Each function takes queries (q, d) and a gallery (n, d) and returns scores (q, n) float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats
from diptych.errors import UnknownName, UsageError

__all__ = ["SIMILARITIES", "cosine", "dot", "hamming", "maxsim", "named", "pack", "unit", "unpack", "words"]


def unit(vectors: NDArray[Any]) -> Floats:
    """Rows scaled to length one, float32; a row of zeros stays zero."""
    vectors = np.asarray(vectors, dtype=np.float32)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1), dtype=np.float32)


def dot(queries: NDArray[Any], gallery: NDArray[Any]) -> Floats:
    """Inner products."""
    return np.asarray(queries, dtype=np.float32) @ np.asarray(gallery, dtype=np.float32).T


def cosine(queries: NDArray[Any], gallery: NDArray[Any]) -> Floats:
    """Inner products of the unit vectors, in [-1, 1]; 0 with a row of zeros."""
    return dot(unit(queries), unit(gallery))


def hamming(queries: NDArray[Any], gallery: NDArray[Any]) -> Floats:
    """Minus the number of differing bits of +1/-1 codes, in [-d, 0]; anything > 0 counts as +1.

    Zero counts as -1, as in the packed reference evaluation of DCMH (jiangqy/DCMH-CVPR2017), so that no
    distance is ever half a bit.
    """
    queries, gallery = np.asarray(queries), np.asarray(gallery)
    signs = [np.where(codes > 0, np.float32(1), np.float32(-1)) for codes in (queries, gallery)]
    return np.asarray((signs[0] @ signs[1].T - queries.shape[1]) / 2, dtype=np.float32)


def maxsim(queries: NDArray[Any], gallery: NDArray[Any]) -> Floats:
    """Late interaction: for each query token the best gallery token, summed over query tokens.

    Args:
        queries: (q, t, d); a token of zeros is padding and adds nothing.
        gallery: (n, u, d); a token of zeros is padding and is never the best.
    """
    queries, gallery = np.asarray(queries, dtype=np.float32), np.asarray(gallery, dtype=np.float32)
    real_query, real_gallery = (queries != 0).any(axis=-1), (gallery != 0).any(axis=-1)
    scores = np.empty((len(queries), len(gallery)), dtype=np.float32)
    for row, (tokens, real) in enumerate(zip(queries, real_query, strict=True)):
        products = np.einsum("td,nud->ntu", tokens[real], gallery)
        best = np.where(real_gallery[:, None, :], products, -np.inf).max(axis=-1, initial=-np.inf)
        scores[row] = best.sum(axis=-1)
    return scores


SIMILARITIES: dict[str, Callable[[NDArray[Any], NDArray[Any]], Floats]] = {
    "cosine": cosine,
    "dot": dot,
    "hamming": hamming,
    "maxsim": maxsim,
}


def named(name: str) -> Callable[[NDArray[Any], NDArray[Any]], Floats]:
    """The similarity of that name.

    Raises:
        UnknownName: if there is none.
    """
    if name not in SIMILARITIES:
        raise UnknownName("similarity", name, SIMILARITIES)
    return SIMILARITIES[name]


def pack(codes: NDArray[Any]) -> NDArray[np.uint8]:
    """Codes (n, bits), where > 0 is a set bit, as (n, bits / 8) bytes, first bit highest."""
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.shape[1] % 8:
        raise ValueError(f"codes must be (n, bits) with bits a multiple of 8, not {codes.shape}")
    return np.packbits(codes > 0, axis=1)


def unpack(packed: NDArray[np.uint8]) -> Floats:
    """The +1/-1 codes (n, bits) float32 of packed bytes (n, bits / 8)."""
    return np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1


def words(bits: NDArray[Any]) -> NDArray[np.uint64]:
    """Bits (n, b), where > 0 is a set one, or packed bytes (n, b / 8) uint8, as 64-bit words (n, w).

    There is at least one word; what is left of the last is 0.

    Raises:
        UsageError: not of two dimensions.
    """
    bits = np.asarray(bits)
    if bits.ndim != 2:
        raise UsageError(f"codes must be (n, bits), or packed (n, bytes), not {bits.shape}")
    packed = bits if bits.dtype == np.uint8 else np.packbits(bits > 0, axis=1)
    padded = np.zeros((len(packed), 8 * max(1, -(-packed.shape[1] // 8))), np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64)
