"""Captures and restores what a training must remember, and writes it so that a crash leaves the old file.

What can be kept: anything with `state_dict` and `load_state_dict` (modules, optimisers, schedules), tensors
and arrays that are changed in place, and random generators of torch and numpy. Files hold tensors, numbers
and strings only; reading one runs no code.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diptych.errors import TrainingError
from diptych.files import replacing

__all__ = ["capture", "read", "restore", "write"]


def capture(kept: Sequence[Any]) -> list[Any]:
    """An independent copy, in main memory, of the state of each object.

    Raises:
        TrainingError: an object whose state cannot be taken.
    """
    return [_copied(_state(thing)) for thing in kept]


def restore(kept: Sequence[Any], states: Sequence[Any]) -> None:
    """Put captured states back into the objects, in place.

    Raises:
        TrainingError: if they do not fit.
    """
    if len(kept) != len(states):
        raise TrainingError(
            f"the checkpoint holds {len(states)} objects, but {len(kept)} are to be restored; "
            "it was written by another version of this system: train in another folder"
        )
    for thing, state in zip(kept, states, strict=True):
        try:
            _put(thing, state)
        except (RuntimeError, ValueError, KeyError) as error:
            raise TrainingError(
                f"the checkpoint does not fit {type(thing).__name__} ({error}); train in another folder"
            ) from error


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint; whenever the machine stops, the file is either the old or the new one."""
    with replacing(path) as part:
        torch.save(dict(content), part)


def read(path: Path) -> dict[str, Any]:
    """What `write` wrote.

    Raises:
        TrainingError: if the file is damaged.
    """
    if not zipfile.is_zipfile(path):
        raise TrainingError(f"{path} is damaged (no archive); remove it and train again")
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{path} is damaged ({error}); remove it and train again") from error
    return content


def _state(thing: Any) -> Any:
    if hasattr(thing, "state_dict") and hasattr(thing, "load_state_dict"):
        return thing.state_dict()
    if isinstance(thing, torch.Tensor):
        return thing.detach()
    if isinstance(thing, np.ndarray):
        return torch.from_numpy(thing)
    if isinstance(thing, torch.Generator):
        return thing.get_state()
    if isinstance(thing, np.random.Generator):
        return json.dumps(thing.bit_generator.state)
    raise TrainingError(
        f"{type(thing).__name__} cannot be kept over a restart; "
        "keep modules, optimisers, tensors, arrays or random generators"
    )


def _put(thing: Any, state: Any) -> None:
    if hasattr(thing, "load_state_dict"):
        # Optimisers would otherwise share the tensors of the snapshot and change it.
        thing.load_state_dict(_copied(state))
    elif isinstance(thing, torch.Tensor):
        with torch.no_grad():
            thing.copy_(state)
    elif isinstance(thing, np.ndarray):
        thing[...] = state.numpy()
    elif isinstance(thing, torch.Generator):
        thing.set_state(state)
    else:
        thing.bit_generator.state = json.loads(state)


def _copied(state: Any) -> Any:
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, Mapping):
        return {key: _copied(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_copied(value) for value in state)
    return state
