"""Brings files into the home: threads decode ahead, the model works in batches, each batch is stored.

At most the batch in flight is lost, whatever happens to the process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from diptych.core import encodes
from diptych.engine.captioning import GENERATED, generated_of
from diptych.engine.decoding import vector_of
from diptych.engine.homes.base import Home
from diptych.engine.homes.entries import Caption, Known
from diptych.engine.lending import Lent
from diptych.engine.looking import Asked, Copy, Eyes, Failed, Here, Picture, Seen, Texts, nothing_known
from diptych.engine.model import Model
from diptych.engine.plan import Work, tell_skipped
from diptych.engine.reading import Reading
from diptych.engine.results import Skipped, Summary
from diptych.media.captions import Sidecars
from diptych.media.metadata import Fields, merged
from diptych.media.opening import Described

__all__ = ["Ingest"]

_TEXTS = 1_000  # of one file that are encoded and stored at a time
_REMEMBERED = 50_000  # contents of overwritten files that are kept in memory, should they turn up elsewhere


_Good = Picture | Copy | Texts


class Ingest:
    """One run.

    Args:
        home: Where to store; the caller may write to it.
        model: Encodes pictures, and texts if it can.
        summary: Counts what is done.
        max_pixels: As for `diptych.media.pictures.open_picture`.
        eyes: Look into the files; threads of this process if None.
        lent: Vectors that are taken and not made.

    Attributes:
        told: Names of the caption files of which the summary has said that they could not be used.
    """

    def __init__(
        self,
        home: Home,
        model: Model,
        summary: Summary,
        *,
        max_pixels: int | None = None,
        eyes: Eyes | None = None,
        lent: Lent | None = None,
    ) -> None:
        self._lent = lent
        self.home, self.model, self.summary, self.max_pixels = home, model, summary, max_pixels
        self.told: set[bytes] = set()
        self._eyes = eyes
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
        self._here = Here(self.model.encoder, self._reading.trial, max_pixels=self.max_pixels)
        seen = (self._eyes or self._here).seen(self._noted(waiting), batch_size, self._knows)
        try:
            with contextlib.closing(seen):
                for batch in seen:
                    yield from self._stored(batch)
                    self._reading.done(work.key for work, _ in batch)
        finally:
            self._reading.close(self._dealt_with)

    def _noted(self, waiting: Iterable[Work]) -> Iterator[tuple[Work, Asked]]:
        """The same as tasks, each written down before it is read."""
        for work in waiting:
            self._reading.begin(work.key)
            yield work, self._asked(work)

    def _asked(self, work: Work, known: bool = True) -> Asked:
        """What is to be looked at.

        Args:
            work: The file.
            known: Whether to believe that what is known of its content will still be there.
        """
        before = work.before
        same = known and work.same and before is not None and before.image
        return Asked(
            str(work.found.path),
            "text" if work.found.kind == "text" else "image",
            before.hash if same and before is not None else b"",
            work.key in self._reading.suspects,
        )

    def _knows(self, digest: bytes) -> bool:
        return bool(self.home.twins(digest, image=True))

    def _dealt_with(self, key: bytes) -> bool:
        """Whether a file was stored or passed over since it was in flight, or is gone."""
        known = self.home.file(key) is not None or self.home.skipped_file(key) is not None
        return known or not os.path.lexists(self.home.path(key))

    # Storing, in this thread

    def _stored(self, batch: Sequence[tuple[Work, Seen]]) -> Iterator[tuple[int, Path]]:
        """Store a batch; yields how many files are dealt with, and the last, more often where one is long."""
        rest = []
        for work, seen in batch:
            if isinstance(seen, Texts) and self._is_long(seen):
                for _ in self._put_long(work, seen):
                    yield 0, work.found.path
            else:
                rest.append((work, seen))
        self._store(rest)
        yield len(batch), batch[-1][0].found.path

    def _is_long(self, read: Texts) -> bool:
        return self._encodes_text and len(read.texts) > _TEXTS and self._moved_from(read) is None

    def _put_long(self, work: Work, read: Texts) -> Iterator[None]:
        """Store a file of many texts part by part; what is stored of it stays, whatever happens.

        Until it is whole its size and time are those of no file, so that the next run goes on with it.
        """
        home, found = self.home, work.found
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
        vectors, new = self.model.text_vectors(self.home, texts, known)
        self.summary.encoded += new
        return [Caption(text, vectors[text], source) for text in texts]

    def _store(self, batch: Sequence[tuple[Work, Seen]]) -> None:
        """Encode what is new in a batch and store it in one transaction."""
        # A content that was known when the file was read may have been overwritten since.
        batch = [(work, self._again(work) if self._lost(seen) else seen) for work, seen in batch]
        contents = self._contents(batch)
        good = [(work, seen) for work, seen in batch if not isinstance(seen, Failed)]
        described = {work.key: self._described(work, seen) for work, seen in good}
        captions = self._captions(good, described)
        with self.home.batch():
            for work, seen in batch:
                if isinstance(seen, Failed):
                    self._skip(work, seen)
                else:
                    key = work.key
                    self._put(work, seen, contents.get(key), captions[key], described[key].fields)
            self._note(work.sidecars for work, _ in batch)

    def _contents(self, batch: Sequence[tuple[Work, Seen]]) -> dict[bytes, bytes]:
        """The vectors of a batch's pictures, by the files' names; those that nobody has made are encoded."""
        pictures = [(work, seen) for work, seen in batch if isinstance(seen, Picture)]
        lent = self._lent_for(work for work, _ in pictures)
        new = [(work, seen) for work, seen in pictures if seen.vector is None and work.key not in lent]
        encoded = self.model.stored("image", [seen.prepared for _, seen in new])
        found = lent | {work.key: vector for (work, _), vector in zip(new, encoded, strict=True)}
        self.summary.encoded += len(pictures) - len(lent)
        self.summary.lent += len(lent)
        for work, seen in batch:
            if isinstance(seen, Picture):
                if seen.partly:
                    self.summary.in_part.append(Skipped(work.found.path, seen.partly))
                if seen.vector is not None:  # by those who cannot know what is stored; files alike stay so
                    found[work.key] = self._content(seen.digest) or seen.vector
            elif isinstance(seen, Copy):
                content = self._content(seen.digest)
                assert content is not None, "what was lost was read again"
                found[work.key] = content
        return found

    def _lent_for(self, works: Iterable[Work]) -> dict[bytes, bytes]:
        """The vectors that need not be made, by the files' names."""
        if self._lent is None:
            return {}
        found = {work.key: self._lent.vector(work.found) for work in works}
        return {key: vector for key, vector in found.items() if vector is not None}

    def _content(self, digest: bytes) -> bytes | None:
        """The stored vector of a picture's content."""
        return vector_of(self.home, digest) or self._overwritten.get(digest)

    def _described(self, work: Work, read: _Good) -> Described:
        """What is said of a picture beside it and of its own; what somebody wrote beside it comes first."""
        if isinstance(read, Texts):
            return Described([], {})
        if work.sidecars is None:
            return read.own
        beside = work.sidecars.described(work.found.path)
        return Described(beside.captions, merged(beside.fields, read.own.fields))

    def _lost(self, read: Seen) -> bool:
        return isinstance(read, Copy) and self._content(read.digest) is None

    def _again(self, work: Work) -> Seen:
        return self._here.look(self._asked(work, known=False), nothing_known)

    def _overwrite(self, before: Known | None) -> None:
        """A file is about to be replaced; remember its content, which may have moved on."""
        if before is not None and before.image and len(self._overwritten) < _REMEMBERED:
            vector = self.home.image_vector(before.id)
            if vector is not None:
                self._overwritten[before.hash] = vector

    def _skip(self, work: Work, read: Failed) -> None:
        found, key = work.found, work.key
        tell_skipped(self.home, self.summary, key, found.path, read.reason)
        state = (-1, -1) if read.again else (found.size, found.mtime_ns)
        if not read.again:  # what it held before is no longer there
            self._overwrite(self.home.file(key))
            self.home.remove_file(key)
        self.home.put_skipped(key, read.reason, *state)

    def _put(
        self, work: Work, read: _Good, content: bytes | None, captions: list[Caption], fields: Fields
    ) -> None:
        home, summary = self.home, self.summary
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
        twins = self.home.twins(read.digest, image=not isinstance(read, Texts))
        return next((twin for twin in twins if not os.path.lexists(self.home.path(twin.key))), None)

    def _captions(
        self, reads: Sequence[tuple[Work, _Good]], described: Mapping[bytes, Described]
    ) -> dict[bytes, list[Caption]]:
        """The captions of each file; those that are stored anywhere are not encoded again."""
        sources: dict[bytes, dict[str, str]] = {}
        for work, read in reads:
            if isinstance(read, Texts):
                sources[work.key] = dict.fromkeys(read.texts, "list")
                continue
            beside = [] if work.sidecars is None else work.sidecars.of(work.found.path)
            beside += described[work.key].captions
            written = {**dict.fromkeys(read.own.captions, "own"), **dict.fromkeys(beside, "sidecar")}
            if written:
                self.summary.captions.use(pictures=1, captions=len(written))
            # What a captioner said of the content stays, whatever people write beside it.
            said = [text for text in generated_of(self.home, read.digest) if text not in written]
            sources[work.key] = {**written, **dict.fromkeys(said, GENERATED)}
        return self.model.captions(self.home, sources, self.summary)

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
