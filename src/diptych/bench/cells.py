"""One cell of a result table: a system trained on a data set with one seed, and the fingerprint of that.

A cell's fingerprint covers everything that decides its result: system, settings, seed and protocol; all that
the splits hold which it learns from, chooses by, asks and ranks; the weights of extractors; and all code that
it runs (see `diptych.bench.code`). A finished cell is never computed twice, and a changed one never taken for
the old one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from diptych import catalogue
from diptych.bench.code import code_sha256, literal
from diptych.data import open_data
from diptych.data.base import Dataset
from diptych.data.views import Cut

__all__ = ["Cell", "open_cell_data"]


@dataclass(frozen=True)
class Cell:
    """What is computed.

    Args:
        system: ``name[:variant]``; "sign:NAME" is the real-valued system NAME with the signs of its vectors.
        data: ``name[:variant]``.
        protocol: Of the data.
        seed: Of the training.
        features: See `diptych.features.named`; "" for data that have their own.
        validation: Split to choose the epoch by; "" takes the protocol's, or holds one image in ten out of
            the training data.
        limit: Learn from so many images only, drawn with seed 0; 0 learns from all.
        pairs: Hide the labels, so that a system learns from pairs alone.
        standardise: Give each feature the mean 0 and the deviation 1 over the training data.
        settings: Hyper-parameters over those of variant and recipe.
    """

    system: str
    data: str
    protocol: str
    seed: int = 0
    features: str = ""
    validation: str = ""
    limit: int = 0
    pairs: bool = False
    standardise: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def trained(self) -> str:
        """Name of the system that is trained, without "sign:"."""
        return self.system.removeprefix("sign:")

    def key(self, dataset: Dataset) -> str:
        """The fingerprint, 16 hex digits: equal only if the same would be computed.

        Args:
            dataset: From `open_cell_data`.

        Raises:
            MissingData: a split that the cell needs, or a file of an extractor, is not here.
        """
        return _sha256({**asdict(self), **self.depends(dataset)})

    def depends(self, dataset: Dataset) -> dict[str, str]:
        """Fingerprints of what a result depends on beside what the cell says: "data" and "code".

        Raises:
            MissingData: as for `key`.
        """
        return {"data": self._data(dataset), "code": self.code()}

    def code(self) -> str:
        """Fingerprint of all code that computes the cell."""
        return _code(self.trained, self.features)

    def _data(self, dataset: Dataset) -> str:
        chosen = dataset.protocol(self.protocol)
        splits = {
            "train": chosen.train,
            "query": chosen.query,
            "gallery": chosen.gallery,
            "validation": self.validation or chosen.validation,
        }
        if _extractors(self.trained, self.features):
            splits["fitted on"] = dataset.protocol().train
        rules = {name: value for name, value in asdict(chosen).items() if name != "note"}
        prints = {role: name and dataset.split(name).fingerprint for role, name in splits.items()}
        return _sha256({"protocol": rules, "splits": prints, "weights": _weights(self.features)})


def open_cell_data(cell: Cell, root: Path | None = None) -> Dataset:
    """The cell's data, cut and stripped as it says, before features.

    Raises:
        UnknownName: no such data set, variant or protocol.
        MissingData: a split that the protocol needs is not here.
    """
    dataset: Dataset = open_data(cell.data, root)
    chosen = dataset.protocol(cell.protocol)
    dataset = Cut(dataset, chosen.train, cell.limit, cell.pairs) if cell.limit or cell.pairs else dataset
    for name in dict.fromkeys((chosen.train, chosen.query, chosen.gallery)):
        dataset.split(name)
    return dataset


@cache
def _code(system: str, features: str) -> str:
    return code_sha256(*_modules(system, features))[:16]


def _modules(system: str, features: str) -> list[str]:
    """The modules that a cell names; all others come by their imports."""
    modules = ["diptych.bench.run", catalogue.card("system", catalogue.parse(system).system).module]
    for name in _extractors(system, features):
        own = catalogue.parse(name).system
        if own in catalogue.names("feature"):
            modules.append(catalogue.card("feature", own).module)
        else:  # an encoder that serves as one
            modules += [catalogue.card("feature", "dual").module, catalogue.card("system", own).module]
    return modules


@cache
def _extractors(system: str, features: str) -> tuple[str, ...]:
    """Names of extractors: those asked for, and those that the system's variant reads through."""
    parts = catalogue.parse(system)
    usual = literal(catalogue.card("system", parts.system).module, "FEATURES", {}).get(parts.variant, "")
    named = [part for text in (features, usual) for part in text.split(",") if part]
    return tuple(part.partition("=")[2] or part for part in named)


@cache
def _weights(features: str) -> dict[str, str]:
    """Fingerprint of each named extractor; one that is fitted to the training data is known by its name."""
    if not features:
        return {}
    from diptych.features import named

    return {side: one.fingerprint for side, one in named(features).items() if getattr(one, "fitted", True)}


def _sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
