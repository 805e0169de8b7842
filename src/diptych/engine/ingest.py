"""Brings files into the record: threads decode ahead, the encoder works in batches, each batch is stored.

At most the batch in flight is lost, whatever happens to the process.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diptych import similarity
from diptych.engine.homes.local.record import Caption, Known, Record
from diptych.engine.results import Progress, Skipped, Summary
from diptych.engine.scan import Found
from diptych.errors import BadData, ImageError
from diptych.media.captions import Sidecars, lines
from diptych.media.pictures import NeedsExtra, quiet, read_captioned

__all__ = ["ingest"]

_AHEAD = 3  # batches that may be decoded before they are needed; bounds the memory
_REMEMBERED = 50_000  # contents of overwritten files that are kept in memory, should they turn up elsewhere


@dataclass(frozen=True, slots=True)
class _Work:
    """A file to deal with.

    Args:
        found: The file.
        key: Its name in the record.
        before: What the record knows of a file of that name.
        sidecars: Caption files of its folder; None for a text file.
        stamp: State of the caption files that may concern it.
        same: Whether only those changed.
    """

    found: Found
    key: bytes
    before: Known | None
    sidecars: Sidecars | None
    stamp: str
    same: bool


@dataclass(slots=True)
class _Read:
    """What reading a file gave.

    Args:
        work: The file.
        digest: Hash of its content.
        picture: What the encoder takes; None for a text file, and if the content is known already.
        texts: Lines of a text file, or captions in a picture's own fields; None if the content is known.
        error: Why it could not be read; empty if it could.
        again: Whether the next run should try again although the file has not changed.
    """

    work: _Work
    digest: bytes = b""
    picture: Any = None
    texts: list[str] | None = None
    error: str = ""
    again: bool = False


@dataclass(slots=True)
class _Content:
    """What is stored of a picture's content: its vector and the captions in its own fields."""

    vector: bytes
    texts: list[str] = field(default_factory=list)


