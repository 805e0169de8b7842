"""Brings files into the home: threads decode ahead, the model works in batches, each batch is stored.

At most the batch in flight is lost, whatever happens to the process.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.core import encodes, offered
from diptych.engine.decoding import AHEAD, THREADS, ahead, digest_of, prepared
from diptych.engine.homes.base import Home
from diptych.engine.homes.entries import Caption, Known
from diptych.engine.model import Model
from diptych.engine.plan import Work
from diptych.engine.reading import Reading
from diptych.engine.results import Skipped, Summary
from diptych.errors import BadData, ImageError
from diptych.media import textfiles
from diptych.media.captions import Sidecars, lines
from diptych.media.formats import HEAD, may_be_picture
from diptych.media.metadata import Fields, merged
from diptych.media.opening import Described
from diptych.media.pictures import Unread, read_file
from diptych.media.raw import description_of, is_raw

__all__ = ["Ingest"]

_TEXTS = 1_000  # of one file that are encoded and stored at a time
_REMEMBERED = 50_000  # contents of overwritten files that are kept in memory, should they turn up elsewhere


@dataclass(frozen=True, slots=True)
class _Picture:
    """A picture of new content.

    Args:
        work: The file.
        digest: Hash of its content.
        prepared: What the encoder takes.
        own: What it says in its own fields.
        partly: What is missing of it, in a sentence; empty if nothing is.
    """

    work: Work
    digest: bytes
    prepared: Any
    own: Described
    partly: str


@dataclass(frozen=True, slots=True)
class _Copy:
    """A picture whose content was known when it was looked at."""

    work: Work
    digest: bytes
    own: Described


@dataclass(frozen=True, slots=True)
class _Texts:
    """A list of texts."""

    work: Work
    digest: bytes
    texts: list[str]


@dataclass(frozen=True, slots=True)
class _Failed:
    """A file that could not be read.

    Args:
        work: The file.
        reason: Why.
        again: Whether the next run should try again although the file has not changed.
    """

    work: Work
    reason: str
    again: bool


_Good = _Picture | _Copy | _Texts
_Read = _Good | _Failed


class Ingest:
    """One run.

    Args:
        home: Where to store; the caller may write to it.
        model: Encodes pictures, and texts if it can.
        summary: Counts what is done.
        max_pixels: As for `diptych.media.pictures.open_picture`.

    Attributes:
        told: Names of the caption files of which the summary has said that they could not be used.
    """

    def __init__(self, home: Home, model: Model, summary: Summary, *, max_pixels: int | None = None) -> None:
        self.home, self.model, self.summary, self.max_pixels = home, model, summary, max_pixels
        self.told: set[bytes] = set()
        self._lists: set[Path] = set()  # of which it has been counted what was used
        self._overwritten: dict[bytes, bytes] = {}  # vectors, by hash
        self._encodes_text = encodes(model.encoder, "text")

    def run(self, waiting: Iterable[Work], *, batch_size: int) -> Generator[tuple[int, Path]]:
        """Store everything, batch by batch; yields how many files each had, and the last.

        Args:
            waiting: New and changed files, asked for a few batches ahead.
            batch_size: Pictures to encode, and files to store, at a time.
        """
        self._reading = Reading(self.home.place)
        try:
            with ThreadPoolExecutor(THREADS, thread_name_prefix="decode") as pool:
                read = ahead(pool, self._read, self._noted(waiting), batch_size * AHEAD)
                try:
                    while batch := tuple(itertools.islice(read, batch_size)):
                        yield from self._stored(batch)
                        self._reading.done(one.work.key for one in batch)
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        finally:
            self._reading.close(self._dealt_with)

    def _noted(self, waiting: Iterable[Work]) -> Iterator[Work]:
        """The same, each written down before it is read."""
        for work in waiting:
            self._reading.begin(work.key)
            yield work

    def _dealt_with(self, key: bytes) -> bool:
        """Whether a file was stored or passed over since it was in flight, or is gone."""
        known = self.home.file(key) is not None or self.home.skipped_file(key) is not None
        return known or not os.path.lexists(self.home.path(key))

    # Reading, in threads

    def _read(self, work: Work, known: bool = True) -> _Read:
        """Hash a file and, unless its content is known, decode the very bytes that were hashed.

        Args:
            work: The file.
            known: Whether to believe that what is known of its content will still be there.
        """
        found = work.found
        try:
            if known and work.same and work.before is not None and work.before.image:
                return _Copy(work, work.before.hash, description_of(found.path))
            content = self._content_of(work)
            digest = digest_of(content)
            if found.kind == "text":
                return _Texts(work, digest, list(dict.fromkeys(lines(content))))
            if known and self.home.twins(digest, image=True):
                return _Copy(work, digest, description_of(found.path, content))
            return _Picture(
                work,
                digest,
                *prepared(self.model.encoder, content, name=str(found.path), max_pixels=self.max_pixels),
            )
        except ImageError as error:
            return _Failed(work, error.reason, isinstance(error, Unread))
        except BadData as error:
            return _Failed(work, str(error), False)
        except OSError as error:
            return _Failed(work, f"cannot be read ({error.strerror or error})", True)

    def _content_of(self, work: Work) -> bytes:
        """The bytes of a file whose beginning is what it should be."""
        found = work.found
        if found.kind == "text":
            return textfiles.content(found.path)
        try:
            with found.path.open("rb") as file:
                head = file.read(HEAD)
        except OSError:
            return read_file(found.path)  # which says what is wrong
        if not head:
            raise ImageError(str(found.path), "empty file")
        if is_raw(found.path):  # whose reader looks for itself, in a process of its own
            return read_file(found.path)
        if not may_be_picture(head):
            raise ImageError(str(found.path), "not a picture, whatever its name says")
        if work.key in self._reading.suspects:
            size = offered(self.model.encoder, "image_size")
            why = self._reading.trial(found.path, size, self.max_pixels)
            if why:
                raise ImageError(str(found.path), why)
        return read_file(found.path)

    # Storing, in this thread

    def _stored(self, batch: Sequence[_Read]) -> Iterator[tuple[int, Path]]:
        """Store a batch; yields how many files are dealt with, and the last, more often where one is long."""
        long = [read for read in batch if isinstance(read, _Texts) and self._is_long(read)]
        for read in long:
            for _ in self._put_long(read):
                yield 0, read.work.found.path
        self._store([read for read in batch if read not in long] if long else batch)
        yield len(batch), batch[-1].work.found.path

    def _is_long(self, read: _Texts) -> bool:
        return self._encodes_text and len(read.texts) > _TEXTS and self._moved_from(read) is None

    def _put_long(self, read: _Texts) -> Iterator[None]:
        """Store a file of many texts part by part; what is stored of it stays, whatever happens.

        Until it is whole its size and time are those of no file, so that the next run goes on with it.
        """
        home, work, found = self.home, read.work, read.work.found
        before = home.file(work.key)
        begun = before is not None and before.hash == read.digest
        stored = [text for text, _ in home.texts(before.id)] if begun and before is not None else []
        begun = begun and stored == read.texts[: len(stored)]
        file = before.id if begun and before is not None else -1
        whole = before is not None and before.size >= 0
        known = {} if before is None or begun else home.text_vectors(read.texts)  # before it is replaced
        for start in range(len(stored) if begun else 0, len(read.texts), _TEXTS):
            captions = self._encoded(read.texts[start : start + _TEXTS], "list", known)
            with home.batch():
                if file < 0:
                    file = home.put_file(work.key, -1, -1, read.digest)
                home.add_captions(file, captions)
            yield
        with home.batch():
            home.move_file(file, work.key, found.size, found.mtime_ns)
            home.put_stamp(file, work.stamp)
            if work.failed:
                home.remove_skipped([work.key])
        same = begun and len(stored) == len(read.texts)
        self.summary.unchanged += whole and same
        self.summary.changed += whole and not same
        self.summary.added += not whole

    def _encoded(self, texts: Sequence[str], source: str, known: Mapping[str, bytes]) -> list[Caption]:
        """Texts as they are stored; those that are known or stored anywhere are not encoded again."""
        vectors = {**self.home.text_vectors(texts), **known}
        new = [text for text in texts if text not in vectors]
        vectors |= dict(zip(new, self.model.stored("text", new), strict=True))
        self.summary.encoded += len(new)
        return [Caption(text, vectors[text], source) for text in texts]

    def _store(self, batch: Sequence[_Read]) -> None:
        """Encode what is new in a batch and store it in one transaction."""
        # A content that was known when the file was read may have been overwritten since.
        batch = [self._read(read.work, known=False) if self._lost(read) else read for read in batch]
        pictures = [read for read in batch if isinstance(read, _Picture)]
        vectors = self.model.stored("image", [read.prepared for read in pictures])
        self.summary.encoded += len(pictures)
        self.summary.in_part += [Skipped(one.work.found.path, one.partly) for one in pictures if one.partly]
        contents = {read.work.key: vector for read, vector in zip(pictures, vectors, strict=True)}
        for read in batch:
            if isinstance(read, _Copy):
                content = self._content(read.digest)
                assert content is not None, "what was lost was read again"
                contents[read.work.key] = content
        good = [read for read in batch if not isinstance(read, _Failed)]
        described = {read.work.key: self._described(read) for read in good}
        captions = self._captions(good, described)
        with self.home.batch():
            for read in batch:
                if isinstance(read, _Failed):
                    self._skip(read)
                else:
                    key = read.work.key
                    self._put(read, contents.get(key), captions[key], described[key].fields)
            self._note(read.work.sidecars for read in batch)

    def _content(self, digest: bytes) -> bytes | None:
        """The stored vector of a picture's content."""
        for twin in self.home.twins(digest, image=True):
            vector = self.home.image_vector(twin.id)
            if vector is not None:
                return vector
        return self._overwritten.get(digest)

    def _described(self, read: _Good) -> Described:
        """What is said of a picture beside it and of its own; what somebody wrote beside it comes first."""
        if isinstance(read, _Texts):
            return Described([], {})
        sidecars = read.work.sidecars
        if sidecars is None:
            return read.own
        beside = sidecars.described(read.work.found.path)
        return Described(beside.captions, merged(beside.fields, read.own.fields))

    def _lost(self, read: _Read) -> bool:
        return isinstance(read, _Copy) and self._content(read.digest) is None

    def _overwrite(self, before: Known | None) -> None:
        """A file is about to be replaced; remember its content, which may have moved on."""
        if before is not None and before.image and len(self._overwritten) < _REMEMBERED:
            vector = self.home.image_vector(before.id)
            if vector is not None:
                self._overwritten[before.hash] = vector

    def _skip(self, read: _Failed) -> None:
        found, key = read.work.found, read.work.key
        before = self.home.skipped_file(key)
        known = before is not None and before[0] == read.reason
        self.summary.skipped.append(Skipped(found.path, read.reason, known))
        state = (-1, -1) if read.again else (found.size, found.mtime_ns)
        if not read.again:  # what it held before is no longer there
            self._overwrite(self.home.file(key))
            self.home.remove_file(key)
        self.home.put_skipped(key, read.reason, *state)

    def _put(self, read: _Good, content: bytes | None, captions: list[Caption], fields: Fields) -> None:
        work, home, summary = read.work, self.home, self.summary
        before, state = home.file(work.key), (work.found.size, work.found.mtime_ns)
        if before is not None and before.hash == read.digest:  # touched, or its captions changed
            home.move_file(before.id, work.key, *state)
            file, changed = before.id, home.texts(before.id) != [(c.text, c.source) for c in captions]
            told = home.put_fields(file, fields)
            changed |= told and not work.first  # of what nobody ever looked at, nothing has changed
            summary.changed += changed
            summary.unchanged += not changed
        else:
            moved = self._moved_from(read)
            self._overwrite(before)
            if moved is not None:
                home.remove_file(work.key)
                home.move_file(moved.id, work.key, *state)
                file = moved.id
                summary.moved += 1
            else:
                file = home.put_file(work.key, *state, read.digest)
                if content is not None:
                    home.put_image(file, content)
                summary.changed += before is not None
                summary.added += before is None
            home.put_fields(file, fields)
        home.put_captions(file, work.stamp, captions)
        if work.failed:
            home.remove_skipped([work.key])

    def _moved_from(self, read: _Good) -> Known | None:
        """A file of this content, if nothing has its name any more."""
        twins = self.home.twins(read.digest, image=not isinstance(read, _Texts))
        return next((twin for twin in twins if not os.path.lexists(self.home.path(twin.key))), None)

    def _captions(
        self, reads: Sequence[_Good], described: Mapping[bytes, Described]
    ) -> dict[bytes, list[Caption]]:
        """The captions of each file; those that are stored anywhere are not encoded again."""
        sources: dict[bytes, dict[str, str]] = {}
        for read in reads:
            if isinstance(read, _Texts):
                sources[read.work.key] = dict.fromkeys(read.texts, "list")
                continue
            sidecars = read.work.sidecars
            beside = [] if sidecars is None else sidecars.of(read.work.found.path)
            beside += described[read.work.key].captions
            sources[read.work.key] = {
                **dict.fromkeys(read.own.captions, "own"),
                **dict.fromkeys(beside, "sidecar"),
            }
            if found := len(sources[read.work.key]):
                self.summary.captions.use(pictures=1, captions=found)
        texts = list(dict.fromkeys(text for found in sources.values() for text in found))
        vectors = self.home.text_vectors(texts)
        new = [text for text in texts if text not in vectors] if self._encodes_text else []
        vectors |= dict(zip(new, self.model.stored("text", new), strict=True))
        self.summary.encoded += len(new)
        return {
            key: [Caption(text, vectors.get(text), source) for text, source in found.items()]
            for key, found in sources.items()
        }

    def _note(self, read: Iterable[Sidecars | None]) -> None:
        """Remember which caption files of these folders could not be used, and which could."""
        for sidecars in {id(one): one for one in read if one is not None}.values():
            self.summary.captions.join(sidecars.taken())
            for path, report in sidecars.reports().items():
                if path not in self._lists:
                    self._lists.add(path)
                    self.summary.captions.join(report)
            read_now = sorted(sidecars.read)
            sidecars.read.clear()  # a folder may have a file for each picture: each is noted once
            for path in read_now:
                key = self.home.key(path)
                reason = sidecars.wrong.get(path)
                if reason is None:
                    self.home.remove_skipped([key])
                elif key not in self.told:
                    self.told.add(key)
                    self.home.put_skipped(key, reason, *sidecars.files[path])
                    self.summary.skipped.append(Skipped(path, reason))
