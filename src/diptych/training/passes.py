"""The passes over the data that are under way: where their forward pass runs, and how much a step counts.

Passes may be nested, interleaved or left in the middle; what is remembered of one never outlives it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from diptych.errors import TrainingError

__all__ = ["Passes"]


class Passes:
    """Knows at which batch each pass is.

    Args:
        autocast: Makes the context in which the forward pass of a batch runs.
    """

    def __init__(self, autocast: Callable[[], AbstractContextManager[Any]]) -> None:
        self._autocast = autocast
        self._shares: dict[object, float] = {}
        self._region: AbstractContextManager[Any] | None = None

    @contextmanager
    def one(self) -> Iterator[Callable[[float], None]]:
        """One pass. Gives a function to call with the share of each batch, before the batch is worked on."""
        this = object()

        def at(share: float) -> None:
            self._shares[this] = share
            self._begin_region()

        try:
            yield at
        finally:
            self._shares.pop(this, None)
            self._begin_region()

    def rest(self) -> None:
        """Leave the forward pass until the next batch, also that of passes that did not come to their end."""
        self._shares.clear()
        self._begin_region()

    def share(self) -> float:
        """What the mean over the batch at hand counts in the mean over all processes; 1 outside any pass.

        Raises:
            TrainingError: two batches are at hand that count differently.
        """
        shares = set(self._shares.values()) or {1.0}
        if len(shares) > 1:
            raise TrainingError(
                "two passes over the data are at batches that the processes share differently, so that it is "
                "open what this step counts; give step the batch that its terms are of"
            )
        return shares.pop()

    def _begin_region(self) -> None:
        """Begin the forward pass anew, because it remembers weights that a step has changed since."""
        if self._region is not None:
            self._region.__exit__(None, None, None)
            self._region = None
        if self._shares:
            self._region = self._autocast()
            self._region.__enter__()
