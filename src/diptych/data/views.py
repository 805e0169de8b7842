"""Data sets seen differently: cut, parted, as features, standardised.

Each is a `View` of another data set, and a view may be seen through a view. What chooses rows comes first
(`Cut`, then `HeldOut`), then what reads them (`Featured`), then what scales what was read (`Standardised`):
extractors are fitted on, and features scaled by, exactly the items that are learned from.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from diptych.chain import Scale
from diptych.data.base import Dataset, Split, hold_out
from diptych.data.extracted import extract
from diptych.data.reading import report_of
from diptych.errors import BadData, UsageError
from diptych.media.report import Report

__all__ = ["Cut", "Featured", "HeldOut", "Standardised", "View"]


class View(Dataset):
    """A data set made of another one; subclasses define `make`.

    Args:
        inner: The other one, whose name, splits, protocols and classes are taken over.
    """

    def __init__(self, inner: Dataset) -> None:
        self.inner = inner
        self.name, self.splits, self.class_names = inner.name, inner.splits, inner.class_names
        self.protocols = inner.protocols
        self._made: dict[str, Split] = {}

    @abstractmethod
    def make(self, name: str) -> Split:
        """One split, which `split` asks for once."""

    def split(self, name: str) -> Split:
        """One split.

        Raises:
            UnknownName, MissingData, BadData: as the data set's own.
        """
        if name not in self._made:
            self.check_split(name)
            self._made[name] = self.make(name)
        return self._made[name]


class Cut(View):
    """A data set whose training split is cut to some of its images, or whose labels are hidden.

    Args:
        inner: The data set.
        train: The split to cut.
        limit: Images that are left, drawn with seed 0; 0 for all.
        pairs: Whether to hide the labels of every split, so that only pairs are left to learn from.
    """

    def __init__(self, inner: Dataset, train: str, limit: int, pairs: bool) -> None:
        super().__init__(inner)
        self.train, self.limit, self.pairs = train, limit, pairs

    def make(self, name: str) -> Split:
        """One split."""
        found = self.inner.split(name)
        if self.limit and name == self.train and len(found) > self.limit:
            order = np.random.default_rng(0).permutation(len(found))[: self.limit]
            found = found.take(np.sort(order))
        return replace(found, label=None, text_label=None) if self.pairs else found


class HeldOut(View):
    """A data set without splits of its own, as what is learned from and what is kept to measure by.

    One image in ten, with its texts, is held out: whoever learned from everything would be measured on what
    they learned.

    Args:
        inner: The data set.
        protocol: One of its protocols that asks about the very split that it learns from; its default, if
            None.
    """

    def __init__(self, inner: Dataset, protocol: str | None = None) -> None:
        super().__init__(inner)
        chosen = inner.protocol(protocol)
        self.of, self.splits = chosen.train, ("learned", "held-out")
        part = replace(
            chosen, query="held-out", gallery="held-out", train="learned", validation="held-out", folds=1
        )
        self.protocols = {"held-out": part}

    @staticmethod
    def needed(dataset: Dataset, protocol: str | None = None) -> bool:
        """Whether a protocol asks about the very split that it learns from."""
        chosen = dataset.protocol(protocol)
        return chosen.train == chosen.query == chosen.gallery

    def make(self, name: str) -> Split:
        """One split."""
        return hold_out(self.inner.split(self.of))[self.splits.index(name)]


class Featured(View):
    """A data set seen through extractors: its splits hold features.

    Args:
        inner: The data set of pictures and texts.
        extractors: By side; those to be fitted are fitted on the training split of the default protocol. A
            side without extractor stays as it is.
        progress: Called with the numbers of done and all items while features are extracted.
        strict: Refuse a picture that cannot be read, and not leave it out.

    Attributes:
        report: What was read of the data set, and what was left out of it.
    """

    def __init__(
        self,
        inner: Dataset,
        extractors: Mapping[str, Any],
        *,
        progress: Callable[[int, int], None] | None = None,
        strict: bool = False,
    ) -> None:
        super().__init__(inner)
        self.extractors, self.progress, self.strict = extractors, progress, strict
        self.report = Report().join(report_of(inner))

    def make(self, name: str) -> Split:
        """One split with features, from the cache if they were extracted before.

        Raises:
            UsageError: a side that has an extractor holds features already.
            BadData: none of the pictures can be read, or an extractor gives features that are not finite.
            ImageError: one cannot, and that is not allowed.
        """
        for side, extractor in self.extractors.items():
            if not getattr(extractor, "fitted", True):
                self._fit(side, extractor)
        report = None if self.strict else self.report
        split = self.inner.split(name)
        try:
            return extract(split, progress=self.progress, report=report, **self.extractors)
        except BadData as error:
            raise BadData(f"split {name!r} of {self.name}: {error}") from error

    def _fit(self, side: str, extractor: Any) -> None:
        training: Any = getattr(self.inner.split(self.inner.protocol().train), side)
        if isinstance(training, np.ndarray):
            raise UsageError(f"the {side}s of {self.name} are features already; give no extractor for them")
        extractor.fit(training)


class Standardised(View):
    """A data set of features, each with mean 0 and deviation 1 over the training split.

    Args:
        inner: With features on the sides named.
        train: The split that decides.
        sides: Which; other sides stay as they are.
    """

    def __init__(self, inner: Dataset, train: str, sides: Sequence[str] = ("image", "text")) -> None:
        super().__init__(inner)
        learn = inner.split(train)
        self.scales: Mapping[str, Scale] = {side: Scale.of(getattr(learn, side)) for side in sides}

    def make(self, name: str) -> Split:
        """One split."""
        found = self.inner.split(name)
        sides: dict[str, Any] = {side: scale(getattr(found, side)) for side, scale in self.scales.items()}
        return replace(found, **sides)
