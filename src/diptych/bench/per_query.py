"""What each query reached, in a byte, so that kept results can be compared query by query."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.bench.store import Result
from diptych.errors import BadData
from diptych.metrics import Difference, paired_differences

__all__ = ["difference", "packed", "unpacked"]


def packed(values: NDArray[Any]) -> str:
    """Values (q,) in [0, 1], rounded to 255ths: what that does to a mean over hundreds is below 0.0002.

    Raises:
        BadData: a value outside.
    """
    if not ((values > -1e-9) & (values < 1 + 1e-9)).all():
        raise BadData("only values between 0 and 1 are kept by query")
    return base64.b64encode(zlib.compress(np.round(values * 255).astype(np.uint8).tobytes(), 9)).decode()


def unpacked(text: str) -> NDArray[np.float64]:
    """The values (q,) of `packed`."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8) / 255


def difference(first: Sequence[Result], second: Sequence[Result], direction: str) -> Difference | None:
    """By how much one system's main measure is ahead of another's, with an interval over queries and seeds.

    Args:
        first, second: Results of each system on the same data, one a seed.
        direction: "image to text" or "text to image".

    Returns:
        None where results do not say what each query reached, or asked other queries.
    """
    sides = []
    for results in (first, second):
        kept = [one["results"][direction].get("per_query") for one in results]
        if not all(kept) or any(one["splits_sha256"] != first[0]["splits_sha256"] for one in results):
            return None
        sides.append(np.stack([unpacked(one) for one in kept])[:, :, None])
    return paired_differences(*sides, samples=1000)[0]
