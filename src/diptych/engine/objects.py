"""Brings a home up to date with pictures in object storage, which have addresses and no paths.

They are kept as items of programs are, under their addresses, so that nothing that happens to files concerns
them. Captions come from a picture's own fields and from a ``.txt`` beside it (``a.txt`` or ``a.jpg.txt``).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from diptych.engine import storage
from diptych.engine.decoding import vector_of
from diptych.engine.homes.base import Home
from diptych.engine.homes.entries import Caption, Known
from diptych.engine.homes.names import is_own, name_of, own_key
from diptych.engine.ignoring import kept, leaving_out
from diptych.engine.looking import Asked, Copy, Eyes, Failed, Here, Picture, Seen, nothing_known
from diptych.engine.model import Model
from diptych.engine.plan import tell_skipped
from diptych.engine.reading import Reading
from diptych.engine.results import Skipped, Summary
from diptych.media.pictures import SUFFIXES
from diptych.media.raw import RAW_SUFFIXES, can_read_raw

__all__ = ["Objects"]


@dataclass(frozen=True, slots=True)
class _Object:
    """A picture in a storage that is new or changed.

    Args:
        stored: The picture.
        key: Its name in the home.
        before: What the home knows of one of that name.
        beside: The file with its captions, if there is one.
        stamp: State of both.
    """

    stored: storage.Stored
    key: bytes
    before: Known | None
    beside: storage.Stored | None
    stamp: str

    def asked(self, known: bool = True) -> Asked:
        """What is to be looked at; its content is not looked at again where only its captions changed."""
        before = self.before
        same = (
            known
            and before is not None
            and before.image
            and (before.size, before.mtime_ns) == (self.stored.size, self.stored.mtime_ns)
            and before.captions.partition(" ")[0] == self.stamp.partition(" ")[0]
        )
        return Asked(
            self.stored.address,
            digest=before.hash if same and before is not None else b"",
            beside="" if self.beside is None else self.beside.address,
        )


class Objects:
    """One update.

    Args:
        home: Where to store; the caller may write to it.
        model: Encodes pictures, and texts if it can.
        summary: Counts what is done.
        max_pixels: As for `diptych.media.pictures.open_picture`.
        eyes: Look at the pictures; threads of this process if None.
    """

    def __init__(
        self,
        home: Home,
        model: Model,
        summary: Summary,
        *,
        max_pixels: int | None = None,
        eyes: Eyes | None = None,
    ) -> None:
        self.home, self.model, self.summary, self.max_pixels = home, model, summary, max_pixels
        self._eyes = eyes
        self._left_out = leaving_out(kept(home))

    def run(
        self, addresses: Iterable[str], *, batch_size: int, check: bool, forget_missing: bool
    ) -> Generator[tuple[int, str]]:
        """Store everything, batch by batch; yields how many pictures each had, and the last's address.

        Args:
            addresses: Of folders and pictures.
            batch_size: Pictures encoded and stored at a time.
            check: Look at every picture, even if nothing tells that it changed.
            forget_missing: Also forget pictures of an address below which none of them is left.
        """
        self._reading = Reading(self.home.place, "reading-objects")
        self._here = Here(self.model.encoder, self._reading.trial, max_pixels=self.max_pixels)
        try:
            for root in dict.fromkeys(map(storage.normal, addresses)):
                known = {one.key: one for one in self.home.own_files() if _is_below(one.key, root)}
                failed = {key for key, *_ in self.home.skipped() if _is_below(key, root)}
                count = len(known)
                tasks = self._noted(self._new(root, known, failed, check), check)
                seen = (self._eyes or self._here).seen(tasks, batch_size, self._knows)
                with contextlib.closing(seen):
                    for batch in seen:
                        self._store(batch)
                        self._reading.done(one.key for one, _ in batch)
                        yield len(batch), batch[-1][0].stored.address
                self._forget(known, failed, away=len(known) == count and not forget_missing)
        finally:
            self._reading.close(self._dealt_with)

    def _noted(self, waiting: Iterable[_Object], check: bool) -> Iterator[tuple[_Object, Asked]]:
        """The same as tasks, each written down before it is read."""
        for one in waiting:
            self._reading.begin(one.key)
            yield one, replace(one.asked(not check), suspect=one.key in self._reading.suspects)

    def _dealt_with(self, key: bytes) -> bool:
        """Whether a picture was stored or passed over since it was in flight."""
        return self.home.file(key) is not None or self.home.skipped_file(key) is not None

    def _new(
        self, root: str, known: dict[bytes, Known], failed: set[bytes], check: bool
    ) -> Iterator[_Object]:
        """The pictures that are new or changed; those that are there are taken out of what is known."""
        for folder in storage.listed(root):
            texts = {one.address: one for one in folder if one.address.lower().endswith(".txt")}
            for one in folder:
                ending = os.path.splitext(one.address)[1].lower()
                if ending not in SUFFIXES and not (ending in RAW_SUFFIXES and can_read_raw()):
                    if one.address not in texts:
                        self.summary.passed_over[ending] += 1
                    continue
                if why := self._left_out(one.address.removeprefix(root).lstrip("/")):
                    self.summary.excluded.leave("files", why, one.address)
                    continue
                key = own_key(one.address)
                failed.discard(key)
                found = self._compared(one, texts, known.pop(key, None), check)
                if found is not None:
                    yield found

    def _compared(
        self, one: storage.Stored, texts: dict[str, storage.Stored], before: Known | None, check: bool
    ) -> _Object | None:
        key, stem = own_key(one.address), os.path.splitext(one.address)[0]
        beside = texts.get(f"{stem}.txt") or texts.get(f"{one.address}.txt")
        said = "" if beside is None else f"{beside.size}:{beside.mtime_ns}:{beside.state}"
        stamp = f"{one.state} {said}"
        state = (one.size, one.mtime_ns)
        if not check:
            if before is not None and (before.size, before.mtime_ns, before.captions) == (*state, stamp):
                self.summary.unchanged += 1
                return None
            failed = self.home.skipped_file(key)
            if failed is not None and failed[1:] == state:
                self.summary.skipped.append(Skipped(one.address, failed[0], known=True))
                return None
        return _Object(one, key, before, beside, stamp)

    def _knows(self, digest: bytes) -> bool:
        return vector_of(self.home, digest) is not None

    def _store(self, batch: Sequence[tuple[_Object, Seen]]) -> None:
        """Encode what is new in a batch and store it in one transaction."""
        # A content that was known when the picture was looked at may have been overwritten since.
        batch = [
            (one, self._here.look(one.asked(False), nothing_known))
            if isinstance(seen, Copy) and vector_of(self.home, seen.digest) is None
            else (one, seen)
            for one, seen in batch
        ]
        good = [(one, seen) for one, seen in batch if isinstance(seen, Picture | Copy)]
        vectors = self._vectors(good)
        captions = self._captions(good)
        with self.home.batch():
            for one, seen in batch:
                if isinstance(seen, Failed):
                    self._skip(one, seen)
                elif isinstance(seen, Picture | Copy):
                    self._put(one, seen, vectors[one.key], captions[one.key])

    def _vectors(self, good: Sequence[tuple[_Object, Picture | Copy]]) -> dict[bytes, bytes]:
        new = [(one, seen) for one, seen in good if isinstance(seen, Picture) and seen.vector is None]
        encoded = self.model.stored("image", [seen.prepared for _, seen in new])
        found = {one.key: vector for (one, _), vector in zip(new, encoded, strict=True)}
        for one, seen in good:
            if isinstance(seen, Picture):
                self.summary.encoded += 1
                if seen.partly:
                    self.summary.in_part.append(Skipped(one.stored.address, seen.partly))
            if one.key not in found:
                vector = vector_of(self.home, seen.digest) or (
                    seen.vector if isinstance(seen, Picture) else None
                )
                assert vector is not None, "what was lost was looked at again"
                found[one.key] = vector
        return found

    def _captions(self, good: Sequence[tuple[_Object, Picture | Copy]]) -> dict[bytes, list[Caption]]:
        sources = {
            one.key: {
                **dict.fromkeys(seen.own.captions, "own"),
                **dict.fromkeys(seen.beside, "sidecar"),
            }
            for one, seen in good
        }
        for found in filter(None, sources.values()):
            self.summary.captions.use(pictures=1, captions=len(found))
        return self.model.captions(self.home, sources, self.summary)

    def _put(self, one: _Object, seen: Picture | Copy, vector: bytes, captions: list[Caption]) -> None:
        home, before, state = self.home, one.before, (one.stored.size, one.stored.mtime_ns)
        if (
            before is not None and before.image and before.hash == seen.digest
        ):  # touched, or its captions changed
            home.move_file(before.id, one.key, *state)
            file, changed = before.id, home.texts(before.id) != [(c.text, c.source) for c in captions]
            changed |= home.put_fields(file, seen.own.fields)
            self.summary.changed += changed
            self.summary.unchanged += not changed
        else:
            file = home.put_file(one.key, *state, seen.digest)
            home.put_image(file, vector)
            home.put_fields(file, seen.own.fields)
            self.summary.changed += before is not None
            self.summary.added += before is None
        home.put_captions(file, one.stamp, captions)
        home.remove_skipped([one.key])

    def _skip(self, one: _Object, seen: Failed) -> None:
        tell_skipped(self.home, self.summary, one.key, one.stored.address, seen.reason)
        if not seen.again:  # what it held before is no longer there
            self.home.remove_file(one.key)
        state = (-1, -1) if seen.again else (one.stored.size, one.stored.mtime_ns)
        self.home.put_skipped(one.key, seen.reason, *state)

    def _forget(self, gone: dict[bytes, Known], failed: set[bytes], *, away: bool) -> None:
        """Forget what is no longer there; not if nothing is that was, as where something else is mounted."""
        if gone and away:
            self.summary.away += len(gone)
        elif gone or failed:
            with self.home.batch(changes=bool(gone)):
                self.home.remove_files([one.id for one in gone.values()])
                self.home.remove_skipped(failed)
            self.summary.removed += len(gone)


def _is_below(key: bytes, root: str) -> bool:
    """Whether a name in a home is that of something at an address or below."""
    return is_own(key) and (name_of(key) == root or name_of(key).startswith(f"{root}/"))
