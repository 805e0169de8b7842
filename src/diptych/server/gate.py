"""Lets so many requests work at a time, so many wait, and refuses the rest at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from diptych.server.errors import Refused
from diptych.server.together import MOST

__all__ = ["Gate"]

_T = TypeVar("_T")

_AT_A_TIME = os.cpu_count() or 1  # joined calls; more would only make each of them smaller


@dataclass(slots=True)
class _Alike:
    """Requests of one kind that wait, and what answers them in one call."""

    work: Callable[[Sequence[Any]], Sequence[Any]]
    waiting: list[tuple[Any, Future[Any]]] = field(default_factory=list)


class Gate:
    """Threads of one kind of work.

    What waits longer than its deadline is not begun, nor what is cancelled, as its caller has gone. What was
    begun cannot be stopped: its thread stays taken until it is done, so that those who gave up do not let in
    more than there are threads for.

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
        self._alike: OrderedDict[Hashable, _Alike] = OrderedDict()  # the kind that waited longest first
        self._joined = 0  # calls for several that run now
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
        self._admit()
        until = time.monotonic() + self.deadline

        def begun() -> _T:
            if time.monotonic() > until:
                raise self._late()
            return work()

        try:
            future = self._pool.submit(begun)
        except RuntimeError:
            self._free()
            raise self._stopping() from None
        future.add_done_callback(self._free)
        return await self._awaited(future)

    async def join(self, kind: Hashable, asked: Any, work: Callable[[Sequence[Any]], Sequence[_T]]) -> _T:
        """What a function gives for one of the things that it is asked for together.

        Nobody waits for company: what comes while others of its kind are worked on is the next call.

        Args:
            kind: What is asked for together is of the same.
            asked: What the function takes a sequence of.
            work: Gives an answer for each of them. Where it fails for several, it is called for each alone,
                as the fault may be of one of them.

        Raises:
            Refused: as for `run`.
        """
        self._admit()
        future: Future[_T] = Future()
        future.add_done_callback(self._free)
        with self._lock:
            self._alike.setdefault(kind, _Alike(work)).waiting.append((asked, future))
        try:
            self._pool.submit(self._work_joined)
        except RuntimeError:
            future.cancel()
            raise self._stopping() from None
        return await self._awaited(future)

    def _work_joined(self) -> None:
        """Answer those of one kind who wait, unless enough threads answer some already."""
        with self._lock:
            if not self._alike or self._joined >= _AT_A_TIME:
                return
            kind, alike = self._alike.popitem(last=False)
            waiting = [one for one in alike.waiting if not one[1].cancelled()]
            batch, rest = waiting[:MOST], waiting[MOST:]
            if rest:
                self._alike[kind] = _Alike(alike.work, rest)
            self._joined += 1
        try:
            # Who gave up since has cancelled.
            _answer(alike.work, [one for one in batch if one[1].set_running_or_notify_cancel()])
        finally:
            with self._lock:
                self._joined -= 1
            with contextlib.suppress(RuntimeError):  # closed meanwhile: nobody waits any more
                self._pool.submit(self._work_joined)  # behind whatever else waits for a thread

    def close(self) -> None:
        """Take no more work; what was begun goes on."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            waiting = [future for alike in self._alike.values() for _, future in alike.waiting]
            self._alike.clear()
        for future in waiting:
            future.cancel()

    def _free(self, _: Future[_T] | None = None) -> None:
        with self._lock:
            self._taken -= 1

    def _admit(self) -> None:
        with self._lock:
            if self._taken >= self._most:
                raise Refused("Busy", "too many requests wait here; ask again a little later", after=1)
            self._taken += 1

    async def _awaited(self, future: Future[_T]) -> _T:
        told = asyncio.wrap_future(future)
        told.add_done_callback(_looked_at)
        try:
            return await asyncio.wait_for(asyncio.shield(told), self.deadline)
        except asyncio.CancelledError:
            future.cancel()
            raise
        except TimeoutError:
            if future.done():
                raise  # the work's own
            future.cancel()
            raise self._late() from None

    @staticmethod
    def _stopping() -> Refused:
        return Refused("Stopping", "the server is being stopped", after=5)

    def _late(self) -> Refused:
        return Refused("Late", f"this took longer than {self.deadline:g} seconds; ask for less, or later")


def _looked_at(told: asyncio.Future[Any]) -> None:
    """See what came of work, so that asyncio logs no failure as lost that nobody waits for any more."""
    if not told.cancelled():
        told.exception()


def _answer(work: Callable[[Sequence[Any]], Sequence[Any]], batch: Sequence[tuple[Any, Future[Any]]]) -> None:
    """Have work answer a batch, and tell each its answer."""
    if not batch:
        return
    try:
        answers = work([asked for asked, _ in batch])
    except BaseException as error:  # noqa: BLE001  # handed on to whose it is
        if len(batch) == 1:
            batch[0][1].set_exception(error)
            return
        for one in batch:
            _answer(work, [one])
        return
    for (_, future), answer in zip(batch, answers, strict=True):
        future.set_result(answer)
