"""Looks into files on the machines of a Ray cluster: each worker reads, decodes and encodes batches of them.

Whoever stores gets what was found in the order of the files and stores it in transactions of its own. So a
worker or a machine may end at any moment: what it had is given to another, and nothing is stored twice.
"""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

from diptych.cluster import Cluster, connected
from diptych.engine.decoding import THREADS
from diptych.engine.looking import Asked, Knows, Picture, Seen, look, nothing_known
from diptych.engine.model import Model
from diptych.engine.reading import Trial
from diptych.errors import CollectionError, DiptychError, Unreachable, WrongModel

__all__ = ["Workers"]

_Task = TypeVar("_Task")

_EACH = 2  # batches that a worker has: it reads one while it encodes the other
_AHEAD = 2  # times as many are given out before the first of them is stored
_TRIES = 4  # times that a batch is given out
PATIENCE = 120.0
"""Seconds without any worker after which a cluster counts as gone."""


class Workers:
    """The workers of a cluster, as `diptych.engine.looking.Eyes`; a block that ends them.

    Args:
        model: Is loaded by its name in each worker, or sent there if it has none.
        cluster: Which one, and how much of it.
        max_pixels: As for `diptych.media.pictures.open_picture`.

    Raises:
        MissingExtra: Ray is not installed.
        Unreachable: no cluster answers, or its last worker is gone.
        WrongModel: a machine has another model of that name.
        CollectionError: the model fails.
    """

    def __init__(self, model: Model, cluster: Cluster, *, max_pixels: int | None = None) -> None:
        self.model, self.cluster, self.max_pixels = model, cluster, max_pixels
        self._connected = connected(cluster.address)
        self._workers: list[_Handle] = []
        self._failures = 0  # of workers that never began

    def __enter__(self) -> Self:
        self._ray = self._connected.__enter__()
        try:
            self._encoder = self._ray.put(self.model.source)
            self._kind = self._ray.remote(_Worker).options(
                num_cpus=1, num_gpus=self.cluster.cards, max_concurrency=_EACH
            )
            self._workers = [self._started() for _ in range(self._count())]
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(self, *reason: Any) -> None:
        for worker in self._workers:
            self._ray.kill(worker.actor)
        self._workers = []
        self._connected.__exit__(*reason)

    def _count(self) -> int:
        """How many workers."""
        if self.cluster.workers is not None:
            return self.cluster.workers
        there = self._ray.cluster_resources()
        if self.cluster.cards:
            return max(1, int(there.get("GPU", 0) / self.cluster.cards))
        return max(1, int(there.get("CPU", 1)))

    def _started(self) -> _Handle:
        actor = self._kind.remote(self._encoder, self.max_pixels)
        return _Handle(actor, actor.fingerprint.remote())

    def seen(
        self, tasks: Iterable[tuple[_Task, Asked]], size: int, knows: Knows
    ) -> Generator[list[tuple[_Task, Seen]]]:
        """What is found in each file, in their order and in batches, pictures encoded; see `Eyes`."""
        waiting, jobs, todo = iter(tasks), deque[_Job](), deque[_Job]()
        more = True
        while more or jobs:
            while more and len(jobs) < max(1, len(self._workers)) * _EACH * _AHEAD:
                batch = list(itertools.islice(waiting, size))
                more = len(batch) == size
                if batch:
                    job = _Job([task for task, _ in batch], [asked for _, asked in batch])
                    jobs.append(job)
                    todo.append(job)
            while todo and (worker := self._free()) is not None:
                job = todo.popleft()
                worker.jobs[worker.actor.look.remote(job.asked)] = job
            if jobs and jobs[0].found is not None:
                done = jobs.popleft()
                yield list(zip(done.tasks, done.found or (), strict=True))
            elif jobs:
                self._wait(todo)

    def _free(self) -> _Handle | None:
        """The worker with the least to do, unless all have enough."""
        free = [one for one in self._workers if one.ready and len(one.jobs) < _EACH]
        return min(free, key=lambda one: len(one.jobs)) if free else None

    def _wait(self, todo: deque[_Job]) -> None:
        """Until something is done, or some worker begins or ends."""
        ray, started = self._ray, time.monotonic()
        while True:
            asked = [one.beginning for one in self._workers if not one.ready]
            asked += [ref for one in self._workers for ref in one.jobs]
            done, _ = ray.wait(asked, num_returns=1, timeout=1.0)
            if done:
                break
            if time.monotonic() - started > PATIENCE and not any(one.ready for one in self._workers):
                raise Unreachable(
                    f"no worker of the cluster began within {PATIENCE:.0f} s; see whether it has a free "
                    "processor (ray status). What was stored is kept"
                )
        for ref in done:
            worker = next(one for one in self._workers if ref == one.beginning or ref in one.jobs)
            try:
                self._take(worker, ref, ray.get(ref))
            except (ray.exceptions.RayActorError, ray.exceptions.RaySystemError) as error:
                self._replace(worker, todo, error)
            except (ray.exceptions.ObjectLostError, ray.exceptions.OutOfMemoryError) as error:
                self._again([worker.jobs.pop(ref)], todo, error)
            except ray.exceptions.RayTaskError as error:
                raise CollectionError(f"a worker of the cluster failed ({_said(error)})") from error

    def _take(self, worker: _Handle, ref: Any, found: Any) -> None:
        """What a worker gave: its model's fingerprint first, then batches."""
        if ref not in worker.jobs:
            if found != self.model.fingerprint:
                raise WrongModel(
                    f"a worker of the cluster has another {self.model.name} ({found}) than this machine "
                    f"({self.model.fingerprint}); install the same version and weights on all"
                )
            worker.ready = True
        elif isinstance(found, str):
            raise CollectionError(found)
        else:
            worker.jobs.pop(ref).found = found

    def _replace(self, worker: _Handle, todo: deque[_Job], error: Exception) -> None:
        """Start another worker, somewhere, in place of one that ended, and give its batches out again."""
        if not worker.ready and not worker.jobs:
            self._failures += 1
            if self._failures > _TRIES:
                raise Unreachable(
                    f"the cluster's workers end as they begin ({_said(error)}); see that Diptych and the "
                    "model are installed on every machine"
                ) from error
        self._workers.remove(worker)
        self._workers.append(self._started())
        self._again(list(worker.jobs.values()), todo, error)

    def _again(self, jobs: Sequence[_Job], todo: deque[_Job], error: Exception) -> None:
        """Give batches out again, first of all; what ended a second worker is put on trial, file by file."""
        for job in jobs:
            job.tries += 1
            if job.tries >= _TRIES:
                names = ", ".join(one.name for one in job.asked[:3])
                raise Unreachable(
                    f"{job.tries} workers ended one after another while they had {names} and what follows "
                    f"({_said(error)}); what was stored before is kept"
                ) from error
            if job.tries > 1:
                job.asked = [replace(one, suspect=True) for one in job.asked]
        todo.extendleft(reversed(jobs))


