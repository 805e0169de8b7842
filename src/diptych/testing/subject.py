"""One system under test: builds it, trains it, and keeps what several checks need."""

from __future__ import annotations

import importlib
import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from diptych import catalogue
from diptych.core import Item
from diptych.data.base import Split
from diptych.testing.materials import Spy, drawn, planted, read, unchanged
from diptych.testing.scripted import Scripted
from diptych.testing.talking import Talks
from diptych.training.parameters import dimensions
from diptych.training.trainer import Trainer

__all__ = ["Brief", "Subject"]

_FEW = 48  # pictures at least that it learns from briefly


class Brief(NamedTuple):
    """Of a brief training: the learner's fingerprint, steps, and whether the data stayed as they were."""

    fingerprint: str
    steps: int
    unchanged: bool


class Subject:
    """A system by its name.

    Args:
        name: As in `diptych.catalogue.load`, without weights.
        parameters: Over those of the variant.
        data: Makes the split to learn from and the one to retrieve in; see `diptych.testing.system_checks`.
        talks: How it is tried, if it asks a language model.
    """

    def __init__(
        self,
        name: str,
        parameters: Mapping[str, Any],
        data: Callable[[], tuple[Split, Split]] | None = None,
        talks: Talks | None = None,
    ) -> None:
        parts = catalogue.parse(name)
        self.name, self.parameters = parts.system, dict(parameters)
        self._asked, self._data, self.talks = parts.variant, data, talks or Talks()

    @property
    def variant(self) -> str:
        """The variant asked for, or `tiny`, or the first."""
        known = list(self.module.VARIANTS)
        return self._asked or ("tiny" if "tiny" in known else known[0])

    @cached_property
    def card(self) -> catalogue.Card:
        """Its card."""
        return catalogue.card("system", self.name)

    @cached_property
    def module(self) -> Any:
        """Its module."""
        return importlib.import_module(self.card.module)

    @cached_property
    def type(self) -> type | None:
        """Its class; None where `__all__` names none, which a check of its own reports."""
        names: Sequence[str] = getattr(self.module, "__all__", ())
        found = getattr(self.module, names[0], None) if len(names) == 1 else None
        return found if inspect.isclass(found) else None

    @cached_property
    def signature(self) -> Mapping[str, inspect.Parameter]:
        """The parameters of its constructor."""
        assert self.type is not None
        return inspect.signature(self.type).parameters

    @property
    def trains(self) -> bool:
        """Whether it has networks that its `fit` trains; what only fits heads to fixed towers has none."""
        return callable(getattr(self.type, "fit", None)) and hasattr(self.type, "networks")

    @property
    def learns_from_labels(self) -> bool:
        """Whether its card says so."""
        return "label" in self.card.fields.get("Learns from", "").lower()

    @property
    def reads_features(self) -> bool:
        """Whether this variant learns from features, and not from pixels and tokens."""
        return "image_dim" in self.signature and self.variant not in getattr(self.module, "FEATURES", {})

    @property
    def lengths(self) -> tuple[int | None, ...]:
        """Code lengths that a hasher is asked for; None for real vectors."""
        return (16, 32, 64, 128) if "bits" in self.signature else (None,)

    @cached_property
    def data(self) -> tuple[Split, Split]:
        """What it learns from and what it is tried on."""
        if self._data is not None:
            return self._data()
        through = getattr(self.module, "FEATURES", {}).get(self.variant)
        if through is not None and "{" not in through:
            return read(through)
        return planted() if "image_dim" in self.signature else drawn()

    @cached_property
    def shape(self) -> Mapping[str, int]:
        """The dimensions that the data decide."""
        return {key: value for key, value in dimensions(self.data[0]).items() if key in self.signature}

    def build(self, seed: int = 0, **parameters: Any) -> Any:
        """A new one; a scripted model stands in for the language model that it asks."""
        name = f"{self.name}:{self.variant}"
        parts = {"llm": Scripted(self.talks.replies), **self._encoder} if self.asks else {}
        return catalogue.load(name, seed=seed, **{**self.shape, **parts, **self.parameters, **parameters})

    @cached_property
    def _encoder(self) -> Mapping[str, Any]:
        """What searches unless told otherwise, loaded once for all checks of a system that asks."""
        return {"encoder": catalogue.load("builtin")} if "encoder" in self.signature else {}

    @property
    def asks(self) -> bool:
        """Whether it asks a language model."""
        return "llm" in self.signature

    @cached_property
    def queries(self) -> Sequence[Item]:
        """What a retriever is asked."""
        return self.talks.queries(self.data[1])

    @cached_property
    def system(self) -> Any:
        """One that was not trained."""
        return self.build()

    @cached_property
    def trained(self) -> tuple[Any, Spy, float]:
        """One that was trained to the end, its trainer, and the processor seconds it took."""
        learner, spy = self.build(), Spy(seed=0, quiet=True, device="cpu")
        started = time.process_time()
        learner.fit(self.data[0], spy.watching(learner))
        return learner, spy, time.process_time() - started

    def epochs(self, count: int) -> Mapping[str, int]:
        """The parameters that say how many epochs it trains, all of them `count`."""
        return {name: count for name in self.signature if name == "epochs" or name.endswith("_epochs")}

    def trained_briefly(self, split: Split, trainer: Trainer | None = None) -> tuple[Any, Trainer]:
        """One that was trained for two epochs of each of its stages."""
        learner = self.build(**self.epochs(2))
        trainer = trainer or Trainer(seed=0, quiet=True, device="cpu")
        learner.fit(split, trainer)
        return learner, trainer

    @cached_property
    def few(self) -> Split:
        """What it learns from briefly: some batches of its data, the last of them not full."""
        count = max(_FEW, 5 * getattr(self.system, "batch_size", 0) // 2)
        whole = self.data[0]
        return whole.take(np.arange(min(count, len(whole.image))))

    @cached_property
    def brief(self) -> Brief:
        """What came of training it briefly, which several checks compare with."""
        with unchanged(self.few) as same:
            learner, trainer = self.trained_briefly(self.few)
        return Brief(learner.fingerprint, trainer.steps, same())

    def sides(self) -> Iterator[tuple[Callable[[Any], Any], Any]]:
        """Encoding method and a few inputs, for each side the system encodes."""
        for side in ("image", "text"):
            method = getattr(self.system, f"encode_{side}", None)
            if method is not None:
                yield method, getattr(self.data[1], side)[:7]
