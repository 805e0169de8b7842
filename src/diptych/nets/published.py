"""Checkpoints of transformers as they were published, in the names of their authors or of a library."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from diptych.errors import BadData
from diptych.optional import optional
from diptych.towers.checkpoint import folder_of

__all__ = ["published", "renamed", "take"]

_FILES = ("config.json", "*.safetensors", "tokenizer.json")
_PICKLES = ("*.ckpt", "*.pth", "*.pt", "*.bin")
_WRAPPED = ("state_dict", "model_state_dict", "model")


def published(checkpoint: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their names; nothing in it is run.

    Args:
        checkpoint: A file (safetensors or of torch), a folder with one, or OWNER/NAME of the hub.

    Raises:
        MissingData: it is not there.
        BadData: it is no checkpoint, or not whole.
    """
    path = Path(checkpoint).expanduser()
    if not path.is_file():
        path = folder_of(checkpoint, _FILES)
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    if not files:
        files = next((found for kind in _PICKLES if (found := sorted(path.glob(kind)))), [])
    if not files:
        raise BadData(f"{path} holds no weights; give a folder with safetensors, or the file itself")
    state: dict[str, Tensor] = {}
    for file in files:
        state |= _read(file)
    return state


def _read(file: Path) -> dict[str, Tensor]:
    safetensors = optional("safetensors.torch", "reading weights", "train")
    damaged = optional("safetensors", "reading weights", "train").SafetensorError
    try:
        if file.suffix == ".safetensors":
            return dict(safetensors.load_file(file))
        found = torch.load(file, map_location="cpu", weights_only=True)
        for name in _WRAPPED:
            found = found.get(name, found)
        state = {key.removeprefix("module."): value for key, value in found.items()}
    except (OSError, EOFError, RuntimeError, AttributeError, pickle.UnpicklingError, damaged) as error:
        raise BadData(f"{file} holds no weights that can be read ({str(error).splitlines()[0]})") from error
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise BadData(f"{file} holds something else than named tensors, so it is no checkpoint")
    return state


def renamed(state: Mapping[str, Tensor], names: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """The tensors under other names: of each, the first pattern that fits its beginning decides.

    Args:
        state: Tensors by their names.
        names: Pattern and replacement, as for `re.sub`; a name that none fits is kept.
    """
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        pattern = next((pair for pair in names if re.match(pair[0], key)), None)
        found[re.sub(pattern[0], pattern[1], key, count=1) if pattern else key] = value
    return found


def take(net: nn.Module, state: Mapping[str, Tensor], what: str, *, drawn: Sequence[str] = ()) -> set[str]:
    """Put the tensors of a checkpoint into a network; those that it does not have are passed over.

    Args:
        net: The network.
        state: Tensors by the network's names.
        what: The system's name, for errors.
        drawn: Beginnings of names (heads) that a checkpoint may lack, which then stay as they are.

    Returns:
        The names that were lacking.

    Raises:
        BadData: a tensor is missing or has another shape.
    """
    own = net.state_dict()
    lacking = {key for key in own if key not in state}
    needed = sorted(key for key in lacking if not key.startswith(tuple(drawn)))
    if needed:
        raise BadData(
            f"this is no whole {what} checkpoint: it lacks {len(needed)} tensors, the first {needed[0]}"
        )
    for key in own.keys() - lacking:
        if own[key].shape != state[key].shape:
            raise BadData(
                f"this is no checkpoint of such a {what}: {key} is {tuple(state[key].shape)}, "
                f"not {tuple(own[key].shape)}"
            )
    net.load_state_dict({key: state[key] for key in own.keys() - lacking}, strict=False)
    return lacking
