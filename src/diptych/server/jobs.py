"""Work on collections that takes longer than a request: what was asked for, and how far it is.

A job that was accepted is noted in the collection itself until it has ended, so that one whose server was
killed is begun again by the next server that may write. What it had stored before is there.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from diptych.engine.collection import Collection
from diptych.engine.results import Progress, Summary
from diptych.errors import CollectionBusy, DiptychError
from diptych.server.changing import whole
from diptych.server.errors import Refused
from diptych.server.holding import Served
from diptych.server.schema import JobAsked

__all__ = ["Job", "Jobs"]

_NOTED = "server_jobs"  # the setting that holds what was accepted
_KEPT = 100  # jobs that have ended and are still known
_WAITING = 16  # jobs that may wait


class _Stopped(BaseException):
    """Ends a job at its next batch; no `Exception`, so that nothing takes it for a fault of a file."""


class Job:
    """A piece of work on a collection.

    Attributes:
        name: Unique in this run of the server.
        state: "waiting", "running", "done", "failed" or "stopped".
        version: Grows with every change, for those who follow.
    """

    def __init__(self, name: str, served: Served, asked: JobAsked) -> None:
        self.name, self.served, self.asked = name, served, asked
        self.state: Any = "waiting"
        self.version = 0
        self.stopping = False
        self._progress = Progress(0, None, 0, None, 0.0)
        self._error: str | None = None
        self._summary: Summary | None = None
        self._changed = threading.Condition()

    @property
    def ended(self) -> bool:
        """Whether nothing more happens."""
        return self.state in ("done", "failed", "stopped")

    def facts(self) -> dict[str, Any]:
        """All of it as JSON."""
        now = self._progress
        folder = self.served.collection.folder
        current = None if now.path is None else Path(now.path)
        if current is not None and current.is_relative_to(folder):
            current = current.relative_to(folder)
        return {
            "job": self.name,
            "collection": self.served.name,
            "kind": self.asked.kind,
            "state": self.state,
            "done": now.done,
            "total": now.total,
            "skipped": now.skipped,
            "current": None if current is None else str(current),
            "seconds": round(now.seconds, 3),
            "error": self._error,
            "summary": None if self._summary is None else self._summary.as_dict(),
        }

    def tell(self, progress: Progress) -> None:
        """Say how far it is; ends it if it is to stop."""
        with self._changed:
            self._progress = progress
            self._told()
        if self.stopping:
            raise _Stopped

    def end(self, state: str, *, error: str | None = None, summary: Summary | None = None) -> None:
        """Say how it ended."""
        with self._changed:
            self.state, self._error, self._summary = state, error, summary
            self._told()

    def begin(self) -> None:
        """Say that it works."""
        with self._changed:
            self.state = "running"
            self._told()

    def wait(self, version: int, seconds: float) -> bool:
        """Whether it has changed since a version, waiting for it at most so long."""
        with self._changed:
            return self._changed.wait_for(lambda: self.version != version, seconds)

    def _told(self) -> None:
        self.version += 1
        self._changed.notify_all()


class Jobs:
    """The jobs of a server, one after the other, in a thread of their own.

    Args:
        ended: Called with the state of each that ended.
        warm: Lends a collection the model that is loaded already.
    """

    def __init__(self, *, ended: Callable[[str], None], warm: Callable[[Collection], Any]) -> None:
        self._ended, self._warm = ended, warm
        self._jobs: dict[str, Job] = {}
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closing = False
        self._number = 0
        self._thread = threading.Thread(target=self._work, name="diptych-jobs", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Job]:
        return reversed(list(self._jobs.values()))

    def get(self, name: str) -> Job:
        """A job by its name.

        Raises:
            Refused: there is none.
        """
        found = self._jobs.get(name)
        if found is None:
            raise Refused("NotFound", f"there is no job {name[:50]!r} here", part="job")
        return found

    def of(self, served: Served) -> list[str]:
        """The names of a collection's jobs that have not ended."""
        return [one.name for one in self if one.served is served and not one.ended]

    def ask(self, served: Served, asked: JobAsked) -> Job:
        """Accept a job: from now on it is done, by this server or by the next.

        Raises:
            Refused: too many wait already, the server is being stopped, or it cannot be done as it is asked.
            CollectionError: it cannot be noted.
        """
        for folder in asked.folders:
            served.inside(folder)
        if asked.kind == "codes":
            whole(served, "kind")
            if asked.bits is None:
                raise Refused("BadRequest", "codes have a length, a multiple of 8 bits", part="bits")
        with self._lock:
            if self._closing:
                raise Refused("Stopping", "the server is being stopped", after=5)
            if sum(not one.ended for one in self._jobs.values()) >= _WAITING:
                raise Refused("Busy", "too many jobs wait here already; ask again later", after=30)
            self._number += 1
            job = Job(f"j{self._number}", served, asked)
            self._jobs[job.name] = job
            self._forget()
            try:
                self._note(served)
            except BaseException:
                del self._jobs[job.name]
                raise
            self._waiting.put(job)
        return job

    def resume(self, served: Served) -> list[Job]:
        """Begin again what an earlier server accepted and did not end."""
        told = served.collection.home.get(_NOTED)
        found = []
        with contextlib.suppress(ValueError):  # what is no list of jobs is none of ours
            found = [JobAsked.model_validate(one) for one in json.loads(told or "[]")]
        return [self.ask(served, one.model_copy(update={"collection": served.name})) for one in found]

    def stop(self, job: Job) -> None:
        """End a job at its next batch, or before it begins; it is not begun again."""
        job.stopping = True

    def close(self, seconds: float = 10.0) -> None:
        """End what runs at its next batch; the next server begins it again."""
        with self._lock:
            self._closing = True
        for job in self._jobs.values():
            job.stopping = True
        self._waiting.put(None)
        self._thread.join(seconds)

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            if not job.stopping:
                self._do(job)
            else:
                job.end("stopped")
            self._ended(job.state)
            if not self._closing:
                with (
                    self._lock,
                    contextlib.suppress(DiptychError),
                ):  # a disk that is full; then it is done again
                    self._note(job.served)

    def _do(self, job: Job) -> None:
        collection, asked = job.served.collection, job.asked
        job.begin()
        paths = [job.served.inside(folder) for folder in asked.folders]
        if not paths and collection.below is not None:
            paths = [collection.below]
        noted = collection.home.column is not None

        def told(progress: Progress) -> None:
            nonlocal noted
            if not noted:  # a new collection has a place only now
                noted = True
                self._note(job.served)
            job.tell(progress)

        try:
            if noted:
                self._warm(collection)
            if asked.bits is not None and asked.kind == "codes":
                collection.make_codes(asked.bits)
                summary = None
            else:
                summary = collection.add(
                    *paths,
                    texts=asked.texts,
                    check=asked.check,
                    forget_missing=asked.forget_missing,
                    on_progress=told,
                )
            self._warm(collection)
        except _Stopped:
            job.end("stopped")
        except DiptychError as error:
            again = " (ask again when that is done)" if isinstance(error, CollectionBusy) else ""
            job.end("failed", error=f"{error}{again}")
        except Exception as error:  # noqa: BLE001  # a fault of ours ends this job, and not the thread
            job.end("failed", error=f"{type(error).__name__}: {error}")
        else:
            job.end("done", summary=summary)

    def _note(self, served: Served) -> None:
        """Keep in the collection what is still to be done to it; an empty one has no place for it."""
        home = served.collection.home
        if home.column is None:
            return
        open_ones = [
            one.asked.model_dump(exclude={"collection"})
            for one in self._jobs.values()
            if one.served is served and not one.ended
        ]
        if home.get(_NOTED) in (None, "[]") and not open_ones:
            return
        with home.batch(changes=False):
            home.set(_NOTED, json.dumps(open_ones))

    def _forget(self) -> None:
        done = [name for name, one in self._jobs.items() if one.ended]
        for name in done[: max(0, len(done) - _KEPT)]:
            del self._jobs[name]
