"""The four similarities of the field, and packed codes. Arrays in, arrays out; larger is better.

Each function takes queries (q, d) and a gallery (n, d) and returns scores (q, n) float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats
from diptych.errors import BadData, UnknownName, UsageError

__all__ = [
    "SIMILARITIES",
    "check_finite",
    "check_lengths",
    "cosine",
    "dot",
    "hamming",
    "maxsim",
    "named",
    "pack",
    "unit",
    "unpack",
    "words",
]

# Lengths of vectors between which no inner product leaves single precision.
_SHORT, _LONG = 1e-15, 1e18

# So many numbers are looked at at once.
_BLOCK = 1 << 20


def check_finite(vectors: NDArray[Any], what: str) -> None:
    """Refuse vectors (n, ...) that hold NaN or infinity.

    Args:
        vectors: Numbers of any type.
        what: One of them, to begin the error with ("query vector").

    Raises:
        BadData: naming the first such row and its value; or what is given are no numbers.
    """
    vectors = np.asarray(vectors)
    if vectors.dtype.kind not in "fiub":
        raise BadData(f"each {what} must hold numbers, not {vectors.dtype}")
    if vectors.dtype.kind != "f":
        return
    step = max(1, _BLOCK // max(int(np.prod(vectors.shape[1:])), 1))
    for start in range(0, len(vectors), step):
        block = vectors[start : start + step].reshape(len(vectors[start : start + step]), -1)
        fine = np.isfinite(block)
        if not fine.all():
            row = int(np.flatnonzero(~fine.all(axis=1))[0])
            raise BadData(
                f"{what} {start + row} is not finite, it holds {block[row][~fine[row]][0]}; look for a "
                "training that diverged or a broken feature file"
            )


def check_lengths(vectors: NDArray[Any], what: str) -> None:
    """Refuse finite vectors (..., d) whose inner products leave single precision.

    Args:
        vectors: Numbers of any type.
        what: One of them, to begin the error with ("query vector").

    Raises:
        BadData: naming the longest, which is longer than 1e18 or shorter than 1e-15 (but not zero).
    """
    vectors = np.asarray(vectors)
    longest, row = 0.0, 0
    step = max(1, _BLOCK // max(int(np.prod(vectors.shape[1:])), 1))
    for start in range(0, len(vectors), step):
        block = vectors[start : start + step].astype(np.float64)
        with np.errstate(over="ignore"):
            lengths = np.sqrt((block**2).sum(axis=-1)).reshape(len(block), -1).max(axis=1, initial=0)
        # Of doubles that are shorter than any single, the square is zero.
        lengths = np.maximum(lengths, np.abs(block).reshape(len(block), -1).max(axis=1, initial=0))
        at = int(lengths.argmax())
        if lengths[at] > longest:
            longest, row = float(lengths[at]), start + at
    if longest > _LONG or 0 < longest < _SHORT:
        raise BadData(
            f"{what} {row}, the longest, has the length {longest:.3g}, so that inner products leave single "
            "precision; multiply all vectors by one number, which changes no ranking, or compare by cosine"
        )


def unit(vectors: NDArray[Any]) -> Floats:
    """Rows scaled to length one, float32, whatever their scale; a row of zeros stays zero.

    Raises:
        BadData: a row that is not finite.
    """
    vectors = np.asarray(vectors)
    if not vectors.size:
        return vectors.astype(np.float32)
    check_finite(vectors, "vector")
    vectors = np.asarray(vectors, np.result_type(vectors.dtype, np.float32))
    largest = np.maximum(
        vectors.max(axis=-1, keepdims=True, initial=0), -vectors.min(axis=-1, keepdims=True, initial=0)
    )
    # By a power of two, which rounds nothing, and before squaring, so that no square leaves the precision.
    found = np.ldexp(vectors, -np.frexp(largest)[1])
    length = np.linalg.norm(found, axis=-1, keepdims=True)
    found /= np.where(length > 0, length, 1)
    return np.asarray(found, dtype=np.float32)


def dot(queries: NDArray[Any], gallery: NDArray[Any]) -> Floats:
    """Inner products.

    Raises:
        BadData: one that single precision cannot hold, naming the query.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        found: Floats = np.asarray(queries, dtype=np.float32) @ np.asarray(gallery, dtype=np.float32).T
    fine = np.isfinite(found)
    if not fine.all():
        query, entry = (int(at) for at in np.argwhere(~fine)[0])
        raise BadData(
            f"the inner product of query {query} and entry {entry} is {found[query, entry]}: the vectors are "
            "not finite, or too long for single precision; multiply all vectors by one number, which "
            "changes no ranking, or compare by cosine"
        )
    return found


def cosine(queries: NDArray[Any], gallery: NDArray[Any]) -> Floats:
    """Inner products of the unit vectors, in [-1, 1]; 0 with a row of zeros.

    Raises:
        BadData: a vector that is not finite.
    """
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

    Raises:
        BadData: products that single precision cannot hold, naming the query.
    """
    queries, gallery = np.asarray(queries, dtype=np.float32), np.asarray(gallery, dtype=np.float32)
    real_query, real_gallery = (queries != 0).any(axis=-1), (gallery != 0).any(axis=-1)
    scores = np.empty((len(queries), len(gallery)), dtype=np.float32)
    for row, (tokens, real) in enumerate(zip(queries, real_query, strict=True)):
        with np.errstate(over="ignore", invalid="ignore"):
            products = np.einsum("td,nud->ntu", tokens[real], gallery)
        if not np.isfinite(products).all():
            raise BadData(
                f"tokens of query {row} have products that single precision cannot hold; multiply all "
                "vectors by one number, which changes no ranking"
            )
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
