"""Brings files into the record: threads decode ahead, the encoder works in batches, each batch is stored.

At most the batch in flight is lost, whatever happens to the process.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych import similarity
from diptych.engine.captions import Sidecars, lines, signature
from diptych.engine.decode import read_captioned
from diptych.engine.record import Caption, Known, Record
from diptych.engine.results import Progress, Skipped, Summary
from diptych.engine.scan import Found
from diptych.errors import ImageError

__all__ = ["ingest"]

_THREADS = max(2, (os.cpu_count() or 2) // 2)
_AHEAD = 3  # batches that may be decoded before they are needed; bounds the memory


@dataclass(slots=True)
class _Read:
    """What a thread found out about a file."""

    found: Found
    digest: bytes = b""
    picture: Any = None
    captions: list[str] | None = None
    error: str = ""


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
    files = list(files)
    known, failed = record.files(), record.skipped()
    hashes = {file.hash: key for key, file in known.items()}
    summary = Summary()
    sidecars: dict[Path, Sidecars] = {}
    waiting: list[tuple[Found, Known | None, list[str]]] = []
    for found in files:
        captions = _sidecar_captions(found, sidecars)
        key = record.key(found.path)
        before = known.get(key)
        same = before is not None and (before.size, before.mtime_ns) == (found.size, found.mtime_ns)
        if before is not None and same and (found.kind == "text" or _same_captions(before, captions)):
            summary.unchanged += 1
        elif key in failed and failed[key][1:] == (found.size, found.mtime_ns):
            summary.skipped.append(Skipped(found.path, failed[key][0]))
        else:
            waiting.append((found, before, captions))
    started, done = time.perf_counter(), 0
    for sidecar in sidecars.values():
        summary.skipped += [Skipped(path, reason) for path, reason in sidecar.wrong.items()]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="decode") as pool:
        store = _Store(record, encoder, known, hashes, summary)
        read = _ahead(pool, waiting, encoder, hashes, batch_size * _AHEAD)
        try:
            for batch in _batched(read, batch_size):
                store(batch)
                done += len(batch)
                if on_progress is not None:
                    seconds = time.perf_counter() - started
                    last = batch[-1][0].found.path
                    on_progress(Progress(done, len(waiting), len(summary.skipped), last, seconds))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return summary


def _batched(items: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    """`itertools.batched`, which Python 3.11 lacks."""
    iterator = iter(items)
    while batch := tuple(itertools.islice(iterator, size)):
        yield batch


def _sidecar_captions(found: Found, sidecars: dict[Path, Sidecars]) -> list[str]:
    if found.kind == "text":
        return []
    folder = found.path.parent
    try:
        return sidecars.setdefault(folder, Sidecars(folder)).of(found.path)
    except OSError:
        return []  # the folder vanished; reading the picture will say so


def _same_captions(before: Known, captions: list[str]) -> bool:
    return before.captions.partition("/")[0] == signature(captions)


def _ahead(
    pool: ThreadPoolExecutor,
    waiting: Iterable[tuple[Found, Known | None, list[str]]],
    encoder: Any,
    hashes: Mapping[bytes, bytes],
    window: int,
) -> Iterator[tuple[_Read, Known | None, list[str]]]:
    """Read files in threads, in order, never more than `window` ahead."""
    futures: deque[tuple[Future[_Read], Known | None, list[str]]] = deque()
    for found, before, captions in waiting:
        futures.append((pool.submit(_read, found, encoder, hashes), before, captions))
        if len(futures) >= window:
            future, *rest = futures.popleft()
            yield (future.result(), *rest)  # type: ignore[misc]  # the two that were put in
    while futures:
        future, *rest = futures.popleft()
        yield (future.result(), *rest)  # type: ignore[misc]


def _read(found: Found, encoder: Any, hashes: Mapping[bytes, bytes]) -> _Read:
    """Hash a file and, unless its content is known, decode it."""
    try:
        digest = _digest(found.path)
        if found.kind == "text":
            return _Read(found, digest, captions=lines(found.path))
        if digest in hashes:
            return _Read(found, digest)
        size = getattr(encoder, "image_size", None)
        picture, captions = read_captioned(found.path, size=size)
        prepare = getattr(encoder, "prepare", None)
        return _Read(found, digest, picture if prepare is None else prepare(picture), captions)
    except ImageError as error:
        return _Read(found, error=error.reason)
    except FileNotFoundError:
        return _Read(found, error="vanished while it was being indexed")
    except PermissionError:
        return _Read(found, error="permission denied")
    except OSError as error:
        return _Read(found, error=f"cannot be read ({error.strerror or error})")


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()


class _Store:
    """Encodes a batch of read files and stores it in one transaction."""

    def __init__(
        self,
        record: Record,
        encoder: Any,
        known: dict[bytes, Known],
        hashes: dict[bytes, bytes],
        summary: Summary,
    ) -> None:
        self.record, self.encoder, self.summary = record, encoder, summary
        self.known, self.hashes = known, hashes
        self.texts = hasattr(encoder, "encode_text")

    def __call__(self, batch: Sequence[tuple[_Read, Known | None, list[str]]]) -> None:
        pictures = [read for read, _, _ in batch if read.picture is not None]
        vectors = self._vectors("encode_image", [read.picture for read in pictures])
        image = {id(read): vector for read, vector in zip(pictures, vectors, strict=True)}
        captions = {id(read): self._captions(read, sidecar) for read, _, sidecar in batch if not read.error}
        with self.record.batch():
            for read, before, sidecar in batch:
                if read.error:
                    self._skip(read)
                else:
                    self._file(read, before, image.get(id(read)), sidecar, captions[id(read)])
        self.summary.encoded += len(pictures)

    def _skip(self, read: _Read) -> None:
        found = read.found
        self.record.put_skipped(self.record.key(found.path), read.error, found.size, found.mtime_ns)
        self.summary.skipped.append(Skipped(found.path, read.error))

    def _file(
        self,
        read: _Read,
        before: Known | None,
        vector: bytes | None,
        sidecar: list[str],
        captions: list[Caption],
    ) -> None:
        record, found, key = self.record, read.found, self.record.key(read.found.path)
        if before is not None and before.hash == read.digest:  # touched, or its captions changed
            record.move_file(before.id, key, found.size, found.mtime_ns)
            file, fields = before.id, before.captions.partition("/")[2]
            self.summary.unchanged += before.mtime_ns != found.mtime_ns
            self.summary.changed += before.mtime_ns == found.mtime_ns
        else:
            other = self.known.get(self.hashes.get(read.digest, b"")) if vector is None else None
            fields = signature(read.captions or []) if found.kind == "image" else ""
            if other is not None and found.kind == "image":
                if before is not None:
                    record.remove_files([before.id])
                file, fields = self._known_content(other, read, key)
            else:
                file = record.put_file(key, found.size, found.mtime_ns, read.digest, "")
                if vector is not None:
                    record.put_image(file, vector)
                self.summary.changed += before is not None
                self.summary.added += before is None
        record.put_captions(file, f"{signature(sidecar)}/{fields}", captions)
        self.summary.encoded += len(captions)

    def _known_content(self, other: Known, read: _Read, key: bytes) -> tuple[int, str]:
        """A file whose content is stored already: moved if the old name is gone, else a copy."""
        record, found = self.record, read.found
        fields = other.captions.partition("/")[2]
        old = self.hashes[read.digest]
        if not os.path.lexists(record.place(old)):
            record.move_file(other.id, key, found.size, found.mtime_ns)
            self.hashes[read.digest] = key
            self.known[key] = self.known.pop(old)
            self.summary.moved += 1
            return other.id, fields
        file = record.put_file(key, found.size, found.mtime_ns, read.digest, "")
        record.copy_image(other.id, file)
        self.summary.added += 1
        return file, fields

    def _captions(self, read: _Read, sidecar: list[str]) -> list[Caption]:
        if not self.texts:
            return []
        own = read.captions
        if own is None:  # content known: the texts of its own fields are stored
            own = self.record.own_texts(self.hashes[read.digest])
        source = "list" if read.found.kind == "text" else "own"
        texts = {**dict.fromkeys(own, source), **dict.fromkeys(sidecar, "sidecar")}
        vectors = self._vectors("encode_text", list(texts))
        return [Caption(t, v, s) for (t, s), v in zip(texts.items(), vectors, strict=True)]

    def _vectors(self, method: str, content: list[Any]) -> list[bytes]:
        if not content:
            return []
        vectors = np.asarray(getattr(self.encoder, method)(content), np.float32)
        if self.encoder.similarity == "hamming":
            return [row.tobytes() for row in similarity.pack(vectors)]
        if self.encoder.similarity == "cosine":
            vectors = similarity.unit(vectors)
        return [row.tobytes() for row in vectors.astype(np.float16)]
