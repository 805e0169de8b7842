"""Small trained heads on the outputs of towers, in numpy; and how little room their arrays need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats
from diptych.similarity import unit

__all__ = ["compact", "expanded", "project"]

_SCALE = ":scale"  # ends the name of the scales of a matrix in 8 bits


def project(inputs: Floats, arrays: Mapping[str, NDArray[Any]], name: str) -> Floats:
    """One head: standardise, then a linear map plus a two-layer one with GELU; unit rows.

    Args:
        inputs: (n, d).
        arrays: Those of the head under names that begin with `name` and a point.
        name: Which head.
    """
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


def expanded(small: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What `compact` made small, in single precision."""
    return {
        name: array.astype(np.float32) * small.get(name + _SCALE, np.float32(1))
        for name, array in small.items()
        if not name.endswith(_SCALE)
    }