def ingest(
    files: Iterable[Found],
    record: Record,
    encoder: Any,
    *,
    batch_size: int,
    on_progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Bring the record up to date with these files.

    Args:
        files: What `scan.walk` saw.
        record: Where to store; the caller holds the writer's lock.
        encoder: Encodes pictures, and texts if it can.
        batch_size: Pictures to encode, and files to store, at a time.
        on_progress: Called after every batch.
    """
    started, done = time.perf_counter(), 0
    update = _Update(record, encoder)
    waiting = update.plan(files)
    threads = max(2, (os.cpu_count() or 2) // 2)
    with quiet(), ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        read = _ahead(pool, waiting, encoder, update.by_hash, batch_size * _AHEAD)
        try:
            for batch in _batched(read, batch_size):
                update.store(batch)
                done += len(batch)
                if on_progress is not None:
                    seconds = time.perf_counter() - started
                    last = batch[-1].work.found.path
                    on_progress(Progress(done, len(waiting), len(update.summary.skipped), last, seconds))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    update.finish()
    return update.summary


def _batched(items: Iterable[_Read], size: int) -> Iterator[tuple[_Read, ...]]:
    """`itertools.batched`, which Python 3.11 lacks."""
    iterator = iter(items)
    while batch := tuple(itertools.islice(iterator, size)):
        yield batch


def _ahead(
    pool: ThreadPoolExecutor, waiting: Iterable[_Work], encoder: Any, known: Container[bytes], window: int
) -> Iterator[_Read]:
    """Read files in threads, in order, never more than `window` ahead."""
    futures: deque[Future[_Read]] = deque()
    for work in waiting:
        futures.append(pool.submit(_read, work, encoder, known))
        if len(futures) >= window:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()


def _read(work: _Work, encoder: Any, known: Container[bytes]) -> _Read:
    """Hash a file and, unless its content is known, decode it."""
    found = work.found
    if work.same and work.before is not None:
        return _Read(work, work.before.hash)
    try:
        with found.path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
        if found.kind == "text":
            return _Read(work, digest, texts=lines(found.path))
        if digest in known:
            return _Read(work, digest)
        picture, captions = read_captioned(found.path, size=getattr(encoder, "image_size", None))
        prepare = getattr(encoder, "prepare_image", None)
        return _Read(work, digest, picture if prepare is None else prepare(picture), captions)
    except ImageError as error:
        passing = isinstance(error, NeedsExtra) or isinstance(
            error.__cause__, (FileNotFoundError, PermissionError)
        )
        return _Read(work, error=error.reason, again=passing)
    except BadData as error:
        return _Read(work, error=str(error), again=isinstance(error.__cause__, OSError))
    except FileNotFoundError:
        return _Read(work, error="vanished while it was being read", again=True)
    except OSError as error:
        return _Read(work, error=f"cannot be read ({(error.strerror or str(error)).lower()})", again=True)


class _Update:
    """One run: what is known, what is to be done, and what has been done."""

    def __init__(self, record: Record, encoder: Any) -> None:
        self.record, self.encoder = record, encoder
        self.known, self.failed = record.files(), record.skipped()
        # Pictures by content. Threads only ask whether a content is there; `store` looks again.
        self.by_hash = {file.hash: key for key, file in self.known.items() if file.image}
        self.texts_by_hash = {file.hash: key for key, file in self.known.items() if not file.image}
        self.overwritten: dict[bytes, _Content] = {}
        self.folders: dict[Path, Sidecars | None] = {}
        self.summary = Summary()
        self.encodes_text = hasattr(encoder, "encode_text")

    def plan(self, files: Iterable[Found]) -> list[_Work]:
        """The files that are new or changed; the others are counted."""
        waiting = []
        for found in files:
            key = self.record.key(found.path)
            before = self.known.get(key)
            if found.problem:
                self.summary.skipped.append(Skipped(found.path, found.problem))
                continue
            sidecars = self._sidecars(found)
            stamp = sidecars.stamp(found.path) if sidecars is not None else ""
            same = before is not None and (before.size, before.mtime_ns) == (found.size, found.mtime_ns)
            reason, *state = self.failed.get(key, ("", -1, -1))
            if same and before is not None and before.captions == stamp:
                self.summary.unchanged += 1
            elif reason and state == [found.size, found.mtime_ns]:
                self.summary.skipped.append(Skipped(found.path, reason))
            else:
                waiting.append(_Work(found, key, before, sidecars, stamp, same))
        return waiting

    def finish(self) -> None:
        """Remember which caption files could not be used."""
        wrong: list[tuple[bytes, str, int, int]] = []
        right: list[bytes] = []
        for sidecars in self.folders.values():
            if sidecars is None:
                continue
            for path, state in sidecars.files.items():
                key = self.record.key(path)
                reason, *before = self.failed.get(key, ("", -1, -1))
                if path in sidecars.wrong:
                    wrong.append((key, sidecars.wrong[path], *state))
                    self.summary.skipped.append(Skipped(path, sidecars.wrong[path]))
                elif path in sidecars.read:
                    right.append(key)
                elif reason and tuple(before) == state and key not in self.known:
                    self.summary.skipped.append(Skipped(path, reason))
        right = [key for key in right if key in self.failed]
        wrong = [line for line in wrong if self.failed.get(line[0]) != line[1:]]
        if wrong or right:
            with self.record.batch(changes=False):
                self.record.remove_skipped(right)
                for line in wrong:
                    self.record.put_skipped(*line)

    def store(self, batch: Sequence[_Read]) -> None:
        """Encode what is new in a batch and store it in one transaction."""
        # A content that was known when the file was read may have been overwritten since.
        batch = [self._read_again(read) if self._lost(read) else read for read in batch]
        pictures = [read for read in batch if read.picture is not None]
        vectors = dict(
            zip(map(id, pictures), self._encoded("encode_image", [r.picture for r in pictures]), strict=True)
        )
        contents = {
            id(read): _Content(vectors[id(read)], read.texts or [])
            if id(read) in vectors
            else self._stored(read.digest)
            for read in batch
            if not read.error and read.work.found.kind == "image"
        }
        captions = self._captions([read for read in batch if not read.error], contents)
        with self.record.batch():
            for read in batch:
                if read.error:
                    self._skip(read)
                else:
                    self._put(read, contents.get(id(read)), captions[id(read)])

    def _sidecars(self, found: Found) -> Sidecars | None:
        if found.kind != "image":
            return None
        folder = found.path.parent
        if folder not in self.folders:
            try:
                self.folders[folder] = Sidecars(folder)
            except OSError:
                self.folders[folder] = None  # the folder vanished; reading the picture will say so
        return self.folders[folder]

    # What is stored of a content

    def _stored(self, digest: bytes) -> _Content | None:
        key = self.by_hash.get(digest)
        file = self.known.get(key) if key is not None else None
        if key is not None and file is not None and file.hash == digest:
            vector = self.record.image_vector(file.id)
            if vector is not None:
                return _Content(vector, self.record.own_texts(key))
        return self.overwritten.get(digest)

    def _lost(self, read: _Read) -> bool:
        picture = not read.error and read.work.found.kind == "image" and read.picture is None
        return picture and self._stored(read.digest) is None

    def _read_again(self, read: _Read) -> _Read:
        self.by_hash.pop(read.digest, None)
        return _read(read.work, self.encoder, ())

    def _overwrite(self, key: bytes) -> None:
        """The file of that name is about to be replaced; remember its content, which may have moved on."""
        before = self.known.pop(key, None)
        if before is not None and self.by_hash.get(before.hash) == key:
            vector = self.record.image_vector(before.id)
            if vector is not None and len(self.overwritten) < _REMEMBERED:
                self.overwritten[before.hash] = _Content(vector, self.record.own_texts(key))

    # Storing

    def _skip(self, read: _Read) -> None:
        found = read.work.found
        self.summary.skipped.append(Skipped(found.path, read.error))
        state = (-1, -1) if read.again else (found.size, found.mtime_ns)
        if not read.again:  # what it held before is no longer there
            self._overwrite(read.work.key)
            self.record.remove_file(read.work.key)
        self.record.put_skipped(read.work.key, read.error, *state)

    def _put(self, read: _Read, content: _Content | None, captions: list[Caption]) -> None:
        work, record, summary = read.work, self.record, self.summary
        found, before = work.found, self.known.get(work.key)
        state = (found.size, found.mtime_ns)
        if before is not None and before.hash == read.digest:  # touched, or its captions changed
            record.move_file(before.id, work.key, *state)
            file, changed = before.id, record.texts(before.id) != [(c.text, c.source) for c in captions]
            summary.changed += changed
            summary.unchanged += not changed
        else:
            moved = self._moved_from(read)
            self._overwrite(work.key)
            if moved is not None:
                record.remove_file(work.key)
                file = self.known.pop(moved).id
                record.move_file(file, work.key, *state)
                summary.moved += 1
            else:
                file = record.put_file(work.key, *state, read.digest)
                if content is not None:
                    record.put_image(file, content.vector)
                summary.changed += before is not None
                summary.added += before is None
        record.put_captions(file, work.stamp, captions)
        record.remove_skipped([work.key])
        self.known[work.key] = Known(file, *state, read.digest, work.stamp, content is not None)
        (self.texts_by_hash if content is None else self.by_hash)[read.digest] = work.key

    def _moved_from(self, read: _Read) -> bytes | None:
        """The old name of this content, if nothing has that name any more."""
        names = self.by_hash if read.work.found.kind == "image" else self.texts_by_hash
        old = names.get(read.digest)
        file = self.known.get(old) if old is not None else None
        if old is None or file is None or file.hash != read.digest:
            return None
        return None if os.path.lexists(self.record.place(old)) else old

    # Encoding

    def _captions(
        self, reads: Sequence[_Read], contents: dict[int, _Content | None]
    ) -> dict[int, list[Caption]]:
        """The captions of each read file; those that are stored anywhere are not encoded again."""
        if not self.encodes_text:
            return {id(read): [] for read in reads}
        sources: dict[int, dict[str, str]] = {}
        for read in reads:
            content, sidecars = contents.get(id(read)), read.work.sidecars
            own = content.texts if content is not None else read.texts or []
            source = "list" if content is None else "own"
            beside = [] if sidecars is None else sidecars.of(read.work.found.path)
            sources[id(read)] = {**dict.fromkeys(own, source), **dict.fromkeys(beside, "sidecar")}
        texts = list(dict.fromkeys(text for found in sources.values() for text in found))
        vectors = self.record.text_vectors(texts)
        new = [text for text in texts if text not in vectors]
        vectors |= dict(zip(new, self._encoded("encode_text", new), strict=True))
        return {
            read: [Caption(text, vectors[text], source) for text, source in found.items()]
            for read, found in sources.items()
        }

    def _encoded(self, method: str, content: list[Any]) -> list[bytes]:
        if not content:
            return []
        self.summary.encoded += len(content)
        vectors = np.asarray(getattr(self.encoder, method)(content), np.float32)
        if self.encoder.similarity == "hamming":
            return [row.tobytes() for row in similarity.pack(vectors)]
        if self.encoder.similarity == "cosine":
            vectors = similarity.unit(vectors)
        return [row.tobytes() for row in vectors.astype(np.float16)]
