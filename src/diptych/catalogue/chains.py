"""A whole system in a run folder: the head with its card, and in the folder `features` its extractors.

There each side has a card (``image.json``, ``text.json``), and ``scale.npz`` holds the mean and the deviation
of features that are standardised.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from diptych import files
from diptych.catalogue.listing import card, named_by
from diptych.catalogue.saving import file_name, read_card, restored, write
from diptych.chain import Chain, RetrieverChain, Scale, ScorerChain, Standard
from diptych.errors import BadData, MissingData, WrongModel

__all__ = ["extractors_of", "name_in", "name_of", "save", "write_extractors"]

_SIDES = ("image", "text")
_SCALE = ("mean", "deviation")


def save(system: Any, folder: Path, **facts: Any) -> None:
    """Write what `load` makes the same system of again.

    Args:
        system: An encoder that was trained, or a chain of one with its extractors.
        folder: Made if it is not there.
        facts: What else the card should hold and JSON can.
    """
    if isinstance(system, Chain | RetrieverChain | ScorerChain):
        extractors = {side: getattr(system, side) for side in _SIDES if getattr(system, side) is not None}
        write_extractors(folder / "features", extractors)
        facts = {**facts, "features": {side: name_of(one) for side, one in extractors.items()}}
        if any(isinstance(one, Standard) for one in extractors.values()):
            facts["standardised"] = True
        system = system.head
    if hasattr(system, "save"):
        system.save(folder, **facts)
    else:
        write(system, folder / "card.json", **facts)


def write_extractors(folder: Path, extractors: Mapping[str, Any]) -> None:
    """Write the cards of extractors, by side, and what they have learned.

    Args:
        folder: Made if it is not there.
        extractors: By side; those that standardise are written with their scale.
    """
    scales: dict[str, Any] = {}
    for side, extractor in extractors.items():
        standard = isinstance(extractor, Standard)
        write(extractor.inner if standard else extractor, folder / f"{side}.json")
        if standard:
            scales |= {f"{side}_{part}": getattr(extractor.scale, part) for part in _SCALE}
    if scales:
        content = io.BytesIO()
        np.savez(content, **scales)
        files.write(folder / "scale.npz", content.getvalue())


def extractors_of(folder: Path) -> dict[str, Any]:
    """The extractors whose cards a folder holds, by side; they standardise where that was done.

    Raises:
        MissingData: there are none, or a file of weights is gone.
        BadData: the files are damaged.
        WrongModel: the weights are no longer those that were used.
    """
    cards = {side: folder / f"{side}.json" for side in _SIDES}
    found = {side: _extractor(path) for side, path in cards.items() if path.is_file()}
    if not found:
        raise MissingData(f"{folder} holds no extractors; it should hold image.json or text.json")
    return found | {side: Standard(found[side], scale) for side, scale in _scales(folder).items()}


def name_of(part: Any) -> str:
    """The name by which `load` finds such a part anew, before it has learned anything."""
    if isinstance(part, Standard):
        return name_of(part.inner)
    own: str | None = getattr(part, "name", None)
    if own is not None:
        return own
    parameters: Mapping[str, Any] = part.hyperparameters
    variant = getattr(part, "variant", None)
    number = f":{parameters[variant]}" if variant else ""
    return f"{file_name(part)}{number}" + (f"@{parameters['weights']}" if parameters.get("weights") else "")


def name_in(record: Mapping[str, Any], path: Path) -> str:
    """Of which system or extractor a card is.

    Raises:
        BadData: it does not say.
    """
    name = record.get("name", record.get("feature"))  # extractors were once called so
    if not isinstance(name, str):
        raise BadData(f"{path} is damaged (it does not say whose card it is); train again or restore it")
    return name


def _extractor(path: Path) -> Any:
    """The extractor whose card it is."""
    record = read_card(path)
    name = name_in(record, path)
    extractor = restored(named_by(card("feature", name)), path)
    # Weights may lie in a file outside the folder.
    if extractor.fingerprint != record.get("fingerprint"):
        raise WrongModel(
            f"{path} was written with other weights of {name} than those there now; "
            "bring back the original file or train again"
        )
    return extractor


def _scales(folder: Path) -> dict[str, Scale]:
    path = folder / "scale.npz"
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            sides = dict.fromkeys(key.partition("_")[0] for key in arrays)
            return {side: Scale(*(arrays[f"{side}_{part}"] for part in _SCALE)) for side in sides}
    except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
        raise BadData(f"{path} is damaged ({error}); train again") from error
