"""How one part of a system (a head, an extractor) is written into a folder, and made again from its card.

A part has `hyperparameters` (JSON; what its constructor takes) and `fingerprint`. One that has learned
something has ``arrays()``, by name, and ``restore(arrays)``. Its class may say in `arrays_file` where these
are kept (default: beside the card, under the card's name with ``.npz``), and in `start_files` which
hyper-parameters name files of first weights, which a saved part needs no more.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from diptych import files
from diptych.catalogue.parameters import checked
from diptych.errors import BadData, MissingData
from diptych.media.textfiles import content, decoded, parsed
from diptych.optional import optional

__all__ = ["Part", "file_name", "read_card", "restored", "write"]

_WEIGHTS = "the weights of a trained system"
_WHERE = "give a folder that `diptych train` wrote"


class Part(Protocol):
    """What can be saved."""

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        """What its constructor takes, as JSON can hold it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal only if what it gives is."""
        ...


def write(part: Part, card: Path, **facts: Any) -> None:
    """Write a part: its card, and before it what it has learned.

    Args:
        part: A head or an extractor.
        card: The card's file; its folder is made if it is not there.
        facts: What else the card should hold and JSON can.
    """
    if hasattr(part, "arrays"):
        path = _arrays_path(type(part), card)
        files.write(path, _packed(path, part.arrays()))
    record = {
        "name": file_name(part),
        "parameters": part.hyperparameters,
        "fingerprint": part.fingerprint,
        **facts,
    }
    # Last, because a folder with a card counts as whole.
    files.write(card, json.dumps(record, indent=2) + "\n")


def file_name(part: object) -> str:
    """The name of a part's module, by which the catalogue finds its class."""
    return type(part).__module__.rpartition(".")[2]


def restored(kind: type, card: Path, **parameters: Any) -> Any:
    """The part of that class whose card it is.

    Args:
        kind: Its class.
        card: The card's file.
        parameters: Over those of the card, where what was learned allows it.

    Raises:
        MissingData: there is no such card, or what was learned is gone.
        BadData: the files are damaged or do not fit the class.
        BadParameter: a parameter that the class does not have.
    """
    record = read_card(card)
    if not isinstance(record.get("parameters"), dict):
        raise BadData(f"{card} is damaged (it names no parameters); train again or restore it")
    blank = dict.fromkeys(getattr(kind, "start_files", ()), "")
    part = kind(**checked(kind, {**record["parameters"], **blank, **parameters}))
    if hasattr(part, "restore"):
        path = _arrays_path(kind, card)
        if not path.is_file():
            raise MissingData(f"{card.parent} has no {path.name}, which belongs to {card.name}; {_WHERE}")
        try:
            part.restore(_unpacked(path, path.read_bytes()))
        except RuntimeError as error:
            what = " ".join(str(error).split())
            raise BadData(f"{path} does not fit the parameters of {kind.__name__}: {what}") from error
        except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
            raise BadData(f"{path} is damaged ({error}); train again or restore it") from error
    return part


def read_card(card: Path) -> dict[str, Any]:
    """What a card says.

    Raises:
        MissingData: there is no such file.
        BadData: it is damaged.
    """
    if not card.is_file():
        raise MissingData(f"{card.parent} has no {card.name}; {_WHERE}")
    try:
        record = parsed(decoded(content(card)))
    except (OSError, BadData) as error:
        raise BadData(f"{card} is damaged ({error}); train again or restore it") from error
    if not isinstance(record, dict):
        raise BadData(f"{card} is damaged (it is no mapping); train again or restore it")
    return record


def _arrays_path(kind: type, card: Path) -> Path:
    return card.with_name(getattr(kind, "arrays_file", card.with_suffix(".npz").name))


def _packed(path: Path, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    if path.suffix == ".safetensors":
        found: bytes = optional("safetensors.numpy", _WEIGHTS, "train").save(dict(arrays))
        return found
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # names are ours
    return file.getvalue()


def _unpacked(path: Path, content: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of a file.

    Raises:
        ValueError, KeyError, OSError, EOFError, BadZipFile: it is damaged.
    """
    if path.suffix == ".safetensors":
        try:
            found: dict[str, NDArray[Any]] = optional("safetensors.numpy", _WEIGHTS, "train").load(content)
        except optional("safetensors", _WEIGHTS, "train").SafetensorError as error:
            raise ValueError(str(error)) from error
        return found
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return dict(file)