@dataclass(slots=True, eq=False)
class _Job:
    """A batch that is given out.

    Args:
        tasks: What the caller tells files by.
        asked: The files.
        found: What is in them; None until that is known.
        tries: Workers that it was lost with.
    """

    tasks: list[Any]
    asked: list[Asked]
    found: list[Seen] | None = None
    tries: int = 0


@dataclass(slots=True, eq=False)
class _Handle:
    """A worker as seen from here.

    Args:
        actor: The worker.
        beginning: Will be the fingerprint of its model.
        ready: Whether it has begun.
        jobs: What it has, by what will be found.
    """

    actor: Any
    beginning: Any
    ready: bool = False
    jobs: dict[Any, _Job] = field(default_factory=dict)


class _Worker:
    """What runs on a machine of the cluster."""

    def __init__(self, source: Any, max_pixels: int | None) -> None:
        self.model, self.max_pixels = Model(source), max_pixels
        self._encoding = threading.Lock()
        self._trial, self._trying = Trial(), threading.Lock()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="decode")

    def fingerprint(self) -> str:
        """That of its model."""
        return self.model.fingerprint

    def look(self, asked: Sequence[Asked]) -> list[Seen] | str:
        """What is found in each file, pictures encoded; or why the model fails."""
        found = list(self._pool.map(self._look, asked))
        pictures = [one for one in found if isinstance(one, Picture)]
        try:
            with self._encoding:
                vectors = iter(self.model.stored("image", [one.prepared for one in pictures]))
        except DiptychError as error:
            return str(error)
        return [
            replace(one, prepared=None, vector=next(vectors)) if isinstance(one, Picture) else one
            for one in found
        ]

    def _look(self, asked: Asked) -> Seen:
        encoder = self.model.encoder
        if not asked.suspect:
            return look(asked, encoder, knows=nothing_known, trial=self._trial, max_pixels=self.max_pixels)
        with self._trying:  # one at a time, in one process
            return look(asked, encoder, knows=nothing_known, trial=self._trial, max_pixels=self.max_pixels)


def _said(error: Exception) -> str:
    """What Ray says, in a line: of a traceback the last one, and no colours."""
    lines = [line.strip() for line in re.sub(r"\x1b\[\d*m", "", str(error)).splitlines() if line.strip()]
    return (lines[-1] if "Traceback" in str(error) else " ".join(lines))[:200] or type(error).__name__
