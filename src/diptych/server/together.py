"""Calls of an encoder that come at the same time are made together, one batch after the other.

Nobody waits for company: the first caller runs at once, and those who come meanwhile are the next batch. An
encoder that takes many texts at hardly more cost than one so keeps up with many callers, and is never in two
calls of a kind at a time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from diptych.core import SIDES, encodes

__all__ = ["MOST", "Together", "join_calls"]

MOST = 64
"""Pictures or texts of one batch, unless a single caller has more."""


class _Waiting:
    """What one caller wants encoded, and what came of it."""

    __slots__ = ("content", "error", "vectors")

    def __init__(self, content: Sequence[Any]) -> None:
        self.content = content
        self.vectors: Any = None
        self.error: BaseException | None = None

    @property
    def done(self) -> bool:
        return self.vectors is not None or self.error is not None


class Together:
    """A function from n things to n rows, whose callers in other threads are served in batches.

    Args:
        call: The function.
        most: Things of one batch.
        told: Called with the size of each batch.

    Example:
        >>> Together(lambda values: np.asarray(values) * 2)([1, 2]).tolist()
        [2, 4]
    """

    def __init__(
        self,
        call: Callable[[Sequence[Any]], Any],
        *,
        most: int = MOST,
        told: Callable[[int], None] | None = None,
    ) -> None:
        self._call, self._most, self._told = call, most, told
        self._waiting: deque[_Waiting] = deque()
        self._turn = threading.Lock()
        self._inside = threading.local()

    def __call__(self, content: Sequence[Any]) -> Any:
        """The rows of what is given; what the function raises for it."""
        if not isinstance(content, list) or not content or getattr(self._inside, "here", False):
            return self._call(content)  # a sequence that decodes its pictures is read by the encoder itself
        mine = _Waiting(content)
        self._waiting.append(mine)
        with self._turn:
            self._inside.here = True
            try:
                while not mine.done:
                    self._serve(self._next())
            finally:
                self._inside.here = False
        if mine.error is not None:
            raise mine.error
        return mine.vectors

    def _next(self) -> list[_Waiting]:
        """Those who waited longest, as many as one batch takes; whoever has the turn takes them."""
        batch = [self._waiting.popleft()]
        size = len(batch[0].content)
        while self._waiting and size + len(self._waiting[0].content) <= self._most:
            batch.append(self._waiting.popleft())
            size += len(batch[-1].content)
        return batch

    def _serve(self, batch: Sequence[_Waiting]) -> None:
        content = [one for waiting in batch for one in waiting.content]
        if self._told is not None:
            self._told(len(content))
        try:
            rows = np.asarray(self._call(content))
        except BaseException as error:  # noqa: BLE001  # handed on to whose it is
            if len(batch) == 1:
                batch[0].error = error
                return
            for one in batch:  # the fault is of one of them
                self._serve([one])
            return
        at = 0
        for one in batch:
            one.vectors = rows[at : at + len(one.content)]
            at += len(one.content)


def join_calls(encoder: Any, *, told: Callable[[int], None] | None = None) -> None:
    """Have an encoder's calls made together from now on, whoever calls it.

    Its own methods are replaced, so that whatever asks what it is or offers finds the encoder itself.

    Args:
        encoder: An `Encoder`; one that takes no attributes stays as it is.
        told: Called with the size of each batch.
    """
    if not hasattr(encoder, "__dict__"):
        return
    for side in SIDES:
        name = f"encode_{side}"
        call: Any = getattr(encoder, name, None)
        if encodes(encoder, side) and not isinstance(call, Together):
            setattr(encoder, name, Together(call, told=told))
