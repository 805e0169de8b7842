"""What every data set has: splits, and named protocols that say which split is asked about which.

A data set is used through `Dataset.split` (for training) and `Dataset.cases` (for evaluation: query and
gallery of each fold). Nothing here reads files; see `diptych.data.originals` for sets with a known home.
"""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from diptych.data.pictures import Absent, Pictures
from diptych.data.split import (
    InputKind,
    Labels,
    Side,
    Split,
    captioned,
    concat,
    hold_out,
    input_kind,
    multi_hot,
    paired_in_order,
)
from diptych.errors import BadData, UnknownName, UsageError

__all__ = [
    "Absent",
    "Dataset",
    "InputKind",
    "Labels",
    "Loaded",
    "Pictures",
    "Protocol",
    "Relevance",
    "Side",
    "Split",
    "as_dataset",
    "captioned",
    "concat",
    "hold_out",
    "input_kind",
    "multi_hot",
    "paired_in_order",
]

Relevance = Literal["pair", "label"]


class Dataset(ABC):
    """A named data set.

    Subclasses set the class attributes, or properties of the same names, and define `split`. A subclass in a
    module of its own has that module's docstring as its card.
    """

    name: str = ""
    splits: tuple[str, ...] = ()
    """Names of the splits, in the order in which they are used."""
    protocols: Mapping[str, Protocol]
    """Named ways to evaluate; the first is the default."""
    class_names: tuple[str, ...] = ()
    """What each label column means; empty where nobody recorded it."""

    @classmethod
    def open(cls, root: str | Path | None = None, variant: str | None = None) -> Dataset:
        """The set, or one of its variants, with its files under `root`.

        Raises:
            UnknownName: if there is no such variant.
        """
        if variant is not None:
            raise UnknownName(f"variant of {cls.name}", variant, ())
        return cls(root)  # type: ignore[call-arg]  # every named set takes its root first

    @abstractmethod
    def split(self, name: str) -> Split:
        """One split.

        Raises:
            UnknownName: if there is none of that name.
            MissingData, BadData: if its files are absent, or not what they should be.
        """

    @property
    def relevance(self) -> Relevance:
        """What counts as a match in the default protocol: the paired item, or one that shares a label."""
        return self.protocol().relevance

    @property
    def card(self) -> str:
        """What is known about the set: the docstring of its module."""
        return inspect.cleandoc(sys.modules[type(self).__module__].__doc__ or "")

    def protocol(self, name: str | None = None) -> Protocol:
        """The protocol of that name, or the default one.

        Raises:
            UnknownName: if there is none of that name.
        """
        if name is None:
            return next(iter(self.protocols.values()))
        if name not in self.protocols:
            raise UnknownName(f"protocol of {self.name}", name, self.protocols)
        return self.protocols[name]

    def cases(self, protocol: str | None = None) -> Iterator[tuple[Split, Split]]:
        """Query and gallery of each fold of a protocol; one object twice where they are the same split."""
        chosen = self.protocol(protocol)
        query = self.split(chosen.query)
        if chosen.captions:
            query = query.captions(chosen.captions)
        if chosen.gallery == chosen.query:
            yield from ((fold, fold) for fold in query.folds(chosen.folds))
        else:
            yield query, self.split(chosen.gallery)

    def check_split(self, name: str) -> None:
        """Refuse a name that is not in `splits`."""
        if name not in self.splits:
            raise UnknownName(f"split of {self.name}", name, self.splits)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {', '.join(self.splits)}>"


@dataclass(frozen=True, slots=True)
class Protocol:
    """Which split is asked about which, and what counts as a match.

    Args:
        query: Split whose rows ask.
        gallery: Split whose rows are ranked; the same as `query` in pair protocols.
        relevance: "pair" (the paired item) or "label" (any item that shares a label).
        train: Split to learn from.
        validation: Split to choose by; None where the protocol has none.
        folds: Cut the split into so many parts, evaluate each, average.
        captions: Keep only the first so many texts of each image; 0 keeps all.
        note: Where the protocol comes from and what to know about it.
    """

    query: str
    gallery: str
    relevance: Relevance
    train: str = "train"
    validation: str | None = None
    folds: int = 1
    captions: int = 0
    note: str = ""


def as_dataset(value: Any) -> Dataset:
    """A value that is a data set, as it is.

    Raises:
        UsageError: it is none, such as a name.
    """
    if not all(hasattr(value, name) for name in ("split", "protocol", "protocols")):
        raise UsageError(f"the data must be a data set, not {value!r}; diptych.open_data gives one by name")
    found: Dataset = value
    return found


class Loaded(Dataset):
    """A data set whose splits are already there: what the generic readers return.

    Args:
        name: Any name.
        parts: The splits by name, at least one.
        protocols: How to evaluate; by default each split but "train" against itself, by label if it has
            labels and no pairs of pictures and captions. One of pairs over splits with labels has one by
            label beside it, of the same name with ``-labels``, if there is none.
        class_names: What each label column means.
    """

    def __init__(
        self,
        name: str,
        parts: Mapping[str, Split],
        *,
        protocols: Mapping[str, Protocol] | None = None,
        class_names: Sequence[str] = (),
    ) -> None:
        if not parts:
            raise BadData(f"{name} has no split")
        self.name, self.parts, self.class_names = name, dict(parts), tuple(class_names)
        self.splits = tuple(parts)
        self.protocols = self._by_label_too(protocols or self._default_protocols())

    def _by_label_too(self, protocols: Mapping[str, Protocol]) -> dict[str, Protocol]:
        by_label = {(one.query, one.gallery) for one in protocols.values() if one.relevance == "label"}
        more = {
            f"{name}-labels": replace(one, relevance="label", folds=1, captions=0)
            for name, one in protocols.items()
            if one.relevance == "pair"
            and (one.query, one.gallery) not in by_label
            and all(
                part in self.parts and self.parts[part].label is not None for part in (one.query, one.gallery)
            )
        }
        return {**protocols, **more}

    def _default_protocols(self) -> dict[str, Protocol]:
        train = "train" if "train" in self.parts else self.splits[0]
        validation = next((name for name in ("val", "validation", "dev") if name in self.parts), None)
        order = [name for name in ("test", *self.splits) if name in self.parts and name != train] or [train]
        features = all(isinstance(part.text, np.ndarray) for part in self.parts.values())
        found: dict[str, Protocol] = {}
        for name in dict.fromkeys(order):
            # Feature sets with classes are the MAP benchmarks; captions are asked for one by one.
            relevance: Relevance = "label" if features and self.parts[name].label is not None else "pair"
            found[name] = Protocol(name, name, relevance, train=train, validation=validation)
        return found

    def split(self, name: str) -> Split:
        """One split."""
        self.check_split(name)
        return self.parts[name]
