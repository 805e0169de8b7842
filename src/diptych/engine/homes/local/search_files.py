"""Disposable copies of one side's vectors as one memory-mapped matrix, appended to from the record.

Deleting them loses nothing; anything about them that is doubtful makes them be built again. Two plain files
hold the vectors and their row numbers in row order; a third, the stamp, says which state of the record they
cover, which of their rows were removed since, and how they sum up. Removed rows stay in the files until they
are a quarter of it: then the others are copied to new files, while whoever has the old ones open reads on.

The files are as they were left if their sizes and times are those in the stamp, and are then opened without
being read: their times are set to a moment in the past, so that whatever writes to them later shows. Where
they differ, as after copying, the sums decide, and the times are set again.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import SIDES, Hits, Rows, Side
from diptych.engine.homes.entries import State
from diptych.engine.homes.local.record import Record
from diptych.engine.homes.local.snapshot import Snapshot
from diptych.files import write
from diptych.index import half

__all__ = ["SearchFiles", "take_files"]

_FORMAT = 2
_APPENDED_ROWS = 8_192  # written at a time
_DEAD_SHARE = 0.25
_LOCK_SECONDS = 10
# Below this many bytes of single-precision vectors plain NumPy is fastest, and faiss need not be imported.
_SMALL_BYTES = 64 << 20
_AGED_NS = 60 * 10**9  # how far back the files' times are set; farther than any file system rounds


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What the files cover.

    Args:
        format: Of the files.
        collection: Identity of the record they are from.
        generation, token: State of the record when they were last brought up to date.
        kind: Similarity of the encoder.
        width: Bytes of a vector.
        count: Vectors.
        vectors_sum, rows_sum: CRC-32 of the two files up to `count`; goes on where more is appended.
        removed: Which places are of removed items, as packed bits, compressed, in base 64; empty for none.
        seen: Sizes and times of the two files.
    """

    format: int
    collection: str
    generation: int
    token: str
    kind: str
    width: int
    count: int
    vectors_sum: int
    rows_sum: int
    removed: str
    seen: str

    @property
    def state(self) -> State:
        """State of the record that the files cover."""
        return State(self.generation, self.token)

    def alive(self) -> NDArray[np.bool_]:
        """(count,) which places can be found.

        Raises:
            ValueError: `removed` is not what `_removed` gave.
        """
        if not self.removed:
            return np.ones(self.count, np.bool_)
        try:
            bits = np.frombuffer(zlib.decompress(base64.b64decode(self.removed, validate=True)), np.uint8)
        except zlib.error as error:
            raise ValueError(str(error)) from error
        if len(bits) != -(-self.count // 8):
            raise ValueError(f"{len(bits)} bytes for {self.count} places")
        return ~np.unpackbits(bits, count=self.count).astype(np.bool_)


class SearchFiles:
    """An exact `Searchable` over one side of a collection, which it follows.

    Args:
        record: Where the vectors come from.
        side: "image" or "text".
        kind: Similarity of the encoder; codes ("hamming") are packed, everything else is half precision.
        folder: Where the files go.

    Attributes:
        record: The same.
    """

    def __init__(self, record: Record, side: Side, *, kind: str, folder: Path) -> None:
        self.record, self._side, self._kind, self._folder = record, side, kind, folder
        self._type = np.dtype(np.uint8 if kind == "hamming" else np.float16)
        self._now: tuple[State, Snapshot] | None = None
        self._lock = threading.Lock()

    @property
    def rows(self) -> Rows:
        """The rows that can be found, ascending."""
        return self.snapshot().rows

    def get_ready(self) -> None:
        """Bring the files up to date and load what a search needs, so that the next one is fast."""
        if self.snapshot().single is None and self._kind != "hamming":
            import faiss  # noqa: F401

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> Hits:
        """The k best rows of each query (q, d), ties by row; only rows of `within`, if given."""
        return self.snapshot().search(vectors, k, within)

    def snapshot(self) -> Snapshot:
        """The side as this thread sees it now; the same object until it changes."""
        with self._lock, self.record.snapshot() as state:
            if self._now is not None and self._now[0] == state:
                return self._now[1]
            found = self._at_state(state)
            if self._kind != "hamming" and found.vectors.size * 4 <= _SMALL_BYTES:
                found = replace(found, single=found.vectors.astype(np.float32))
            if self._now is None or self._now[0].generation <= state.generation:
                self._now = state, found
            return found

    def squeeze(self) -> None:
        """Let no removed row stay in the files."""
        if not self.snapshot().alive.all():
            with self._lock:
                self._now = None
            with self.record.snapshot() as state:
                self._at_state(state, most_dead=0.0)

    # Keeping up with the record

    def _at_state(self, state: State, most_dead: float = _DEAD_SHARE) -> Snapshot:
        stamp = self._stamp()
        if stamp is not None and stamp.state == state and self._untouched(stamp):
            found = self._opened(stamp, state)
            if found is not None and _dead(found) <= most_dead:
                return found
        if stamp is not None and self._is_later(stamp, state):
            return self._opened(stamp, state) or self._in_memory()  # others went on; nothing is turned back
        from filelock import FileLock, Timeout

        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self._path("lock"), timeout=_LOCK_SECONDS):
                stamp = self._stamp()
                found = None if stamp is None else self._opened(stamp, state)
                if stamp is not None and self._is_later(stamp, state):
                    return found or self._in_memory()  # who held the lock went on
                if stamp is not None and found is not None and _dead(found) > most_dead:
                    stamp, found = self._squeezed(stamp, found), None
                    found = self._opened(stamp, state)
                return self._brought_up_to_date(state, stamp, found)
        except (OSError, Timeout):
            # A full disk, a read-only folder, or (on Windows) an old file that another process maps: the
            # files as they are or a matrix in memory serve as well, and the next process tries again.
            stamp = self._stamp()
            found = None if stamp is None else self._opened(stamp, state)
            if stamp is None or found is None:
                return self._in_memory()
            whole = np.count_nonzero(found.alive) == self.record.count_vectors(self._side)
            return found if stamp.state == state or whole else self._in_memory()

    def _is_later(self, stamp: _Stamp, state: State) -> bool:
        return stamp.generation > state.generation and self.record.knows(stamp.state)

    def _stamp(self) -> _Stamp | None:
        """What is said of the files; None if that is nothing, odd, or of another collection."""
        try:
            found = json.loads(self._path("json").read_text(encoding="utf-8"))
            stamp = _Stamp(**found)
            kinds = {"int": int, "str": str}
            odd = any(type(getattr(stamp, one.name)) is not kinds[str(one.type)] for one in fields(stamp))
            mine = (_FORMAT, self.record.get("id"), self._kind)
            if odd or (stamp.format, stamp.collection, stamp.kind) != mine:
                return None
            if (
                not 0 <= stamp.generation < 2**63
                or stamp.count < 0
                or stamp.width < 1
                or stamp.width % self._type.itemsize
            ):
                return None
            stamp.alive()
        except (OSError, ValueError, TypeError, RecursionError, MemoryError):
            return None
        return stamp

    def _opened(self, stamp: _Stamp, state: State) -> Snapshot | None:
        """What is on disk as a side in that state, or None if it is missing, damaged, or something else.

        Covering an earlier state, it may lack what came since; covering a later one, it holds more.
        """
        sums = (stamp.vectors_sum, stamp.rows_sum)
        if not stamp.count:
            return self._empty() if stamp.state == state and sums == (0, 0) else None
        try:
            shape = (stamp.count, stamp.width // self._type.itemsize)
            vectors = half.Stored.of(self._path("vectors"), self._type, shape)
            rows = np.fromfile(self._path("rows"), np.int64, stamp.count)
        except (OSError, ValueError, OverflowError):
            return None
        if len(rows) != stamp.count:
            return None
        if not self._untouched(stamp):
            found = zlib.crc32(vectors.data), zlib.crc32(rows.data)
            vectors.let_go()
            if found != sums:
                return None
        alive = stamp.alive()
        if stamp.state != state:
            known = self._still(stamp, state, rows, alive)
            if known is None:
                return None
            alive = known
        return Snapshot(self._kind, rows, vectors, alive) if alive.any() else None

    def _still(
        self, stamp: _Stamp, state: State, rows: Rows, alive: NDArray[np.bool_]
    ) -> NDArray[np.bool_] | None:
        """(count,) which places hold items of another state; None if the files are of no use to it."""
        if not self.record.knows(stamp.state):
            return None  # a copy of the record went another way
        last = int(rows[-1])
        earlier = stamp.generation < state.generation
        # No row number is ever given again: as many as before are the same as before.
        grew = earlier and not self.record.was_filled(since=stamp.generation)
        if grew and self.record.count_vectors(self._side, upto=last) == np.count_nonzero(alive):
            return alive
        there = self.record.row_numbers(self._side)
        still = np.isin(rows, there, assume_unique=True)
        covered = np.searchsorted(there, last, side="right") if earlier else len(there)
        return still if np.count_nonzero(still) == covered else None

    def _brought_up_to_date(self, state: State, stamp: _Stamp | None, found: Snapshot | None) -> Snapshot:
        """The files after everything that the record has beyond them was added; call with the lock held."""
        if stamp is None or found is None:
            self._path("json").unlink(missing_ok=True)
            for name in ("vectors", "rows"):  # not emptied in place: another process may look at them
                self._path(name).unlink(missing_ok=True)
            width, count, last, sums, removed = self._type.itemsize, 0, 0, (0, 0), self._empty().alive
        else:
            width, count, removed = stamp.width, stamp.count, ~found.alive
            last = int(found.all_rows[-1]) if count else 0
            sums = (stamp.vectors_sum, stamp.rows_sum)
        del found  # lets go of the mapping before the file grows
        with self._at("vectors", count * width) as to_vectors, self._at("rows", count * 8) as to_rows:
            for rows, data in _parts(self.record.vectors(self._side, after=last)):
                width, count = len(data) // len(rows), count + len(rows)
                sums = (zlib.crc32(data, sums[0]), zlib.crc32(rows.data, sums[1]))
                to_vectors.write(data)
                to_rows.write(rows.tobytes())
        removed = np.concatenate([removed, np.zeros(count - len(removed), np.bool_)])
        made = _Stamp(
            _FORMAT, self.record.get("id") or "", state.generation, state.token, self._kind, width, count,
            *sums, _packed(removed), self._aged(),
        )  # fmt: skip
        write(self._path("json"), json.dumps(asdict(made)))
        return self._opened(made, state) or self._in_memory()

    def _squeezed(self, stamp: _Stamp, found: Snapshot) -> _Stamp:
        """The stamp of new files without what was removed; call with the lock held, and write a stamp.

        Until one is written, nobody believes the files: they hold less than in the state that they covered.
        """
        places, sums = np.flatnonzero(found.alive), (0, 0)
        parts = [self._path(f"{name}.part") for name in ("vectors", "rows")]
        with parts[0].open("wb") as to_vectors, parts[1].open("wb") as to_rows:
            for start in range(0, len(places), _APPENDED_ROWS):
                part = places[start : start + _APPENDED_ROWS]
                vectors, rows = half.taken(found.vectors, part), found.all_rows[part]
                sums = (zlib.crc32(vectors.data, sums[0]), zlib.crc32(rows.data, sums[1]))
                to_vectors.write(vectors.data)
                to_rows.write(rows.data)
            for file in (to_vectors, to_rows):
                file.flush()
                os.fsync(file.fileno())
        self._path("json").unlink()
        for part_path, name in zip(parts, ("vectors", "rows"), strict=True):
            os.replace(part_path, self._path(name))
        return replace(
            stamp, count=len(places), vectors_sum=sums[0], rows_sum=sums[1], removed="", seen=self._aged()
        )

    def _in_memory(self) -> Snapshot:
        parts = list(_parts(self.record.vectors(self._side)))
        if not parts:
            return self._empty()
        rows = np.concatenate([rows for rows, _ in parts])
        data = np.frombuffer(b"".join(data for _, data in parts), self._type)
        return Snapshot(self._kind, rows, data.reshape(len(rows), -1), np.ones(len(rows), np.bool_))

    def _empty(self) -> Snapshot:
        nothing = np.zeros((0, 0), self._type)
        return Snapshot(self._kind, np.zeros(0, np.int64), nothing, np.zeros(0, np.bool_))

    # The files themselves

    def _path(self, ending: str) -> Path:
        return self._folder / f"{self.record.of_column(self._side)}.{ending}"

    @contextlib.contextmanager
    def _at(self, name: str, offset: int) -> Iterator[Any]:
        """The file, open for writing from `offset` on; what lies beyond is left from an interrupted run."""
        path = self._path(name)
        with path.open("r+b" if offset else "wb") as file:
            file.truncate(offset)
            file.seek(offset)
            yield file
            file.flush()
            os.fsync(file.fileno())

    def _aged(self) -> str:
        """What `_seen` says of the two files after their times were set to the past."""
        past = time.time_ns() - _AGED_NS
        for name in ("vectors", "rows"):
            os.utime(self._path(name), ns=(past, past))
        return self._seen()

    def _untouched(self, stamp: _Stamp) -> bool:
        """Whether the two files are as they were when they were stamped."""
        sizes = f"{stamp.count * stamp.width}:", f" {stamp.count * 8}:"
        return stamp.seen == self._seen() and stamp.seen.startswith(sizes[0]) and sizes[1] in stamp.seen

    def _seen(self) -> str:
        """Sizes and times of the two files; empty if one is missing."""
        try:
            found = [self._path(name).stat() for name in ("vectors", "rows")]
        except OSError:
            return ""
        return " ".join(f"{status.st_size}:{status.st_mtime_ns}" for status in found)


def take_files(source: Path, target: Path) -> None:
    """Put the search files of one folder in the place of another's; who writes there now is waited for.

    What cannot be moved is made again by the next search.
    """
    from filelock import FileLock, Timeout

    with contextlib.suppress(OSError, Timeout), contextlib.ExitStack() as locks:
        target.mkdir(exist_ok=True)
        for path in sorted({*target.glob("*.lock"), *(target / f"{side}.lock" for side in SIDES)}):
            locks.enter_context(FileLock(path, timeout=_LOCK_SECONDS))
        for path in sorted(target.iterdir(), key=lambda one: one.suffix != ".json"):
            if path.suffix != ".lock":
                path.unlink()
        for path in sorted(source.iterdir(), key=lambda one: one.suffix == ".json"):
            if path.suffix != ".lock":  # and a stamp only once its files are there
                os.replace(path, target / path.name)


def _dead(found: Snapshot) -> float:
    """Share of places that were removed."""
    return float(1 - found.alive.mean()) if len(found.alive) else 0.0


def _packed(removed: NDArray[np.bool_]) -> str:
    if not removed.any():
        return ""
    return base64.b64encode(zlib.compress(np.packbits(removed).tobytes())).decode("ascii")


def _parts(items: Iterator[tuple[int, bytes]]) -> Iterator[tuple[Rows, bytes]]:
    """Rows and joined vectors of many items at a time."""
    rows: list[int] = []
    data: list[bytes] = []
    for row, vector in items:
        rows.append(row)
        data.append(vector)
        if len(rows) == _APPENDED_ROWS:
            yield np.array(rows, np.int64), b"".join(data)
            rows, data = [], []
    if rows:
        yield np.array(rows, np.int64), b"".join(data)
