"""Lets so many requests work at a time, so many wait, and refuses the rest at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from diptych.server.errors import Refused

__all__ = ["Gate"]

_T = TypeVar("_T")


class Gate:
    """Threads of one kind of work.

    What waits longer than its deadline is not begun. What was begun cannot be stopped: its thread stays taken
    until it is done, so that those who gave up do not let in more than there are threads for.

    Args:
        name: Of the kind of work.
        threads: That work at a time.
        waiting: Requests that may wait for one.
        deadline: Seconds until a request is given up.
    """

    def __init__(self, name: str, *, threads: int, waiting: int, deadline: float) -> None:
        self.name, self.deadline = name, deadline
        self._most = threads + waiting
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"diptych-{name}")
        self._taken = 0
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        """Requests that work or wait."""
        return self._taken

    async def run(self, work: Callable[[], _T]) -> _T:
        """What a function returns or raises, called in one of the threads.

        Raises:
            Refused: too many wait already ("Busy"), or it takes too long ("Late").
        """
        with self._lock:
            if self._taken >= self._most:
                raise Refused("Busy", "too many requests wait here; ask again a little later", after=1)
            self._taken += 1
        until = time.monotonic() + self.deadline

        def begun() -> _T:
            if time.monotonic() > until:
                raise self._late()
            return work()

        try:
            future = self._pool.submit(begun)
        except RuntimeError:
            self._free()
            raise Refused("Stopping", "the server is being stopped", after=5) from None
        future.add_done_callback(self._free)
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), self.deadline)
        except TimeoutError:
            if future.done():
                raise  # the work's own
            future.cancel()
            raise self._late() from None

    def close(self) -> None:
        """Take no more work; what was begun goes on."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _free(self, _: Future[_T] | None = None) -> None:
        with self._lock:
            self._taken -= 1

    def _late(self) -> Refused:
        return Refused("Late", f"this took longer than {self.deadline:g} seconds; ask for less, or later")
